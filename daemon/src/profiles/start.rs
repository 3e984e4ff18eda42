//! One start of one image: when it is over, and what was read until then. Pure arithmetic on the times it is told.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use oci_spec::image::Digest;
use soci::profile::{FirstRead, LayerProfile, Profile};

/// A container may be made long before it is started.
const PATIENCE: Duration = Duration::from_secs(300);
/// From the first read on; what is read later belongs to the work, not to the start.
const LONGEST: Duration = Duration::from_secs(60);
/// Without a new read and without a reader who waits for an old one.
const QUIET: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Start {
    since: Instant,
    /// When something last happened: a first read, or somebody still waiting.
    active: Option<Instant>,
    reads: HashMap<Digest, Vec<(Range<u64>, Instant)>>,
}

impl Start {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            since,
            active: None,
            reads: HashMap::new(),
        }
    }

    /// What one layer has noted by now, in place of what it had before. Reads before the start belong to somebody else.
    pub(super) fn note(
        &mut self,
        layer: &Digest,
        reads: impl IntoIterator<Item = (Range<u64>, Instant)>,
    ) {
        let reads: Vec<_> = reads
            .into_iter()
            .filter(|(_, at)| *at >= self.since)
            .collect();
        let last = reads.iter().map(|(_, at)| *at).max();
        self.active = self.active.max(last);
        if !reads.is_empty() {
            self.reads.insert(layer.clone(), reads);
        }
    }

    /// A reader waits at this time, so it is the link that is slow and not the container that is done.
    pub(super) fn waiting(&mut self, now: Instant) {
        if self.active.is_some() {
            self.active = self.active.max(Some(now));
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        match self.first().zip(self.active) {
            None => now.saturating_duration_since(self.since) >= PATIENCE,
            Some((first, active)) => {
                now.saturating_duration_since(first) >= LONGEST
                    || now.saturating_duration_since(active) >= QUIET
            }
        }
    }

    /// `None` when nothing was read: everything was in the kernel's page cache, and nothing is learnt from that.
    pub(super) fn profile(&self) -> Option<Profile> {
        let first = self.first()?;
        let mut profile = Profile::default();
        for (layer, reads) in &self.reads {
            let reads = reads.iter().filter_map(|(tar, at)| {
                let after = at.saturating_duration_since(first);
                Some(FirstRead {
                    tar: tar.clone(),
                    at_ms: u32::try_from(after.as_millis()).ok()?,
                })
                .filter(|_| after < LONGEST)
            });
            profile.insert(layer.clone(), LayerProfile::new(reads));
        }
        Some(profile)
    }

    fn first(&self) -> Option<Instant> {
        self.reads.values().flatten().map(|(_, at)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: &str) -> Digest {
        format!("sha256:{}", letter.repeat(64)).parse().unwrap()
    }

    /// A start whose layers were read at these seconds, and the second at which it is over.
    #[track_caller]
    fn check(reads: &[f64], waits: &[f64], over: f64) -> Option<Profile> {
        let since = Instant::now() + Duration::from_secs(1000);
        let at = |seconds: f64| match seconds < 0.0 {
            true => since - Duration::from_secs_f64(-seconds),
            false => since + Duration::from_secs_f64(seconds),
        };
        let mut start = Start::new(since);
        let mut now = 0.0;
        loop {
            let seen = reads.iter().enumerate().filter(|(_, read)| **read <= now);
            let seen = seen.map(|(place, read)| {
                let place = u64::try_from(place).unwrap() << 20;
                (place..place + 4096, at(*read))
            });
            start.note(&digest("a"), seen);
            if waits.contains(&now) {
                start.waiting(at(now));
            }
            if start.is_over(at(now)) {
                break;
            }
            now += 0.5;
            assert!(now < 1000.0, "never over");
        }
        assert!(
            (now - over).abs() < 0.1,
            "over after {now} s instead of {over} s"
        );
        start.profile()
    }

    fn times(profile: Option<Profile>) -> Vec<u32> {
        let profile = profile.unwrap();
        let layer = profile.layer(&digest("a")).unwrap();
        layer.reads().iter().map(|read| read.at_ms).collect()
    }

    #[test]
    fn a_start_ends_when_the_container_has_read_nothing_new_for_a_while() {
        let profile = check(&[20.0, 20.25, 24.0], &[], 29.0);
        assert_eq!(times(profile), [0, 250, 4000]);
    }

    #[test]
    fn a_container_that_reads_on_and_on_has_started_after_a_minute() {
        let reads: Vec<f64> = (0..100).map(f64::from).collect();
        let profile = check(&reads, &[], 60.0);
        assert_eq!(times(profile).len(), 60);
    }

    #[test]
    fn a_slow_link_does_not_end_a_start() {
        let profile = check(&[1.0, 15.0], &[4.0, 8.0, 12.0], 20.0);
        assert_eq!(times(profile), [0, 14_000]);
    }

    #[test]
    fn what_was_read_before_the_container_was_made_is_not_its_own() {
        let profile = check(&[-3.0, -0.5, 1.0], &[], 6.0);
        assert_eq!(times(profile), [0]);
    }

    #[test]
    fn a_container_that_reads_nothing_teaches_nothing() {
        assert_eq!(check(&[], &[], 300.0), None);
        assert_eq!(check(&[-1.0], &[2.0], 300.0), None);
    }
}
