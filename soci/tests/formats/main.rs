//! The formats against blobs made by AWS's tool, and against what an attacker would make of them.

// Clippy exempts test functions by itself, but not what they call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod artifacts;
mod blob;
mod checkpoints;
mod fixture;
mod hostile;
mod layers;
mod mutations;
mod profiles;
mod tars;
