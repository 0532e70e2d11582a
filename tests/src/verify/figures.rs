//! What the kernel made of each program.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use splitter_userspace::dataplane::{ProgramFacts, Sizes, verify};

use crate::translated::Functions;

/// Figures by program.
pub type Programs = BTreeMap<String, Figures>;

/// One program's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Instructions that the verifier walked through; it gives up at a million.
    pub verified: u32,
    /// Bytes of stack, the deepest chain of calls together; the verifier allows 512.
    pub stack: u32,
    /// Instructions after translation.
    pub translated: u32,
    /// Bytes of machine code.
    pub jited: u32,
}

impl Figures {
    /// What each is called, in the order of [`Figures::numbers`].
    pub const NAMES: [&str; 4] = ["verified", "stack", "translated", "jited"];

    /// All four.
    pub const fn numbers(&self) -> [u32; 4] {
        [self.verified, self.stack, self.translated, self.jited]
    }

    fn of(facts: &ProgramFacts, functions: &Functions) -> Self {
        Self {
            verified: facts.verified.unwrap_or_default(),
            stack: functions.stack_depth(),
            translated: facts.translated.unwrap_or_default(),
            jited: facts.jited_bytes,
        }
    }
}

/// Loads every program in both variants.
///
/// # Errors
/// The kernel does not take one, or we are not root.
pub fn measure() -> Result<Programs> {
    let mut programs = Programs::new();
    for (name, outcome) in verify(&Sizes::SMALL, Functions::of)? {
        let (facts, functions) = match outcome {
            Ok(found) => found,
            // The log's end says why.
            Err(why) => bail!("the kernel did not take program {name}: ...{}", end(&why)),
        };
        let functions = functions.with_context(|| format!("program {name}"))?;
        programs.insert(name, Figures::of(&facts, &functions));
    }
    Ok(programs)
}

/// The last lines of a long text.
fn end(text: &str) -> &str {
    let mut from = text.len().saturating_sub(2000);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
