//! Builds the BPF object that the daemon carries, with the compiler in use.
//!
//! `core` for the BPF target is built from source, which the stable compiler does when `RUSTC_BOOTSTRAP` says so.
//! (The aya-build crate does the same but fixes the compiler's flags, and ours must name the instruction set.)

use std::{env, ffi::OsString, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

/// BPF's third instruction set (Linux 5.1): 32-bit arithmetic and jumps.
const INSTRUCTION_SET: &str = "-Ctarget-cpu=v3";

fn main() -> Result<()> {
    for watched in
        ["../splitter-ebpf/src", "../splitter-ebpf/build.rs", "../splitter-common/src", "../Cargo.toml"]
    {
        println!("cargo:rerun-if-changed={watched}");
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN").context("CARGO_CFG_TARGET_ENDIAN is not set")?;
    let target = if endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    // Not the outer build's folder: cargo would wait for itself.
    let target_dir = out_dir.join("bpf");
    build(target, &target_dir)?;
    for object in ["splitter", "bench", "unpack"] {
        let built = target_dir.join(target).join("release").join(object);
        fs::copy(&built, out_dir.join(object)).with_context(|| format!("copying {}", built.display()))?;
    }
    Ok(())
}

fn build(target: &str, target_dir: &std::path::Path) -> Result<()> {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH is not set")?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
        INSTRUCTION_SET.into(),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
    ];
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
        .args([
            "build",
            "--package",
            "splitter-ebpf",
            "--release",
            "--target",
            target,
            "-Z",
            "build-std=core",
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // What the outer build set for the host must not reach the BPF target.
        .env_remove("RUSTC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .context("starting cargo for the BPF program")?;
    if !status.success() {
        bail!(
            "the BPF program was not built: `cargo xtask setup` installs what it needs (bpf-linker, rust-src)"
        );
    }
    Ok(())
}
