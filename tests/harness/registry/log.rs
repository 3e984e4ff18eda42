//! What a registry was asked and how much it sent.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    Ping,
    Manifest,
    Referrers,
    Blob,
    Token,
    Other,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub kind: Kind,
    /// A digest or a tag.
    pub name: String,
    /// The range that was asked for, if the request had one.
    pub range: Option<Range<u64>>,
    pub status: u16,
    /// The `Authorization` that came along.
    pub authorization: Option<String>,
    pub user_agent: String,
    /// Whether it came to the port that redirects lead to.
    pub at_store: bool,
    /// Bytes of the body sent so far.
    pub sent: u64,
    /// When it came and when its answer was given, on one clock that counts such events.
    pub came: u64,
    pub answered: u64,
}

/// A request, and the bytes sent in answer, which still grow.
type Entry = (Request, Arc<AtomicU64>);

#[derive(Clone, Default)]
pub struct Log {
    entries: Arc<Mutex<Vec<Entry>>>,
    events: Arc<AtomicU64>,
}

impl Log {
    /// The next event.
    pub(super) fn tick(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn add(&self, request: Request) -> Arc<AtomicU64> {
        let sent = Arc::new(AtomicU64::new(0));
        self.entries.lock().push((request, Arc::clone(&sent)));
        sent
    }

    pub fn clear(&self) {
        self.entries.lock().clear();
    }

    pub fn requests(&self) -> Vec<Request> {
        let entries = self.entries.lock();
        let current = |(request, sent): &Entry| Request {
            sent: sent.load(Ordering::Relaxed),
            ..request.clone()
        };
        entries.iter().map(current).collect()
    }

    /// The requests for one blob that were not just redirected.
    pub fn blob(&self, digest: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| {
            request.kind == Kind::Blob && request.name == digest && request.status != 307
        });
        requests
    }

    /// Bytes of a blob that went out.
    pub fn sent(&self, digest: &str) -> u64 {
        self.blob(digest).iter().map(|request| request.sent).sum()
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.kind == kind)
            .count()
    }
}
