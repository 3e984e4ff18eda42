//! What starting containers are about to read: brought in the order of its use over all layers, several requests at a time.

use crate::cache::Cache;
use crate::layer::Layer;
use crate::meter::{Meter, Share};
use crate::readers::Waiting;
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
const BESIDE_READERS: u64 = 2;
/// More than this waits for its reader.
const MAX_WAITING: usize = 64 << 10;

pub(crate) struct Starts {
    cache: Arc<Cache>,
    state: Mutex<State>,
    /// Bytes asked for and not yet here: a span that is being inflated does not keep the link idle.
    meter: Arc<Meter>,
    more: Notify,
    finished: Notify,
}

#[derive(Default)]
struct State {
    /// By the time of their use, then in the order in which they came.
    waiting: BTreeMap<(u32, u64), Job>,
    came: u64,
    requests: usize,
    /// Keeps the background back while there is anything to bring.
    before_the_background: Option<Waiting>,
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
            meter: Arc::default(),
            more: Notify::new(),
            finished: Notify::new(),
        })
    }

    /// `reads`: ranges of the tar and when they are used, in that order.
    pub(crate) fn add(
        &self,
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
            if !state.is_idle() && state.before_the_background.is_none() {
                state.before_the_background = Some(self.cache.soon.enter());
            }
        }
        self.more.notify_one();
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

    /// Asks for what waits as the link takes it; never returns.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            let mut less = std::pin::pin!(self.meter.less().notified());
            less.as_mut().enable();
            while let Some(job) = self.take() {
                self.launch(job);
            }
            if self.state.lock().waiting.is_empty() {
                self.more.notified().await;
            } else {
                tokio::select! {
                    () = less => {}
                    () = self.more.notified() => {}
                }
            }
        }
    }

    fn take(&self) -> Option<Job> {
        let window = self.cache.link.window().max(LEAST);
        let readers = self.cache.reader_requests.load(Ordering::Relaxed);
        let share = if readers == 0 { 1 } else { BESIDE_READERS };
        let room = self.meter.under_way() < window / share;
        self.state.lock().take(room)
    }

    fn launch(self: &Arc<Self>, job: Job) {
        let Some(layer) = job.layer.upgrade() else {
            // Unmounted meanwhile.
            return self.done();
        };
        // Where a reader was faster, what he brings takes no share.
        let share = self.meter.take(layer.outstanding(job.spans.clone()));
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.bring(&layer, job.spans, share).await;
            this.done();
        });
    }

    async fn bring(&self, layer: &Layer, spans: Range<u32>, share: Arc<Share>) {
        self.cache.metrics().start_requests.add(1);
        if let Err(error) = layer.bring(spans, Some(share)).await {
            tracing::debug!(target: "layer", layer = %layer.name(), %error, "a start-up profile is left to the readers");
        }
    }

    fn done(&self) {
        let idle = {
            let mut state = self.state.lock();
            state.requests = state.requests.saturating_sub(1);
            let idle = state.is_idle();
            if idle {
                state.before_the_background = None;
            }
            idle
        };
        if idle {
            self.finished.notify_waiters();
        }
        self.more.notify_one();
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.requests == 0
    }

    /// `room`: the link takes more. Where nothing is under way one goes all the same.
    fn take(&mut self, room: bool) -> Option<Job> {
        if self.requests >= AT_ONCE || !(room || self.requests == 0) {
            return None;
        }
        let (_, job) = self.waiting.pop_first()?;
        self.requests += 1;
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
