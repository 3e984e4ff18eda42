//! One bandwidth that all connections share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How much of the link's time an idle moment leaves over: timers wake up late.
const BURST: Duration = Duration::from_millis(4);

/// Hands out the link's time: a chunk is through when everything before it is.
pub(super) struct Bucket {
    rate: u64,
    free_at: Mutex<Instant>,
    passed: AtomicU64,
}

impl Bucket {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            free_at: Mutex::new(Instant::now()),
            passed: AtomicU64::new(0),
        }
    }

    /// When these bytes are through, if they come now.
    pub(super) fn pass(&self, bytes: usize, now: Instant) -> Instant {
        self.passed.fetch_add(bytes as u64, Ordering::Relaxed);
        let time = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let mut free_at = self.free_at.lock();
        *free_at = (*free_at).max(earliest) + time;
        *free_at
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// A millisecond of the link: small answers get in between large ones, and few threads wake up.
    pub(super) fn chunk(&self) -> usize {
        usize::try_from(self.rate / 1000)
            .unwrap_or(usize::MAX)
            .clamp(16 << 10, 128 << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_senders_share_one_bandwidth() {
        let bucket = Bucket::new(1_000_000);
        let now = Instant::now() + Duration::from_secs(1);
        let first = bucket.pass(100_000, now);
        let second = bucket.pass(100_000, now);
        assert_eq!(second - first, Duration::from_millis(100));
        assert_eq!(second - now, Duration::from_millis(200) - BURST);
        assert_eq!(bucket.passed(), 200_000);
    }

    #[test]
    fn a_sender_that_wakes_up_late_loses_no_bandwidth() {
        let rate = 1_000_000;
        let bucket = Bucket::new(rate);
        let begin = Instant::now() + Duration::from_secs(1);
        let (late, chunk) = (BURST / 2, bucket.chunk());
        let mut through = begin;
        let mut sent = 0;
        while sent < 10 * rate {
            through = bucket.pass(chunk, through + late);
            sent += chunk as u64;
        }
        let exact = Duration::from_secs_f64(sent as f64 / rate as f64);
        let took = through - begin;
        assert!(
            took <= exact + late && took + BURST >= exact,
            "{took:?} for {exact:?}"
        );
    }
}
