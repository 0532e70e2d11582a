//! Tells bpf-linker, which generates the code, what the BPF target can do.

fn main() {
    // Packet headers are not aligned: without this, every field is loaded byte by byte. x86-64 and arm64 load
    // misaligned words at full speed, and their kernels' verifiers allow it
    // (CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS).
    println!("cargo:rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    println!("cargo:rerun-if-changed=build.rs");
}
