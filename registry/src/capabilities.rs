//! What hosts have been found to be able to do, for a while: bounded, and forgotten in time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::endpoint::Endpoint;

/// Longer than any process lives; `Options` may say "for ever".
const FOR_EVER: Duration = Duration::from_secs(365 * 86400);
/// A host that serves ranges now will hardly lose that within an image's start.
const RANGES_TTL: Duration = Duration::from_secs(3600);
const MAX_REMEMBERED: usize = 4096;

pub(crate) struct Capabilities {
    /// Repositories without the referrers API.
    no_referrers: Memory,
    /// Hosts that serve ranges of blobs themselves, without a redirect.
    ranges: Memory,
}

impl Capabilities {
    pub(crate) fn new(referrers_ttl: Duration) -> Self {
        Capabilities {
            no_referrers: Memory::new(referrers_ttl),
            ranges: Memory::new(RANGES_TTL),
        }
    }

    pub(crate) fn lacks_referrers(&self, endpoint: &Endpoint) -> bool {
        self.no_referrers.has(endpoint.base.as_str())
    }

    pub(crate) fn note_no_referrers(&self, endpoint: &Endpoint) {
        self.no_referrers.add(endpoint.base.as_str());
    }

    pub(crate) fn serves_ranges(&self, endpoint: &Endpoint) -> bool {
        self.ranges.has(&endpoint.host)
    }

    pub(crate) fn note_ranges(&self, endpoint: &Endpoint, served: bool) {
        if served {
            self.ranges.add(&endpoint.host);
        } else {
            self.ranges.forget(&endpoint.host);
        }
    }
}

/// Names that are remembered for some time.
struct Memory {
    ttl: Duration,
    until: Mutex<HashMap<String, Instant>>,
}

impl Memory {
    fn new(ttl: Duration) -> Self {
        Memory {
            ttl: ttl.min(FOR_EVER),
            until: Mutex::default(),
        }
    }

    fn has(&self, name: &str) -> bool {
        let until = self.until.lock();
        until.get(name).is_some_and(|until| Instant::now() < *until)
    }

    fn add(&self, name: &str) {
        let now = Instant::now();
        let Some(end) = now.checked_add(self.ttl) else {
            return;
        };
        let mut until = self.until.lock();
        if let Some(known) = until.get_mut(name) {
            *known = end;
            return;
        }
        if until.len() >= MAX_REMEMBERED {
            until.retain(|_, until| now < *until);
        }
        if until.len() < MAX_REMEMBERED {
            until.insert(name.to_owned(), end);
        }
    }

    fn forget(&self, name: &str) {
        self.until.lock().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_ends() {
        let memory = Memory::new(Duration::from_secs(60));
        for number in 0..=MAX_REMEMBERED {
            memory.add(&number.to_string());
        }
        assert_eq!(memory.until.lock().len(), MAX_REMEMBERED);
        assert!(memory.has("0") && !memory.has(&MAX_REMEMBERED.to_string()));
        memory.forget("0");
        assert!(!memory.has("0"));
        let short = Memory::new(Duration::ZERO);
        short.add("host");
        assert!(!short.has("host"));
    }
}
