//! When the background may ask for more: not while a reader waits, not more than the link takes, not faster than told.

use crate::link::Link;
use crate::readers::Readers;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A request is put off until there is room for this part of what may be under way; it gets all the room there is.
const PART: u64 = 4;
/// Fewer bytes are no request of their own: what a slow link's reader may have to wait behind.
const LEAST: u64 = 256 << 10;
/// A capped request has at most what the cap lets through in a tenth of a second, but no less than this.
const LEAST_CAPPED: u64 = 64 << 10;

pub(crate) struct Pacer {
    readers: Arc<Readers>,
    soon: Arc<Readers>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    paused: bool,
    /// How long nothing is asked after a reader waited.
    silence: Duration,
    /// Bytes per second.
    cap: Option<u64>,
    not_before: Option<Instant>,
    /// Bytes asked for and not yet here.
    under_way: u64,
}

/// Leave to ask for this many bytes.
pub(crate) struct Leave<'a> {
    pacer: &'a Pacer,
    pub(crate) bytes: u64,
}

enum Next {
    Take(u64),
    At(Instant),
    Change,
}

impl Pacer {
    /// The background comes after both.
    pub(crate) fn new(readers: &Arc<Readers>, soon: &Arc<Readers>) -> Pacer {
        Pacer {
            readers: Arc::clone(readers),
            soon: Arc::clone(soon),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn silence(&self, silence: Duration) {
        self.state.lock().silence = silence;
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.state.lock().paused = paused;
        self.changed.notify_waiters();
    }

    /// Bytes per second.
    pub(crate) fn cap(&self, cap: Option<u64>) {
        self.state.lock().cap = cap.filter(|cap| *cap > 0);
        self.changed.notify_waiters();
    }

    /// How much makes a good request now.
    pub(crate) fn request(&self, link: &Link) -> u64 {
        let state = self.state.lock();
        state.request(link.background_window())
    }

    /// Neither paused nor capped.
    pub(crate) fn is_free(&self) -> bool {
        let state = self.state.lock();
        !state.paused && state.cap.is_none()
    }

    /// Returns when nobody waits, nobody just has, and all is here that will be read soon.
    pub(crate) async fn comes_next(&self) {
        let silence = self.state.lock().silence;
        loop {
            self.soon.quiet(Duration::ZERO).await;
            self.readers.quiet(silence).await;
            if !self.soon.is_waited_for() {
                return;
            }
        }
    }

    /// Waits for its turn; gives leave for at most `most` bytes.
    pub(crate) async fn leave(&self, most: u64, link: &Link) -> Leave<'_> {
        loop {
            self.comes_next().await;
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let next = self
                .state
                .lock()
                .next(most, link.background_window(), Instant::now());
            match next {
                Next::Take(bytes) => return Leave { pacer: self, bytes },
                Next::Change => changed.await,
                Next::At(time) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(time) => {}
                    }
                }
            }
        }
    }
}

impl State {
    fn request(&self, window: u64) -> u64 {
        let share = (window / PART).max(LEAST);
        let capped = self.cap.map(|cap| (cap / 10).max(LEAST_CAPPED));
        share.min(capped.unwrap_or(u64::MAX))
    }

    fn next(&mut self, most: u64, window: u64, now: Instant) -> Next {
        if self.paused {
            return Next::Change;
        }
        let room = window.saturating_sub(self.under_way);
        let least = self.request(window).min(most);
        if self.under_way > 0 && room < least {
            return Next::Change;
        }
        let mut bytes = most.min(room).max(least);
        if let Some(cap) = self.cap {
            bytes = least;
            let start = self.not_before.unwrap_or(now);
            if start > now {
                return Next::At(start);
            }
            let micros = bytes.saturating_mul(1_000_000) / cap;
            self.not_before = Some(start.max(now) + Duration::from_micros(micros));
        }
        self.under_way = self.under_way.saturating_add(bytes);
        Next::Take(bytes)
    }
}

impl Leave<'_> {
    pub(crate) fn arrived(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.pacer.give_back(bytes);
    }
}

impl Pacer {
    fn give_back(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.under_way = state.under_way.saturating_sub(bytes);
        drop(state);
        self.changed.notify_waiters();
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.pacer.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_under_way_than_the_link_takes() {
        let mut state = State::default();
        let (window, now) = (4 << 20, Instant::now());
        for (most, expected) in [(1 << 20, 1 << 20), (5 << 19, 5 << 19), (1 << 19, 1 << 19)] {
            assert!(
                matches!(state.next(most, window, now), Next::Take(bytes) if bytes == expected)
            );
        }
        assert!(matches!(state.next(1, window, now), Next::Change), "full");
        state.under_way -= 1 << 19;
        let small = state.next(u64::MAX, window, now);
        assert!(matches!(small, Next::Change), "not worth a request");
        state.under_way -= 1 << 20;
        let all = state.next(u64::MAX, window, now);
        assert!(
            matches!(all, Next::Take(bytes) if bytes == 3 << 19),
            "all the room"
        );
        assert_eq!(state.under_way, window);
        state.under_way = 0;
        assert!(
            matches!(state.next(7, 3, now), Next::Take(7)),
            "one goes alone"
        );
        state.under_way = 0;
        state.paused = true;
        assert!(matches!(state.next(7, window, now), Next::Change));
    }

    #[test]
    fn a_cap_holds_over_time() {
        let cap = 10 << 20;
        let mut state = State {
            cap: Some(cap),
            ..State::default()
        };
        let begin = Instant::now();
        let (mut now, mut taken) = (begin, 0);
        while now < begin + Duration::from_secs(10) {
            match state.next(u64::MAX, 64 << 20, now) {
                Next::Take(bytes) => taken += bytes,
                Next::At(time) => now = time,
                Next::Change => state.under_way = 0,
            }
        }
        assert!(taken.abs_diff(10 * cap) <= cap / 5, "{taken}");
    }
}
