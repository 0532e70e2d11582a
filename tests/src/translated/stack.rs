//! How much stack a translated program takes.

use super::{Functions, Instruction};

/// The register that points to the end of a function's stack.
const FRAME: u8 = 10;

/// What the JIT compiler rounds a function's stack up to (`round_up_stack_depth`, kernel/bpf/verifier.c, Linux 6.18).
const UNIT: u32 = 16;

/// `BPF_ALU64 | BPF_MOV | BPF_X`.
const MOVE: u8 = 0xbf;

/// `BPF_ALU64 | BPF_ADD | BPF_K`.
const ADD: u8 = 0x07;

/// Bytes below the frame pointer that a function's instructions reach, rounded as the kernel does.
///
/// It is the deepest offset in an access by way of r10, or of an address made from r10 by adding a constant: the compiler
/// makes no others.
pub fn reach(instructions: &[Instruction]) -> u32 {
    let mut copies = 0_u16;
    let mut deepest = 0_i32;
    for one in instructions {
        let (to, from) = (one.registers & 0xf, one.registers >> 4);
        if one.code == MOVE {
            let copied = u16::from(from == FRAME) << to;
            copies = copies & !(1 << to) | copied;
        } else if one.code == ADD && copies >> to & 1 == 1 {
            deepest = deepest.min(one.immediate);
            copies &= !(1 << to);
        } else if one.pointer() == Some(FRAME) {
            deepest = deepest.min(one.offset.into());
        }
    }
    deepest.unsigned_abs().max(1).next_multiple_of(UNIT)
}

impl Instruction {
    /// The register that a load or a store goes by.
    const fn pointer(self) -> Option<u8> {
        match self.code & 7 {
            // BPF_LDX
            1 => Some(self.registers >> 4),
            // BPF_ST, BPF_STX
            2 | 3 => Some(self.registers & 0xf),
            _ => None,
        }
    }
}

impl Functions {
    /// Bytes of stack of the deepest chain of calls.
    pub fn stack_depth(&self) -> u32 {
        self.depth(0)
    }

    fn depth(&self, function: usize) -> u32 {
        let function = &self.0[function];
        let callees = function.callees.iter().map(|callee| self.depth(*callee));
        function.stack + callees.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { code, registers: from << 4 | to, offset, immediate }
    }

    #[test]
    fn accesses_and_addresses_count() {
        let store = instruction(0x7b, FRAME, 1, -24, 0);
        let address = [instruction(MOVE, 2, FRAME, 0, 0), instruction(ADD, 2, 0, 0, -40)];
        assert_eq!(reach(&[store]), 32);
        assert_eq!(reach(&[&[store][..], &address].concat()), 48);
    }

    #[test]
    fn other_registers_do_not() {
        let elsewhere = [instruction(0x79, 1, 2, -400, 0), instruction(ADD, 2, 0, 0, -400)];
        assert_eq!(reach(&elsewhere), 16);
    }
}
