//! Which parts of the tar readers asked for first, in order and with the time: what a start-up profile is made of.

use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Reads are noted in pieces of this many bytes, from a multiple of it.
const GRAIN: u64 = 64 << 10;
/// What follows within this time belongs to the same range.
const MOMENT: Duration = Duration::from_millis(100);
/// More ranges than this are no start.
const MAX_RANGES: usize = 4096;

/// A range of the tar, and when a reader first asked for it.
pub type FirstRead = (Range<u64>, Instant);

pub(crate) struct FirstReads {
    size: u64,
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By grain: whether it was read. As long as it has to be.
    read: Vec<bool>,
    /// In the order of time; disjoint.
    reads: Vec<FirstRead>,
}

impl FirstReads {
    pub(crate) fn of(size: u64) -> FirstReads {
        FirstReads {
            size,
            on: AtomicBool::new(true),
            state: Mutex::default(),
        }
    }

    /// Forgets everything and begins anew.
    pub(crate) fn record(&self) {
        *self.state.lock() = State::default();
        self.on.store(true, Ordering::Release);
    }

    /// What is noted stays.
    pub(crate) fn stop(&self) {
        self.on.store(false, Ordering::Release);
    }

    pub(crate) fn noted(&self) -> Vec<FirstRead> {
        self.state.lock().reads.clone()
    }

    /// A range that is known costs a look at its bits and nothing else.
    pub(crate) fn note(&self, tar: &Range<u64>) {
        if !self.on.load(Ordering::Acquire) || tar.is_empty() {
            return;
        }
        let grains = tar.start / GRAIN..tar.end.min(self.size).div_ceil(GRAIN);
        self.state.lock().note(grains, self.size);
    }
}

impl State {
    fn note(&mut self, grains: Range<u64>, size: u64) {
        let (Ok(first), Ok(end)) = (usize::try_from(grains.start), usize::try_from(grains.end))
        else {
            return;
        };
        if self.read.len() < end {
            self.read.resize(end, false);
        }
        let now = Instant::now();
        for (grain, read) in grains.zip(self.read.iter_mut().skip(first)) {
            if *read {
                continue;
            }
            let start = grain.saturating_mul(GRAIN);
            let end = start.saturating_add(GRAIN).min(size);
            let room = self.reads.len() < MAX_RANGES;
            match self.reads.last_mut() {
                Some((last, at)) if last.end == start && now.duration_since(*at) < MOMENT => {
                    last.end = end;
                }
                _ if room => self.reads.push((start..end, now)),
                _ => return,
            }
            *read = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 100 * GRAIN + 7;

    fn check(reads: &[Range<u64>], expected: &[Range<u64>]) {
        let noted = FirstReads::of(SIZE);
        for read in reads {
            noted.note(read);
        }
        let all = noted.noted();
        let ranges: Vec<_> = all.iter().map(|(range, _)| range.clone()).collect();
        assert_eq!(ranges, expected, "{reads:?}");
        assert!(all.is_sorted_by_key(|(_, at)| *at));
    }

    #[test]
    fn ranges_are_noted_in_the_order_of_their_first_use() {
        check(&[], &[]);
        check(&[5..5, 6..6], &[]);
        check(
            &[9 * GRAIN..9 * GRAIN + 1, 0..5, 3..9 * GRAIN + 5],
            &[9 * GRAIN..10 * GRAIN, 0..9 * GRAIN],
        );
        check(
            &[99 * GRAIN..SIZE, 2 * GRAIN - 1..2 * GRAIN + 1],
            &[99 * GRAIN..SIZE, GRAIN..3 * GRAIN],
        );
    }

    #[test]
    fn no_more_is_noted_than_a_start_reads() {
        let noted = FirstReads::of(u64::MAX);
        for place in 0..2 * 4096 {
            noted.note(&(2 * place * GRAIN..2 * place * GRAIN + 1));
        }
        assert_eq!(noted.noted().len(), MAX_RANGES);
    }

    #[test]
    fn recording_stops_and_begins_anew() {
        let noted = FirstReads::of(SIZE);
        noted.note(&(0..1));
        noted.stop();
        noted.note(&(5 * GRAIN..6 * GRAIN));
        assert_eq!(noted.noted().len(), 1);
        noted.record();
        assert!(noted.noted().is_empty());
        noted.note(&(0..1));
        assert_eq!(noted.noted().len(), 1);
    }
}
