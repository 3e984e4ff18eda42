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
/// The same where nobody waits for what is under way.
const BACKGROUND_QUEUE: Duration = Duration::from_millis(10);
/// Before anything is known, and the least and the most there may be.
const FIRST: u64 = 4 << 20;
const BACKGROUND_FIRST: u64 = 2 << 20;
const LEAST: u64 = 512 << 10;
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
    /// Of questions asked while nothing else was under way: other answers wait for each other, and a window that
    /// grew with their delay would make it grow in turn.
    round_trips: VecDeque<Duration>,
    /// Bytes per second.
    rates: VecDeque<u64>,
    /// Answers of which nothing has come.
    awaited: usize,
    /// Answers whose bytes are arriving.
    flowing: usize,
    since: Option<Instant>,
    bytes: u64,
}

/// An answer that is awaited, then arrives.
pub(crate) struct Answer<'a> {
    link: &'a Link,
    asked: Instant,
    /// Nothing else was under way.
    alone: bool,
    flows: bool,
}

impl Link {
    pub(crate) fn ask(&self) -> Answer<'_> {
        Answer {
            link: self,
            alone: self.0.lock().asked(),
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
        self.0.lock().window(QUEUE, FIRST)
    }

    /// As much of that as the background may have.
    pub(crate) fn background_window(&self) -> u64 {
        self.0.lock().window(BACKGROUND_QUEUE, BACKGROUND_FIRST)
    }
}

impl State {
    fn window(&self, queue: Duration, first: u64) -> u64 {
        self.carries(queue).unwrap_or(first).clamp(LEAST, MOST)
    }

    /// Bytes in a round trip and as long again as `more`; None as long as nothing is known.
    fn carries(&self, more: Duration) -> Option<u64> {
        let (delay, rate) = (self.round_trips.iter().min()?, self.rates.iter().max()?);
        let micros = u64::try_from((*delay + more).as_micros()).unwrap_or(u64::MAX);
        Some((rate / 1000).saturating_mul(micros / 1000))
    }

    /// Whether nothing else is under way.
    fn asked(&mut self) -> bool {
        let alone = self.awaited + self.flowing == 0;
        self.awaited += 1;
        alone
    }

    fn first_bytes(&mut self, delay: Option<Duration>, bytes: u64, now: Instant) {
        if let Some(delay) = delay {
            push(&mut self.round_trips, delay);
        }
        self.awaited = self.awaited.saturating_sub(1);
        self.flowing += 1;
        if self.flowing > 1 {
            self.arrived(bytes, now);
        } else {
            // What came before it was not measured.
            self.since = Some(now);
            self.bytes = 0;
        }
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
        // Not too short for a sample.
        let long = self
            .since
            .is_some_and(|since| now.duration_since(since) >= SAMPLE / 4);
        if long && self.bytes > 0 {
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
            let delay = self.alone.then(|| now.duration_since(self.asked));
            state.first_bytes(delay, bytes, now);
        } else {
            state.arrived(bytes, now);
        }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        let mut state = self.link.0.lock();
        if self.flows {
            state.ended(Instant::now());
        } else {
            state.awaited = state.awaited.saturating_sub(1);
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

    const MS: Duration = Duration::from_millis(1);

    /// A second of answers: `delay` until the first byte, then `rate` bytes per second.
    fn a_second(state: &mut State, delay_ms: u32, rate: u64, now: &mut Instant) {
        let alone = state.asked();
        let delay = alone.then_some(MS * delay_ms);
        state.first_bytes(delay, 0, *now);
        for _ in 0..100 {
            *now += MS * 10;
            state.arrived(rate / 100, *now);
        }
        state.ended(*now);
    }

    fn check(state: &State, expected: u64) {
        let window = state.window(BACKGROUND_QUEUE, FIRST);
        assert!(
            window.abs_diff(expected) <= expected / 20,
            "{window}, not {expected}"
        );
    }

    #[test]
    fn what_is_under_way_covers_the_delay_and_a_short_queue() {
        for (delay, rate, expected) in [
            (100, 12_500_000, 1_375_000),
            (20, 50_000_000, 1_500_000),
            (60, 125_000_000, 8_750_000),
            (1, 1_000_000, LEAST),
            (100, 10_000_000_000, MOST),
        ] {
            let mut state = State::default();
            assert_eq!(state.window(BACKGROUND_QUEUE, FIRST), FIRST);
            a_second(&mut state, delay, rate, &mut Instant::now());
            check(&state, expected);
        }
    }

    #[test]
    fn a_delay_that_comes_of_what_is_under_way_makes_no_larger_window() {
        let mut state = State::default();
        let mut now = Instant::now();
        a_second(&mut state, 20, 50_000_000, &mut now);
        // Another one is under way all the time.
        assert!(state.asked());
        for _ in 0..2 * SAMPLES {
            a_second(&mut state, 500, 50_000_000, &mut now);
        }
        check(&state, 1_500_000);
    }
}
