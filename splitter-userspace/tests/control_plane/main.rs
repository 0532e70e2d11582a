//! The API and the command line, without root: a daemon that answers from memory, the real server, the real
//! client and the real `splitter`.

mod api;
mod cli;
mod daemon;
mod leaving;
