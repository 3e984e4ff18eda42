//! What the owner of a layer chooses about reading it.

use crate::tree::TreeOptions;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    /// How often a span that fails its digest is fetched again before its readers get an error.
    pub max_span_verification_retries: u32,
    /// Trust the zTOC about a file's attributes without looking at its tar header. Span digests are always checked.
    pub disable_verification: bool,
    /// The most compressed bytes asked for in one request.
    pub max_request: u64,
    /// For how long a reader keeps asking a source that cannot be reached before its read fails.
    pub outage: Duration,
    pub tree: TreeOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_span_verification_retries: 0,
            disable_verification: false,
            max_request: 16 << 20,
            outage: Duration::ZERO,
            tree: TreeOptions::default(),
        }
    }
}
