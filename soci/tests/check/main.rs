//! Checks of indexes: right ones pass, and every lie is found.

// Clippy exempts test functions by itself, but not what they call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[allow(dead_code)] // shared with tests that use more of it
#[path = "../formats/blob.rs"]
mod blob;
#[allow(dead_code)] // shared with tests that use more of it
#[path = "../formats/fixture.rs"]
mod fixture;
mod image_index;
mod index;
mod layers;
mod leaves;
mod lies;
mod made;
mod prefetch;
mod spans;
