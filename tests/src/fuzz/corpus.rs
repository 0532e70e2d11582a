//! Inputs that are kept: `tests/fuzz/corpus/TARGET/`, where the fuzzer starts from, and `tests/fuzz/crashes/TARGET/`,
//! what has once been a failure.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

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

/// Inputs of the golden scenarios, which the corpus of a target that takes frames starts with: name and bytes.
///
/// # Errors
/// The scenarios cannot be read.
pub fn seed(target: Target) -> Result<Vec<(String, Vec<u8>)>> {
    let single = target == Target::Packet;
    if target == Target::Config {
        let path = golden::folder().join("setting/splitter.toml");
        return Ok(vec![("golden".to_owned(), fs::read(path)?)]);
    }
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
