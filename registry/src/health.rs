//! Mirrors that failed are left alone for a while, longer each time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// Bounded by the number of configured mirrors.
#[derive(Default)]
pub(crate) struct Health {
    down: Mutex<HashMap<String, Down>>,
}

struct Down {
    failures: u32,
    until: Instant,
}

impl Health {
    pub(crate) fn is_down(&self, host: &str, now: Instant) -> bool {
        self.down
            .lock()
            .get(host)
            .is_some_and(|down| now < down.until)
    }

    /// Requests that were under way together count as one failure.
    pub(crate) fn failed(&self, host: &str, now: Instant, at_least: Option<Duration>) {
        let mut down = self.down.lock();
        let down = down.entry(host.to_owned()).or_insert(Down {
            failures: 0,
            until: now,
        });
        if now >= down.until {
            let pause = pause(down.failures)
                .max(at_least.unwrap_or_default())
                .min(LONGEST);
            down.until = now + pause;
            down.failures = down.failures.saturating_add(1);
        }
    }

    pub(crate) fn answered(&self, host: &str) {
        self.down.lock().remove(host);
    }
}

fn pause(failures: u32) -> Duration {
    FIRST
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_mirror_is_left_alone_longer_each_time_until_it_answers() {
        let health = Health::default();
        let mut now = Instant::now();
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            assert!(!health.is_down("m", now));
            health.failed("m", now, None);
            health.failed("m", now, None);
            assert!(health.is_down("m", now + Duration::from_secs(expected - 1)));
            now += Duration::from_secs(expected);
        }
        health.failed("m", now, None);
        health.answered("m");
        assert!(!health.is_down("m", now));
        health.failed("m", now, Some(Duration::from_secs(60)));
        assert!(health.is_down("m", now + Duration::from_secs(59)));
    }
}
