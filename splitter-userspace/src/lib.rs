//! The userspace half of splitter: everything but the two small binaries.

pub mod api;
pub mod config;
