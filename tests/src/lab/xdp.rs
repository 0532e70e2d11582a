//! A foreign XDP program that passes everything, and what is on an interface.
//!
//! The program stands for somebody else's, and makes a veth take the packets that its peer sends back (`XDP_TX`): the
//! kernel delivers those only to a device that has a program of its own (Linux 6.18: `veth_xdp_flush`).

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use anyhow::{Context, Result};

use super::Namespace;

/// The program's name, as `ip link` and `bpftool` show it.
pub const PASS_NAME: &str = "passes_all";

/// Commands and constants of `linux/bpf.h`.
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// `r0 = XDP_PASS; exit`.
static PASS: [Instruction; 2] = [
    Instruction { code: 0xb7, registers: 0, offset: 0, immediate: 2 },
    Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
];

/// `union bpf_attr` for `BPF_PROG_LOAD`, up to the last field in use; the kernel takes the rest for zeros.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log: [u64; 2],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach_type: u32,
}

/// `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct PinAttributes {
    path: u64,
    program: u32,
    flags: u32,
}

/// Puts the program on `device` in native mode, by way of a pin in `bpf`, a BPF file system.
pub fn attach_pass(namespace: &Namespace, device: &str, bpf: &Path) -> Result<()> {
    let path = bpf.join(format!("{PASS_NAME}-{device}"));
    pin(&load()?, &path)?;
    let path = path.to_str().context("the path is not UTF-8")?;
    namespace.tool("ip", &["link", "set", "dev", device, "xdpdrv", "pinned", path])?;
    Ok(())
}

/// Id of the XDP program on `device`, if there is one.
pub fn program_on(namespace: &Namespace, device: &str) -> Result<Option<u64>> {
    let text = namespace.tool("ip", &["-json", "link", "show", "dev", device])?;
    let links: serde_json::Value = serde_json::from_str(&text).context("`ip -json` prints JSON")?;
    Ok(links[0]["xdp"]["prog"]["id"].as_u64())
}

fn load() -> Result<OwnedFd> {
    let mut name = [0; 16];
    name[..PASS_NAME.len()].copy_from_slice(PASS_NAME.as_bytes());
    let attributes = LoadAttributes {
        kind: PROG_TYPE_XDP,
        instruction_count: PASS.len() as u32,
        instructions: PASS.as_ptr() as u64,
        licence: c"MIT".as_ptr() as u64,
        log: [0; 2],
        kernel_version: 0,
        flags: 0,
        name,
        device: 0,
        attach_type: ATTACH_TYPE_XDP,
    };
    let descriptor = bpf(PROG_LOAD, &attributes).context("cannot load an XDP program")?;
    // SAFETY: BPF_PROG_LOAD returns a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn pin(program: &OwnedFd, path: &Path) -> Result<()> {
    let shown = path.display();
    let path = CString::new(path.as_os_str().as_bytes()).context("the path has a zero byte")?;
    let program = program.as_raw_fd() as u32;
    bpf(OBJ_PIN, &PinAttributes { path: path.as_ptr() as u64, program, flags: 0 })
        .with_context(|| format!("cannot pin a program to {shown}"))?;
    Ok(())
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of attributes and what they point to, all of which lives until
    // the call returns; it writes to none of it, as neither command has an output field.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
