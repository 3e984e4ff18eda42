//! What no lazy start can be faster than, on one link.

use std::time::Duration;

use serde::Serialize;

/// A pull with nothing to unpack, a warm start, the bytes the start needs, and four round trips: one to open a
/// connection, and three from the manifest over the index to the first span.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Bound {
    pub(crate) again: f64,
    pub(crate) warm: f64,
    pub(crate) needed: u64,
    pub(crate) total: f64,
}

pub(crate) fn bound(again: f64, warm: f64, needed: u64, rate: u64, round_trip: Duration) -> Bound {
    Bound {
        again,
        warm,
        needed,
        total: again + warm + needed as f64 / rate as f64 + 4.0 * round_trip.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_round_trips_come_on_top_of_what_is_local() {
        let bound = bound(0.4, 0.2, 50_000_000, 50_000_000, Duration::from_millis(10));
        assert!((bound.total - 1.64).abs() < 1e-9, "{bound:?}");
    }
}
