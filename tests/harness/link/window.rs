//! How much a connection may have on the way before the other side has answered: slow start.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Ten segments, as Linux begins.
const INITIAL: usize = 10 * 1460;
/// What a receiver takes by default.
const LARGEST: usize = 6 << 20;
/// After a silence of this and a round trip a connection begins anew.
const IDLE: Duration = Duration::from_millis(200);

pub(super) struct Window {
    round_trip: Duration,
    allowed: usize,
    in_flight: usize,
    answers: VecDeque<(Instant, usize)>,
    last: Option<Instant>,
}

impl Window {
    pub(super) fn new(round_trip: Duration) -> Self {
        Self {
            round_trip,
            allowed: INITIAL,
            in_flight: 0,
            answers: VecDeque::new(),
            last: None,
        }
    }

    /// The bytes that may be sent now, or when to ask again.
    pub(super) fn room(&mut self, now: Instant) -> Result<usize, Instant> {
        while let Some((_, bytes)) = self.answers.pop_front_if(|(at, _)| *at <= now) {
            self.in_flight -= bytes;
            self.allowed = (self.allowed + bytes).min(LARGEST);
        }
        let idle = |last: Instant| now.duration_since(last) > IDLE + self.round_trip;
        if self.last.is_some_and(idle) {
            self.allowed = INITIAL;
        }
        match (
            self.allowed.saturating_sub(self.in_flight),
            self.answers.front(),
        ) {
            (0, Some((at, _))) => Err(*at),
            (room, _) => Ok(room.max(1)),
        }
    }

    /// These bytes are through at this time, and answered a round trip later.
    pub(super) fn sent(&mut self, through: Instant, bytes: usize) {
        self.in_flight += bytes;
        self.answers.push_back((through + self.round_trip, bytes));
        self.last = Some(through);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_doubles_every_round_trip_and_begins_anew_after_a_pause() {
        let round_trip = Duration::from_millis(50);
        let mut window = Window::new(round_trip);
        let mut now = Instant::now();
        for doubled in 0..4 {
            assert_eq!(window.room(now), Ok(INITIAL << doubled));
            window.sent(now, INITIAL << doubled);
            assert_eq!(window.room(now), Err(now + round_trip));
            now += round_trip;
        }
        now += Duration::from_secs(1);
        assert_eq!(window.room(now), Ok(INITIAL));
    }

    #[test]
    fn a_new_connection_needs_seven_round_trips_for_a_megabyte() {
        let round_trip = Duration::from_millis(50);
        let mut window = Window::new(round_trip);
        let begin = Instant::now();
        let (mut now, mut sent) = (begin, 0);
        while sent < 1 << 20 {
            match window.room(now) {
                Ok(room) => {
                    window.sent(now, room);
                    sent += room;
                }
                Err(at) => now = at,
            }
        }
        // 14.6 KB doubled six times, the first of seven at once.
        assert_eq!(now - begin, round_trip * 6);
    }
}
