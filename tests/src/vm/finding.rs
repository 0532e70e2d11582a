//! What a guest says about its kernel: one [`Finding`] a line, as JSON, so that what was found before a crash is known.
//!
//! `xtask` compiles this very file, to read what the guest writes.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The kernel's release, e.g. `6.1.0-56-amd64`: the guest runs.
    Booted(String),
    /// The programs in the variant that the kernel takes, as the daemon loads them.
    Load(Outcome<Loaded>),
    /// Every program of a variant, whether the daemon would load it or not.
    Verify {
        /// The variant: `xdp.frags`, `plain`.
        variant: String,
        /// What the kernel made of them.
        outcome: Outcome<Vec<Program>>,
    },
    /// The program on an interface.
    Attach {
        /// The interface's driver: `veth`, `virtio_net`; or `generic`, in generic mode and on veth.
        driver: String,
        /// The mode it was attached in.
        outcome: Outcome<String>,
    },
    /// The golden packets, in the kernel.
    Golden(Outcome<Golden>),
    /// A transfer over TCP through the attached program, while weights shift.
    Transfer(Outcome<Transfer>),
    /// Nothing follows: the guest has come to its end.
    End,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<T> {
    /// As it should, with what there is to say about it.
    Done(T),
    /// It did not, and why.
    Failed(String),
}

/// Loaded programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The variant that the kernel takes: `xdp.frags`, `plain`.
    pub variant: String,
    /// How many programs the daemon has loaded.
    pub programs: u64,
    /// What the daemon says that this kernel has not: as an operator would read it.
    pub limit: Option<String>,
    /// Milliseconds that loading took, maps included.
    pub took_ms: u64,
}

/// A loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Instructions that the verifier walked through; `None` before Linux 5.16.
    pub verified: Option<u32>,
    /// Instructions after translation.
    pub translated: Option<u32>,
    /// Bytes of machine code.
    pub jited_bytes: u32,
}

/// Golden packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Golden {
    /// How many came out as their file says.
    pub passed: u64,
    /// Those that did not: name of the scenario, and what was different.
    pub failed: Vec<(String, String)>,
    /// Scenarios of what this kernel has not.
    pub left_out: Vec<String>,
}

/// A transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Bytes that went to the servers and came back unchanged.
    pub bytes: u64,
    /// Changes of the split meanwhile.
    pub shifts: u64,
    /// Slots that they moved.
    pub slots_moved: u64,
    /// Milliseconds from the first byte to the last.
    pub took_ms: u64,
}
