//! The userspace half of splitter: everything but the two small binaries.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod directory;
pub mod engine;
pub mod grace;
pub mod health;
pub mod image;
pub mod mirror;
pub mod net;
mod probe;
pub mod release;
pub mod table;
