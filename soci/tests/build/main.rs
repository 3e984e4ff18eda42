//! zTOCs as this crate builds them, against those of AWS's tool and against the readers of this crate.

// Clippy exempts test functions by itself, but not what they call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod chunks;
mod cuts;
mod damage;
mod identity;
mod layer;
mod refusals;
mod spans;
mod trees;
