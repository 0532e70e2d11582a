//! The programs, past the kernel's verifier.

use std::time::Instant;

use anyhow::{Result, bail};
use splitter_userspace::dataplane::{DataPlane, Error, ProgramFacts, Sizes, Variant, verify_variant};

use super::finding::{Loaded, Program};

/// Bytes of a verifier's log that are kept for each program: its end says why.
const LOG_END: usize = 3000;

/// As the daemon loads them: with everything, or with all that this kernel has.
pub fn load() -> Result<(DataPlane, Loaded)> {
    let begun = Instant::now();
    let (data_plane, limit) = with_all_there_is()?;
    let loaded = Loaded {
        variant: data_plane.variant().name().into(),
        programs: data_plane.programs()?.len() as u64,
        limit,
        took_ms: begun.elapsed().as_millis() as u64,
    };
    Ok((data_plane, loaded))
}

/// The data plane, and what the daemon says that the kernel has not.
pub fn with_all_there_is() -> Result<(DataPlane, Option<String>)> {
    match DataPlane::load(&Sizes::SMALL) {
        Err(limit @ Error::NoSnat) => {
            let without = Sizes { ports: 0, ..Sizes::SMALL };
            Ok((DataPlane::load(&without)?, Some(limit.to_string())))
        }
        outcome => Ok((outcome?, None)),
    }
}

/// Every program of a variant, by itself.
pub fn verify(variant: Variant) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    let mut refused = Vec::new();
    for (name, outcome) in verify_variant(&Sizes::SMALL, variant, &|_| ())? {
        match outcome {
            Ok((facts, ())) => programs.push(program(facts)),
            Err(why) => refused.push(format!("{name}: ...{}", end(&why))),
        }
    }
    if !refused.is_empty() {
        bail!("{} of {} refused:\n{}", refused.len(), refused.len() + programs.len(), refused.join("\n\n"));
    }
    Ok(programs)
}

fn program(facts: ProgramFacts) -> Program {
    let ProgramFacts { name, verified, translated, jited_bytes, .. } = facts;
    Program { name, verified, translated, jited_bytes }
}

fn end(text: &str) -> &str {
    let from = text.len().saturating_sub(LOG_END);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at));
    &text[from.unwrap_or(text.len())..]
}
