//! Where the fuzzer starts from: seeds, made of the golden scenarios and of the configurations in this tree, and inputs
//! that are kept: `tests/fuzz/corpus/TARGET/`, what reaches farther, and `tests/fuzz/crashes/TARGET/`, what has once been
//! a failure.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    Target,
    input::{Input, number},
};
use crate::golden;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

fn folder(kind: &str, target: Target) -> PathBuf {
    Path::new(FOLDER).join(kind).join(target.name())
}

/// Every kept input of a target: its file and its bytes.
///
/// # Errors
/// One cannot be read.
pub fn kept(target: Target) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for folder in ["corpus", "crashes"].map(|kind| folder(kind, target)).into_iter().filter(|it| it.is_dir())
    {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let bytes = fs::read(&path)?;
            inputs.push((path, bytes));
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// Configurations in the tests' folder or beside it.
const CONFIGURATIONS: [&str; 4] = [
    "golden/setting/splitter.toml",
    "tests/kernel/explained.toml",
    "../splitter-userspace/src/config/full_example.toml",
    "../README.md",
];

/// Inputs that anybody would think of: name and bytes.
///
/// # Errors
/// Scenarios or configurations cannot be read.
pub fn seed(target: Target) -> Result<Vec<(String, Vec<u8>)>> {
    if target == Target::Config { configurations() } else { frames(target == Target::Packet) }
}

/// Writes the seeds of a target into a folder, where they are missing.
///
/// # Errors
/// They cannot be made or written.
pub fn plant(target: Target, folder: &Path) -> Result<()> {
    for (name, bytes) in seed(target)? {
        let path = folder.join(format!("seed-{name}"));
        if !path.exists() {
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn configurations() -> Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for path in CONFIGURATIONS {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).context(path)?;
        let texts = if path.ends_with(".md") { blocks(&text) } else { vec![text.as_str()] };
        let name = path.rsplit('/').next().unwrap_or(path);
        let numbered = texts.into_iter().enumerate();
        inputs.extend(numbered.map(|(number, text)| (format!("{name}-{number}"), text.as_bytes().to_vec())));
    }
    Ok(inputs)
}

/// The TOML in a text.
fn blocks(text: &str) -> Vec<&str> {
    text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn frames(single: bool) -> Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for scenario in golden::scenarios()? {
        let mut frames = scenario.packets().map(|packet| packet.frame_in()).collect::<Result<Vec<_>>>()?;
        if single {
            frames.truncate(1);
        }
        let input = Input { scenario: number(&scenario.name), frames };
        inputs.push((scenario.name.clone(), input.write(single)));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use splitter_userspace::config;

    use super::*;

    #[test]
    fn every_configuration_is_one() {
        let texts = configurations().unwrap();
        assert!(texts.len() >= CONFIGURATIONS.len(), "{} texts", texts.len());
        for (name, text) in texts {
            let parsed = config::parse(Path::new(&name), std::str::from_utf8(&text).unwrap());
            parsed.unwrap_or_else(|errors| panic!("{name}: {errors}"));
        }
    }
}
