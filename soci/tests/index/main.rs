//! What the index tool writes: index manifests, converted images, prefetch artifacts, and words about them.

// Clippy exempts test functions by itself, but not what they call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
// Ranges of spans are what the tests compare; a list may well hold one.
#![allow(clippy::single_range_in_vec_init)]

mod convert;
mod diff;
#[allow(dead_code)] // shared with tests that use more of it
#[path = "../formats/fixture.rs"]
mod fixture;
mod layout;
mod manifest;
mod plan;
mod prefetch;
