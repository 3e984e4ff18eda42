//! A disk that fails is said once in a while, not once per span.

use crate::metrics::Counter;
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Trouble {
    last: Mutex<Option<Instant>>,
}

impl Trouble {
    pub(super) fn report(&self, counter: &Counter, dir: &Path, error: &io::Error) {
        counter.add(1);
        let now = Instant::now();
        let due = {
            let mut last = self.last.lock();
            let due = last.is_none_or(|last| now.duration_since(last) >= PERIOD);
            if due {
                *last = Some(now);
            }
            due
        };
        if due {
            tracing::warn!(
                target: "layer",
                dir = %dir.display(),
                %error,
                failures = counter.get(),
                "cache disk fails; reads go on without it"
            );
        }
    }
}
