//! How much was asked of the network.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) redirects: AtomicU64,
    pub(crate) token_requests: AtomicU64,
    pub(crate) uploaded_bytes: AtomicU64,
    pub(crate) pushes: AtomicU64,
    pub(crate) mounts: AtomicU64,
}

/// The counters at one moment, since the [`Registry`](crate::Registry) was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// HTTP requests sent, token requests and redirect hops included.
    pub requests: u64,
    /// Body bytes received.
    pub bytes: u64,
    /// Further rounds after a failed one.
    pub retries: u64,
    /// Redirects followed.
    pub redirects: u64,
    /// Requests to token endpoints.
    pub token_requests: u64,
    /// Body bytes of blobs and manifests sent, also those sent in vain.
    pub uploaded_bytes: u64,
    /// Blobs and manifests uploaded.
    pub pushes: u64,
    /// Blobs the registry took from another of its repositories.
    pub mounts: u64,
}

impl Counters {
    pub(crate) fn now(&self) -> Counts {
        Counts {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            redirects: self.redirects.load(Ordering::Relaxed),
            token_requests: self.token_requests.load(Ordering::Relaxed),
            uploaded_bytes: self.uploaded_bytes.load(Ordering::Relaxed),
            pushes: self.pushes.load(Ordering::Relaxed),
            mounts: self.mounts.load(Ordering::Relaxed),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
