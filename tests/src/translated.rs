//! The program as the verifier translated it: which kernel functions it still calls, after the kernel has inlined
//! what it inlines.

mod stack;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result, ensure};

/// `BPF_OBJ_GET_INFO_BY_FD` of `enum bpf_cmd`, include/uapi/linux/bpf.h.
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;

/// `BPF_PSEUDO_CALL`: the callee is a function of the program. Once it is jitted, `off` holds the distance and `imm` the
/// function's number (`jit_subprogs`, kernel/bpf/verifier.c, Linux 6.18).
const OWN_FUNCTION: u8 = 1;

/// The beginning of `struct bpf_prog_info`, include/uapi/linux/bpf.h.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
}

/// The `info` member of `union bpf_attr`.
#[repr(C)]
struct Attributes {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_insn`, with both registers in one byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The program's own functions, in the order they stand in it; the first is its entry.
#[derive(Debug)]
pub struct Functions(Vec<Function>);

/// One function.
#[derive(Debug, Default)]
pub struct Function {
    /// Kernel functions that it calls.
    pub helpers: BTreeSet<String>,
    /// Positions, in [`Functions`], of the program's functions that it calls.
    pub callees: BTreeSet<usize>,
    /// Bytes of stack that it takes itself.
    pub stack: u32,
}

impl Functions {
    /// Of a loaded program.
    ///
    /// # Errors
    /// No privileges, or a kernel that does not tell its symbols.
    pub fn of(program: BorrowedFd<'_>) -> Result<Self> {
        let instructions = translated(program).context("reading the translated program")?;
        ensure!(
            !instructions.is_empty(),
            "the kernel gives no translated program: root may see it, unless hardened"
        );
        let symbols = Symbols::read()?;
        let starts = starts(&instructions);
        let mut functions = Vec::new();
        for (number, &start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(instructions.len());
            let mut function =
                Function { stack: stack::reach(&instructions[start..end]), ..Function::default() };
            for (at, call) in calls(&instructions).filter(|(at, _)| (start..end).contains(at)) {
                if let Some(target) = callee(at, call) {
                    function.callees.insert(starts.partition_point(|start| *start <= target) - 1);
                } else {
                    function.helpers.insert(symbols.name(call.immediate));
                }
            }
            functions.push(function);
        }
        Ok(Self(functions))
    }

    /// The entry.
    pub fn entry(&self) -> &Function {
        &self.0[0]
    }

    /// Helpers that a function of the program calls, those of its callees included.
    pub fn reached(&self, function: usize) -> BTreeSet<String> {
        let Function { helpers, callees, .. } = &self.0[function];
        helpers.iter().cloned().chain(callees.iter().flat_map(|callee| self.reached(*callee))).collect()
    }
}

/// Where the program's functions start.
fn starts(instructions: &[Instruction]) -> Vec<usize> {
    let targets = calls(instructions).filter_map(|(at, call)| callee(at, call));
    let starts: BTreeSet<usize> = targets.chain([0]).collect();
    starts.into_iter().collect()
}

fn calls(instructions: &[Instruction]) -> impl Iterator<Item = (usize, Instruction)> + '_ {
    instructions.iter().copied().enumerate().filter(|(_, instruction)| instruction.code == CALL)
}

/// Where a call of the program's own function goes.
fn callee(at: usize, call: Instruction) -> Option<usize> {
    let own = call.registers >> 4 == OWN_FUNCTION;
    own.then(|| at.checked_add_signed(isize::from(call.offset) + 1)).flatten()
}

fn translated(program: BorrowedFd<'_>) -> io::Result<Vec<Instruction>> {
    let mut info = ProgramInfo::default();
    query(program, &mut info)?;
    let mut instructions =
        vec![Instruction::default(); info.translated_length as usize / size_of::<Instruction>()];
    let mut info = ProgramInfo {
        translated_length: info.translated_length,
        translated: instructions.as_mut_ptr() as u64,
        ..ProgramInfo::default()
    };
    query(program, &mut info)?;
    Ok(instructions)
}

fn query(program: BorrowedFd<'_>, info: &mut ProgramInfo) -> io::Result<()> {
    let mut attributes = Attributes {
        fd: program.as_raw_fd() as u32,
        length: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    // SAFETY: `info` lives through the call, and names a buffer of the length it says, or none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJ_GET_INFO_BY_FD,
            std::ptr::from_mut(&mut attributes),
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `BPF_FUNC_tail_call` of `enum bpf_func_id`, include/uapi/linux/bpf.h: tail calls, which are jumps, are shown as calls
/// of it, by number (`bpf_insn_prepare_dump`, kernel/bpf/syscall.c).
const TAIL_CALL: i32 = 12;

/// The kernel's symbols: a helper call holds its distance from `__bpf_call_base`.
struct Symbols {
    base: u64,
    names: BTreeMap<u64, String>,
}

impl Symbols {
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/kallsyms").context("reading /proc/kallsyms")?;
        let symbol = |line: &str| {
            let mut fields = line.split_whitespace();
            let address = u64::from_str_radix(fields.next()?, 16).ok()?;
            Some((address, fields.nth(1)?.to_owned()))
        };
        let names: BTreeMap<u64, String> = text.lines().filter_map(symbol).collect();
        let base = names.iter().find(|(_, name)| *name == "__bpf_call_base").map(|(address, _)| *address);
        Ok(Self { base: base.context("the kernel does not name __bpf_call_base")?, names })
    }

    fn name(&self, distance: i32) -> String {
        if distance == TAIL_CALL {
            return "bpf_tail_call".into();
        }
        let address = self.base.wrapping_add_signed(distance.into());
        self.names.get(&address).cloned().unwrap_or_else(|| format!("function at {address:#x}"))
    }
}
