//! What the layers of this process have done, as counters.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Metrics {
    /// Reads answered from resident bytes.
    pub hits: Counter,
    /// Reads that had to wait.
    pub misses: Counter,
    pub read_bytes: Counter,
    pub source_requests: Counter,
    pub source_failures: Counter,
    pub fetched_bytes: Counter,
    pub spans_inflated: Counter,
    pub span_verification_failures: Counter,
    pub header_verification_failures: Counter,
    /// Cached spans whose bytes had rotted, found when first used after a restart.
    pub cache_checksum_failures: Counter,
    pub cache_write_failures: Counter,
    pub cache_read_failures: Counter,
    pub evicted_bytes: Counter,
    /// Spans asked for because a file was read in order up to them.
    pub read_ahead_spans: Counter,
    /// Those of them that were read.
    pub read_ahead_hits: Counter,
    /// Requests for what start-up profiles name.
    pub start_requests: Counter,
    pub background_gaps: Counter,
    pub background_failures: Counter,
    pub background_dropped: Counter,
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}
