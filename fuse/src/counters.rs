//! How many messages of each kind the kernel has sent, and how reads ended that had to wait.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::abi::Opcode;

/// Counts of one mount since it was made.
#[derive(Debug)]
pub struct Counters {
    /// Indexed by opcode; the last place is for opcodes without a name here.
    requests: [AtomicU64; PLACES],
    pub(crate) waited: AtomicU64,
    pub(crate) interrupted: AtomicU64,
    pub(crate) overdue: AtomicU64,
    pub(crate) refused: AtomicU64,
}

const PLACES: usize = 64;

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            requests: [const { AtomicU64::new(0) }; PLACES],
            waited: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            overdue: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn count(&self, opcode: u32) {
        let place = usize::try_from(opcode).map_or(PLACES - 1, |number| number.min(PLACES - 1));
        if let Some(counter) = self.requests.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Messages with this opcode.
    pub fn of(&self, opcode: Opcode) -> u64 {
        let place = usize::try_from(opcode as u32)
            .ok()
            .and_then(|number| self.requests.get(number));
        place.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// All messages, FORGET included.
    pub fn total(&self) -> u64 {
        self.requests
            .iter()
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    }

    /// Reads that could not be answered at once.
    pub fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Waiting reads that ended because their process was interrupted.
    pub fn interrupted(&self) -> u64 {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Waiting reads that ended because the deadline passed.
    pub fn overdue(&self) -> u64 {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Reads refused because too many were waiting already.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_opcode_is_counted_without_a_name() {
        let counters = Counters::new();
        counters.count(15);
        counters.count(4096);
        counters.count(u32::MAX);
        assert_eq!((counters.of(Opcode::Read), counters.total()), (1, 3));
    }
}
