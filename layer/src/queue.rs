//! The layers that wait to be filled.

use crate::layer::Layer;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Which layer a full queue gives up.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum DropPolicy {
    Newest,
    Oldest,
}

struct Job {
    layer: Weak<Layer>,
    /// The next span to look at. Goes back only to what failed: a layer larger than the cache is filled once, not for ever.
    cursor: u32,
    /// Gaps that are being brought.
    under_way: u32,
    /// Nothing is left behind the cursor.
    exhausted: bool,
    failures: u32,
    not_before: Option<Instant>,
}

/// What a layer's next gap turned out to be.
pub(crate) enum Found {
    /// Go on behind it.
    Gap(u32),
    Nothing,
    /// There is no room: later there may be.
    Later(Instant),
    /// It will never be filled.
    Unfit,
}

pub(crate) enum Next<T> {
    Work(T),
    /// Nothing before then, unless something changes.
    At(Instant),
    Idle,
}

pub(crate) struct Queue {
    limit: usize,
    policy: DropPolicy,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    silent_until: Option<Instant>,
}

impl Job {
    fn is(&self, layer: &Arc<Layer>) -> bool {
        self.layer.as_ptr() == Arc::as_ptr(layer)
    }
}

impl Queue {
    pub(crate) fn new(limit: usize, policy: DropPolicy) -> Queue {
        Queue {
            limit: limit.max(1),
            policy,
            state: Mutex::default(),
        }
    }

    /// Returns the name of a layer that had to go.
    pub(crate) fn push(&self, layer: &Arc<Layer>, silent_until: Instant) -> Option<Arc<str>> {
        let job = Job {
            layer: Arc::downgrade(layer),
            cursor: 0,
            under_way: 0,
            exhausted: false,
            failures: 0,
            not_before: None,
        };
        let dropped = {
            let mut state = self.state.lock();
            state.silent_until = state.silent_until.max(Some(silent_until));
            state.jobs.retain(|job| job.layer.strong_count() > 0);
            let full = state.jobs.len() >= self.limit;
            match self.policy {
                _ if !full => {
                    state.jobs.push_back(job);
                    None
                }
                DropPolicy::Newest => Some(job),
                DropPolicy::Oldest => {
                    let oldest = state.jobs.pop_front();
                    state.jobs.push_back(job);
                    oldest
                }
            }
        };
        dropped
            .and_then(|job| job.layer.upgrade())
            .map(|layer| Arc::clone(layer.name()))
    }

    /// Looks for work in the layers in order: one is finished before the next begins, unless it has to wait.
    /// `look` gets a layer and where to go on, and returns what it found with what to do.
    pub(crate) fn next<T>(
        &self,
        now: Instant,
        pause_until: Option<Instant>,
        look: impl Fn(&Arc<Layer>, u32) -> (Found, Option<T>),
    ) -> Next<T> {
        let mut state = self.state.lock();
        // Not dropped under the lock.
        let mut looked_at = Vec::new();
        let silent = state
            .silent_until
            .max(pause_until)
            .filter(|until| *until > now);
        if silent.is_none() {
            let mut place = 0;
            while let Some(job) = state.jobs.get_mut(place) {
                place += 1;
                if job.exhausted || job.not_before.is_some_and(|time| time > now) {
                    continue;
                }
                let Some(layer) = job.layer.upgrade() else {
                    continue;
                };
                let (found, work) = look(&layer, job.cursor);
                looked_at.push(layer);
                match found {
                    Found::Gap(next) => {
                        job.cursor = next;
                        job.under_way += 1;
                    }
                    Found::Nothing => job.exhausted = true,
                    Found::Later(time) => job.not_before = Some(time),
                    Found::Unfit => {
                        job.exhausted = true;
                        job.under_way = 0;
                    }
                }
                if let Some(work) = work {
                    return Next::Work(work);
                }
            }
        }
        state
            .jobs
            .retain(|job| job.layer.strong_count() > 0 && !(job.exhausted && job.under_way == 0));
        let waiting = state.jobs.iter().filter(|job| !job.exhausted);
        match waiting
            .map(|job| job.not_before.max(silent).unwrap_or(now))
            .min()
        {
            Some(time) => Next::At(time),
            None => Next::Idle,
        }
    }

    pub(crate) fn succeeded(&self, layer: &Arc<Layer>) {
        let mut state = self.state.lock();
        if let Some(job) = state.jobs.iter_mut().find(|job| job.is(layer)) {
            job.under_way = job.under_way.saturating_sub(1);
            job.failures = 0;
        }
    }

    /// The layer goes on at this span, after a wait that `backoff` says for so many failures in a row. Returns that wait.
    pub(crate) fn failed(
        &self,
        layer: &Arc<Layer>,
        span: u32,
        backoff: impl Fn(u32) -> Duration,
    ) -> Duration {
        let mut state = self.state.lock();
        let Some(place) = state.jobs.iter().position(|job| job.is(layer)) else {
            return Duration::ZERO;
        };
        let Some(mut job) = state.jobs.remove(place) else {
            return Duration::ZERO;
        };
        job.under_way = job.under_way.saturating_sub(1);
        job.exhausted = false;
        job.cursor = job.cursor.min(span);
        job.failures = job.failures.saturating_add(1);
        let wait = backoff(job.failures);
        job.not_before = Some(Instant::now() + wait);
        state.jobs.push_back(job);
        wait
    }
}
