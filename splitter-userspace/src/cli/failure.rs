//! What a command fails with, and the exit code that says so.

use std::{fmt, io, process::ExitCode};

use serde::Serialize;

use crate::{
    api::{
        client::ClientError,
        model::{ApiError, ErrorCode},
    },
    config::LoadError,
};

/// Kinds of failure; 2 is left to wrong usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Tried, and it did not work: 1.
    Failed,
    /// Not known in time: 3.
    Undecided,
    /// Refused by policy or validation, unknown names included: 4.
    Refused,
    /// The daemon does not answer: 5.
    Unreachable,
}

impl FailureKind {
    const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Undecided => 3,
            Self::Refused => 4,
            Self::Unreachable => 5,
        }
    }
}

/// Why a command did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    code: FailureKind,
    message: String,
}

impl Failure {
    /// `message` says what was wrong, where, and what to do.
    pub fn new(code: FailureKind, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        self.code.exit_code().into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::Unreachable { .. } => FailureKind::Unreachable,
            ClientError::Silent { .. } => FailureKind::Undecided,
            ClientError::Broken { .. } | ClientError::Api(ApiError { code: ErrorCode::Failed, .. }) => {
                FailureKind::Failed
            }
            ClientError::Api(ApiError { code: ErrorCode::Refused, .. }) => FailureKind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read { .. } => Self::new(FailureKind::Failed, error.to_string()),
            // On lines of their own, so that editors find file, line and column.
            LoadError::Invalid(errors) => {
                Self::new(FailureKind::Refused, format!("the config is not valid:\n{errors}"))
            }
        }
    }
}

/// How a command ends early.
#[derive(Debug)]
pub enum Stop {
    /// Nobody reads the output any more: a quiet end, as with any filter.
    ClosedPipe,
    /// With a message and an exit code.
    Failure(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

impl Stop {
    /// For an error of the standard output.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => {
                Self::Failure(Failure::new(FailureKind::Failed, format!("cannot write the output: {error}")))
            }
        }
    }
}
