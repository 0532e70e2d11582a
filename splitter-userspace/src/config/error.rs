//! What a file with mistakes is answered with.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

/// One mistake: where it is, what is wrong and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key, e.g. `service[0].pool.blue.backends[1].port`; empty for a syntax error.
    pub key: String,
    /// The cause and the cure.
    pub message: String,
}

/// Every mistake of one file, in the file's order; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    file: PathBuf,
    mistakes: Vec<ConfigError>,
    more: usize,
}

impl ConfigErrors {
    /// How many mistakes are kept; the rest is only counted.
    pub const LIMIT: usize = 100;

    pub(super) fn new(file: &Path, mut mistakes: Vec<ConfigError>) -> Self {
        let more = mistakes.len().saturating_sub(Self::LIMIT);
        mistakes.truncate(Self::LIMIT);
        Self { file: file.to_path_buf(), mistakes, more }
    }

    /// The first [`Self::LIMIT`] mistakes.
    pub fn mistakes(&self) -> &[ConfigError] {
        &self.mistakes
    }

    /// Mistakes beyond those of [`Self::mistakes`].
    pub fn more(&self) -> usize {
        self.more
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{mistake}", self.file.display())?;
        }
        if self.more > 0 {
            write!(f, "\n{}: and {} more mistakes", self.file.display(), self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigErrors {}

/// Why a file gave no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the config file {}: {source}: check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The file was read and has mistakes.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(line: usize) -> ConfigError {
        ConfigError { line, column: 7, key: "daemon.socket".into(), message: "wrong: do this".into() }
    }

    #[test]
    fn shows_one_paragraph_per_mistake() {
        let errors = ConfigErrors::new(Path::new("a.toml"), vec![mistake(1), mistake(2)]);
        assert_eq!(
            errors.to_string(),
            "a.toml:1:7: daemon.socket: wrong: do this\na.toml:2:7: daemon.socket: wrong: do this"
        );
    }

    #[test]
    fn counts_what_is_beyond_the_limit() {
        let errors = ConfigErrors::new(Path::new("a.toml"), (1..=103).map(mistake).collect());
        assert_eq!((errors.mistakes().len(), errors.more()), (100, 3));
        assert!(errors.to_string().ends_with("\na.toml: and 3 more mistakes"));
    }
}
