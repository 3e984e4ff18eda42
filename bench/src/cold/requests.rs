//! What a start asked of the registry, request by request.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use harness::link::Request;

/// One line a request: milliseconds since the pull began, whether the container was already being made, and what for.
pub(super) fn list(requests: &[Request], begin: Instant, pull: Duration) -> String {
    let mut text = String::new();
    for request in requests {
        let at = request.at.saturating_duration_since(begin);
        let phase = if at < pull { "pull" } else { "run" };
        let what = request.path.rsplit('/').next().unwrap_or_default();
        let range = request.range.as_deref().unwrap_or("whole");
        let (what, size) = (what.get(..19).unwrap_or(what), size(range));
        let at = at.as_millis();
        let method = &request.method;
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "  {at:6} ms {phase:4} {method:4} {what:19} {range} {size}"
        );
    }
    text
}

fn size(range: &str) -> String {
    let numbers = range
        .strip_prefix("bytes=")
        .and_then(|it| it.split_once('-'));
    let parsed = numbers.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match parsed {
        Some((from, to)) => {
            let bytes = u64::saturating_sub(to, from).saturating_add(1);
            format!("{:.2} MB", bytes as f64 / 1e6)
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_as_long_as_it_says() {
        assert_eq!(size("bytes=1000000-2999999"), "2.00 MB");
        assert_eq!(size("whole"), "");
    }
}
