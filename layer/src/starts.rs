//! What starting containers are about to read: brought in the order of its use over all layers, several requests at a time.

use crate::cache::Cache;
use crate::layer::Layer;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// Neighbouring spans are one request up to this many compressed bytes; the first of them should not wait long for the last.
const REQUEST: u64 = 2 << 20;
/// Requests under way, beside what the link takes: little enough that a reader who wants something else gets his share of it.
const AT_ONCE: usize = 16;
/// What a start has under way at least.
const LEAST: u64 = 2 << 20;
/// What share of the link is left to a start while readers fetch what it did not foresee.
const BESIDE_READERS: u64 = 4;
/// More than this waits for its reader.
const MAX_WAITING: usize = 64 << 10;

pub(crate) struct Starts {
    cache: Arc<Cache>,
    state: Mutex<State>,
    finished: Notify,
}

#[derive(Default)]
struct State {
    /// By the time of their use, then in the order in which they came.
    waiting: BTreeMap<(u32, u64), Job>,
    came: u64,
    requests: usize,
    bytes: u64,
}

struct Job {
    layer: Weak<Layer>,
    spans: Range<u32>,
    compressed: u64,
}

impl Starts {
    pub(crate) fn new(cache: &Arc<Cache>) -> Arc<Starts> {
        Arc::new(Starts {
            cache: Arc::clone(cache),
            state: Mutex::default(),
            finished: Notify::new(),
        })
    }

    /// `reads`: ranges of the tar and when they are used, in that order.
    pub(crate) fn add(
        self: &Arc<Self>,
        layer: &Arc<Layer>,
        reads: impl IntoIterator<Item = (Range<u64>, u32)>,
    ) {
        let jobs = jobs(layer, reads);
        {
            let mut state = self.state.lock();
            for (at, job) in jobs {
                if state.waiting.len() >= MAX_WAITING {
                    break;
                }
                let key = (at, state.came);
                state.came = state.came.saturating_add(1);
                state.waiting.insert(key, job);
            }
        }
        self.launch();
    }

    /// Returns when nothing is left to bring.
    pub(crate) async fn finished(&self) {
        loop {
            let mut finished = std::pin::pin!(self.finished.notified());
            finished.as_mut().enable();
            if self.state.lock().is_idle() {
                return;
            }
            finished.await;
        }
    }

    fn launch(self: &Arc<Self>) {
        while let Some(job) = self.take() {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                this.bring(&job).await;
                this.done(&job);
            });
        }
    }

    fn take(&self) -> Option<Job> {
        let window = self.cache.link.window();
        let readers = self.cache.reader_requests.load(Ordering::Relaxed);
        let share = if readers == 0 { 1 } else { BESIDE_READERS };
        self.state.lock().take(window.max(LEAST) / share)
    }

    async fn bring(&self, job: &Job) {
        // Unmounted meanwhile.
        let Some(layer) = job.layer.upgrade() else {
            return;
        };
        self.cache.metrics().start_requests.add(1);
        if let Err(error) = layer.bring(job.spans.clone()).await {
            tracing::debug!(target: "layer", layer = %layer.name(), %error, "a start-up profile is left to the readers");
        }
    }

    fn done(self: &Arc<Self>, job: &Job) {
        let idle = {
            let mut state = self.state.lock();
            state.requests = state.requests.saturating_sub(1);
            state.bytes = state.bytes.saturating_sub(job.compressed);
            state.is_idle()
        };
        if idle {
            self.finished.notify_waiters();
        } else {
            self.launch();
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.requests == 0
    }

    fn take(&mut self, window: u64) -> Option<Job> {
        let next = self.waiting.first_key_value()?.1.compressed;
        let fits = self.requests == 0 || self.bytes.saturating_add(next) <= window;
        if self.requests >= AT_ONCE || !fits {
            return None;
        }
        let (_, job) = self.waiting.pop_first()?;
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(job.compressed);
        Some(job)
    }
}

/// Every missing span once, neighbours together.
fn jobs(layer: &Arc<Layer>, reads: impl IntoIterator<Item = (Range<u64>, u32)>) -> Vec<(u32, Job)> {
    let mut seen = HashSet::new();
    let mut jobs: Vec<(u32, Job)> = Vec::new();
    for (tar, at) in reads {
        for span in layer.covering(tar) {
            if !seen.insert(span) || !layer.lacks(span) {
                continue;
            }
            let compressed = layer.compressed(span);
            match jobs.last_mut() {
                Some((_, job))
                    if job.spans.end == span
                        && job.compressed.saturating_add(compressed) <= REQUEST =>
                {
                    job.spans.end = span.saturating_add(1);
                    job.compressed = job.compressed.saturating_add(compressed);
                }
                _ => jobs.push((
                    at,
                    Job {
                        layer: Arc::downgrade(layer),
                        spans: span..span.saturating_add(1),
                        compressed,
                    },
                )),
            }
        }
    }
    jobs
}
