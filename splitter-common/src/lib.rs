//! What the kernel and the userspace half of splitter share.
//!
//! Everything here is pure: it runs in the XDP program, in unit tests, under a fuzzer and behind
//! `splitter explain`. No stage touches a map; the pipeline asks a [`tables::Tables`] for values and hands
//! them to the stages.
//!
//! # Layout
//!
//! - [`packet`], [`checksum`], [`net`]: bytes of a frame, the Internet checksum, addresses
//! - [`parse`] -> [`classify`] -> [`select`] -> [`rewrite`]: the stages, in a packet's order
//! - [`slot`]: the state machine of a slot and of the connections that are its exceptions
//! - [`hash`]: the keyed connection hash and the perfect-hash directory's position
//! - [`abi`]: every key and value in a kernel map, their sizes and the version
//! - [`reason`]: why a service's packet was passed or dropped
//! - [`reset`], [`complaint`], [`icmp`]: answers to packets that no backend can take, echoes, errors translated
//! - [`mod@release`]: how the daemon asks for a port back
//! - [`mod@bench`]: what the benchmark's halves share
//! - [`pipeline`]: the stages put together, generic over packet and tables

#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, feature = "user"))]
extern crate std;

pub mod abi;
pub mod bench;
pub mod checksum;
pub mod classify;
pub mod complaint;
pub mod hash;
pub mod icmp;
pub mod net;
pub mod packet;
pub mod parse;
pub mod pipeline;
pub mod reason;
pub mod release;
pub mod reset;
pub mod rewrite;
pub mod select;
pub mod slot;
pub mod tables;
