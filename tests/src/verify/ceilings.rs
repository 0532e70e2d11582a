//! The committed figures, `tests/verifier.toml`.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::figures::{Figures, Programs};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/verifier.toml");

/// By how much a figure may rise over its committed one: a tenth.
const TENTHS: u64 = 11;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceilings {
    /// The kernel that the figures are of, major and minor; others count differently.
    pub kernel: String,
    /// The figures.
    pub programs: Programs,
}

impl Ceilings {
    /// Those found on this kernel.
    pub fn of(programs: Programs) -> Self {
        Self { kernel: kernel(), programs }
    }

    /// The committed ones; none where there is no file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read() -> Result<Self> {
        if !fs::exists(PATH)? {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
        toml::from_str(&text)
            .with_context(|| format!("{PATH} is not as `cargo xtask verify --update` writes it"))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> Result<()> {
        fs::write(PATH, self.text()).with_context(|| format!("cannot write {PATH}"))?;
        println!("verify: wrote {PATH}");
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# What the verifier made of every program: written by `cargo xtask verify --update`, which otherwise fails\n\
             # where a figure is more than 10 % over the one here.\n\
             kernel = \"{}\"\n\n[programs]\n",
            self.kernel
        );
        for (name, figures) in &self.programs {
            let numbers = Figures::NAMES.into_iter().zip(figures.numbers());
            let fields: Vec<_> = numbers.map(|(name, number)| format!("{name} = {number}")).collect();
            let _ = writeln!(text, "{name} = {{ {} }}", fields.join(", "));
        }
        text
    }

    /// What is too much, and what has no ceiling: a line each.
    pub fn exceeded(&self, found: &Programs) -> Vec<String> {
        found.iter().flat_map(|(name, figures)| self.complaints(name, figures)).collect()
    }

    fn complaints(&self, name: &str, found: &Figures) -> Vec<String> {
        let Some(ceiling) = self.programs.get(name) else {
            return vec![format!("program {name} has no committed figures")];
        };
        let pairs = found.numbers().into_iter().zip(ceiling.numbers());
        let named = Figures::NAMES.into_iter().zip(pairs);
        let beyond = named.filter(|(_, (is, was))| u64::from(*is) * 10 > u64::from(*was) * TENTHS);
        beyond.map(|(what, (is, was))| format!("program {name}: {what} rose from {was} to {is}")).collect()
    }
}

/// Major and minor version of the kernel that runs.
pub fn kernel() -> String {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(verified: u32) -> Programs {
        let figures = Figures { verified, stack: 0, translated: 100, jited: 500 };
        [("splitter".to_owned(), figures)].into()
    }

    #[test]
    fn a_tenth_more_passes_and_one_beyond_does_not() {
        let committed = Ceilings::of(programs(1000));
        assert_eq!(committed.exceeded(&programs(1100)), Vec::<String>::new());
        assert_eq!(
            committed.exceeded(&programs(1101)),
            ["program splitter: verified rose from 1000 to 1101".to_owned()]
        );
    }

    #[test]
    fn a_program_without_figures_is_named() {
        let committed = Ceilings::default();
        assert_eq!(
            committed.exceeded(&programs(1)),
            ["program splitter has no committed figures".to_owned()]
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let ceilings = Ceilings::of(programs(7));
        let again: Ceilings = toml::from_str(&ceilings.text()).unwrap();
        assert_eq!((again.kernel, again.programs), (ceilings.kernel, ceilings.programs));
    }
}
