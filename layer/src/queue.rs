//! The layers that wait to be filled.

use crate::layer::Layer;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use tokio::time::Instant;

/// Which layer a full queue gives up.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum DropPolicy {
    Newest,
    Oldest,
}

pub(crate) struct Job {
    layer: Weak<Layer>,
    /// The next span to look at. Never goes back: a layer larger than the cache is filled once, not for ever.
    pub(crate) cursor: u32,
    failures: u32,
    not_before: Option<Instant>,
}

pub(crate) enum Next {
    Job(Job),
    /// Nothing before then, unless something is added.
    At(Instant),
    Idle,
}

pub(crate) struct Queue {
    limit: usize,
    policy: DropPolicy,
    /// Otherwise only layers with hints are handed out.
    fill: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    silent_until: Option<Instant>,
}

impl Job {
    pub(crate) fn new(layer: &Arc<Layer>) -> Job {
        Job {
            layer: Arc::downgrade(layer),
            cursor: 0,
            failures: 0,
            not_before: None,
        }
    }

    pub(crate) fn layer(&self) -> Option<Arc<Layer>> {
        self.layer.upgrade()
    }

    pub(crate) fn is_hinted(&self) -> bool {
        self.layer().is_some_and(|layer| layer.has_hints())
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// Returns how often in a row.
    pub(crate) fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    pub(crate) fn retry_at(&mut self, time: Instant) {
        self.not_before = Some(time);
    }
}

impl Queue {
    pub(crate) fn new(limit: usize, policy: DropPolicy, fill: bool) -> Queue {
        Queue {
            limit: limit.max(1),
            policy,
            fill,
            state: Mutex::default(),
        }
    }

    /// Returns the name of a layer that had to go.
    pub(crate) fn push(&self, job: Job, silent_until: Instant) -> Option<Arc<str>> {
        let dropped = {
            let mut state = self.state.lock();
            state.silent_until = state.silent_until.max(Some(silent_until));
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
            .and_then(|job| job.layer())
            .map(|layer| Arc::clone(layer.name()))
    }

    pub(crate) fn put_back(&self, job: Job) {
        // To the front: one layer is finished before the next begins, unless it has to wait.
        let mut state = self.state.lock();
        if job.not_before.is_some() {
            state.jobs.push_back(job);
        } else {
            state.jobs.push_front(job);
        }
    }

    /// Hinted layers first; others not during the pause.
    pub(crate) fn next(&self, now: Instant, pause_until: Option<Instant>) -> Next {
        let mut state = self.state.lock();
        state.jobs.retain(|job| job.layer.strong_count() > 0);
        let ready = |job: &Job| job.not_before.is_none_or(|time| time <= now);
        let silent = state
            .silent_until
            .max(pause_until)
            .filter(|until| *until > now);
        let hinted = state
            .jobs
            .iter()
            .position(|job| ready(job) && job.is_hinted());
        let found = match hinted {
            None if self.fill && silent.is_none() => state.jobs.iter().position(ready),
            hinted => hinted,
        };
        if let Some(job) = found.and_then(|found| state.jobs.remove(found)) {
            return Next::Job(job);
        }
        let waiting = state.jobs.iter().filter(|job| self.fill || job.is_hinted());
        match waiting
            .map(|job| job.not_before.max(silent).unwrap_or(now))
            .min()
        {
            Some(time) => Next::At(time),
            None => Next::Idle,
        }
    }
}
