//! A layer as its users see it, over a source that counts requests and misbehaves on demand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of this crate is test code; clippy.toml exempts only test functions"
)]

mod background;
mod cache;
mod entries;
mod local;
mod memory;
mod reads;
mod saturated;
mod starts;
mod streaming;
mod support;
mod tail;
mod tree;
mod union;
