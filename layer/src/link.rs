//! What the way to the registries can carry, as seen from the bytes that come over it; and how much of it to keep filled.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Over this long a rate is measured.
const SAMPLE: Duration = Duration::from_millis(50);
/// The best of so many samples counts: the others had something to wait for.
const SAMPLES: usize = 16;
/// How much more than the delay is kept under way: what a reader's answer may have to wait behind.
const QUEUE: Duration = Duration::from_millis(40);
/// Before anything is known, and the least and the most there may be.
const FIRST: u64 = 4 << 20;
pub(crate) const LEAST: u64 = 512 << 10;
const MOST: u64 = 64 << 20;
/// From the answer to a reader's next request, as a guess.
const THOUGHT: Duration = Duration::from_millis(10);
/// The most that is guessed at once.
const MOST_IDLE: u64 = 8 << 20;

/// One per process: the node's own link is what all layers share.
#[derive(Default)]
pub(crate) struct Link(Mutex<State>);

#[derive(Default)]
struct State {
    round_trips: VecDeque<Duration>,
    /// Bytes per second.
    rates: VecDeque<u64>,
    /// Answers whose bytes are arriving.
    flowing: usize,
    since: Option<Instant>,
    bytes: u64,
}

/// An answer that is awaited, then arrives.
pub(crate) struct Answer<'a> {
    link: &'a Link,
    asked: Instant,
    flows: bool,
}

impl Link {
    pub(crate) fn ask(&self) -> Answer<'_> {
        Answer {
            link: self,
            asked: Instant::now(),
            flows: false,
        }
    }

    /// What the link could carry from a reader's answer to the bytes of his next request: the room for a guess that delays
    /// nobody. Nothing as long as nothing is known.
    pub(crate) fn idle(&self) -> u64 {
        let state = self.0.lock();
        state.carries(THOUGHT).unwrap_or(0).min(MOST_IDLE)
    }

    /// Bytes asked for and not yet here with which the link is never idle and its queue stays short.
    pub(crate) fn window(&self) -> u64 {
        self.0.lock().window()
    }
}

impl State {
    fn window(&self) -> u64 {
        self.carries(QUEUE).unwrap_or(FIRST).clamp(LEAST, MOST)
    }

    /// Bytes in a round trip and as long again as `more`; None as long as nothing is known.
    fn carries(&self, more: Duration) -> Option<u64> {
        let (delay, rate) = (self.round_trips.iter().min()?, self.rates.iter().max()?);
        let micros = u64::try_from((*delay + more).as_micros()).unwrap_or(u64::MAX);
        Some((rate / 1000).saturating_mul(micros / 1000))
    }

    fn first_byte(&mut self, delay: Duration, now: Instant) {
        push(&mut self.round_trips, delay);
        if self.flowing == 0 {
            self.since = Some(now);
            self.bytes = 0;
        }
        self.flowing += 1;
    }

    fn arrived(&mut self, bytes: u64, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes);
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= SAMPLE {
            self.sample(now);
        }
    }

    fn sample(&mut self, now: Instant) {
        let Some(since) = self.since.replace(now) else {
            return;
        };
        let micros = u64::try_from(now.duration_since(since).as_micros()).unwrap_or(u64::MAX);
        let rate = std::mem::take(&mut self.bytes).saturating_mul(1_000_000) / micros.max(1);
        push(&mut self.rates, rate);
    }

    fn ended(&mut self, now: Instant) {
        self.flowing = self.flowing.saturating_sub(1);
        if self.flowing > 0 {
            return;
        }
        // Too short for a sample, unless nothing else is known.
        let long = self
            .since
            .is_some_and(|since| now.duration_since(since) >= SAMPLE / 4);
        if long {
            self.sample(now);
        }
        self.since = None;
        self.bytes = 0;
    }
}

impl Answer<'_> {
    pub(crate) fn arrived(&mut self, bytes: u64) {
        let now = Instant::now();
        let mut state = self.link.0.lock();
        if !self.flows {
            self.flows = true;
            state.first_byte(now.duration_since(self.asked), now);
        } else {
            state.arrived(bytes, now);
        }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        if self.flows {
            self.link.0.lock().ended(Instant::now());
        }
    }
}

fn push<T>(samples: &mut VecDeque<T>, sample: T) {
    if samples.len() >= SAMPLES {
        samples.pop_front();
    }
    samples.push_back(sample);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of answers: `delay` until the first byte, then `rate` bytes per second.
    fn check(delay_ms: u64, rate: u64, expected: u64) {
        let mut state = State::default();
        assert_eq!(state.window(), FIRST);
        let mut now = Instant::now();
        state.first_byte(Duration::from_millis(delay_ms), now);
        for _ in 0..100 {
            now += Duration::from_millis(10);
            state.arrived(rate / 100, now);
        }
        state.ended(now);
        let window = state.window();
        assert!(
            window.abs_diff(expected) <= expected / 20,
            "{delay_ms} ms, {rate}: {window}"
        );
    }

    #[test]
    fn what_is_under_way_covers_the_delay_and_a_short_queue() {
        check(100, 12_500_000, 1_750_000);
        check(20, 50_000_000, 3_000_000);
        check(60, 125_000_000, 12_500_000);
        check(1, 1_000_000, LEAST);
        check(100, 10_000_000_000, MOST);
    }
}
