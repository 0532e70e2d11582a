//! Answers for tests.

use crate::api::model::{ServiceStatus, Stats, Status};

/// A service in the middle of a release.
pub fn status() -> Status {
    serde_json::from_str(include_str!("sample_status.json")).expect("the sample fits the model")
}

/// The service of [`status`].
pub fn service() -> ServiceStatus {
    status().services.remove(0)
}

/// A few counters.
pub fn stats() -> Stats {
    serde_json::from_str(include_str!("sample_stats.json")).expect("the sample fits the model")
}
