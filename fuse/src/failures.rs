//! Says that reads fail without filling the log: a layer that cannot be read fails for every reader.

use std::time::{Duration, Instant};

use layer::Inode;
use parking_lot::Mutex;

/// The least time between two lines about the same mount.
const QUIET: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Failures {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    unsaid: u64,
}

impl Failures {
    pub(crate) fn log(&self, inode: Inode, reason: &dyn std::fmt::Display) {
        if let Some(unsaid) = self.state.lock().due(Instant::now()) {
            tracing::warn!(%inode, %reason, unsaid, "a read failed");
        }
    }
}

impl State {
    /// How many were passed over since the last line, if it is time for another.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self
            .said
            .is_some_and(|said| now.duration_since(said) < QUIET)
        {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_failures_make_one_line_and_the_next_one_counts_them() {
        let mut state = State::default();
        let start = Instant::now();
        assert_eq!(state.due(start), Some(0));
        for _ in 1..1000 {
            assert_eq!(state.due(start), None);
        }
        assert_eq!(state.due(start + QUIET), Some(999));
    }
}
