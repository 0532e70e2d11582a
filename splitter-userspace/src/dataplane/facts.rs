//! What the kernel says about a program that it took.

use aya::programs::Program;

use super::{Error, Variant};

/// A loaded program, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its name in the object.
    pub name: String,
    /// Whether it takes frames that lie in several buffers (`xdp.frags`, Linux 5.18).
    pub frags: bool,
    /// Instructions that the verifier walked through; `None` before Linux 5.16, which does not tell.
    pub verified: Option<u32>,
    /// Instructions after the verifier translated the program; `None` if the kernel hides them.
    pub translated: Option<u32>,
    /// Bytes of machine code; 0 without JIT compiler.
    pub jited_bytes: u32,
}

impl ProgramFacts {
    pub(super) fn of(name: &str, variant: Variant, program: &Program) -> Result<Self, Error> {
        let info =
            program.info().map_err(|error| Error::Load(format!("no facts about program {name}: {error}")))?;
        Ok(Self {
            name: name.into(),
            frags: variant == Variant::Frags,
            verified: info.verified_instruction_count(),
            translated: info.size_translated().map(|bytes| bytes / INSTRUCTION),
            jited_bytes: info.size_jitted(),
        })
    }
}

/// Bytes of `struct bpf_insn`.
const INSTRUCTION: u32 = 8;
