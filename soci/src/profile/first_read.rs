//! One range that a start has read.

use std::ops::Range;

/// A range of a tar, and when it was first read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstRead {
    /// Of the uncompressed tar.
    pub tar: Range<u64>,
    /// Milliseconds since the start of the image read for the first time.
    pub at_ms: u32,
}
