//! Fills layers while no reader waits: what a prefetch list names first, then every missing span.

use crate::cache::Cache;
use crate::error::Error;
use crate::layer::Layer;
use crate::queue::{DropPolicy, Job, Next, Queue};
use crate::starts::Starts;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

#[derive(Clone, Debug)]
pub struct BackgroundOptions {
    /// Off: only prefetch lists are worked through.
    pub enabled: bool,
    /// How many spans a layer begins with are asked for as soon as it is added, if it is filled at all: programs start in
    /// `/bin` and `/etc`, and the link has nothing to do while a container is made.
    pub first_spans: u32,
    /// How long nothing is filled after a layer was added. Prefetch lists do not wait for it.
    pub silence_period: Duration,
    /// How long nothing is filled after a reader waited.
    pub reader_silence: Duration,
    /// The pause between two requests of one worker, except for what is hinted at.
    pub fetch_period: Duration,
    /// The most compressed bytes asked for at a time.
    pub request: u64,
    pub concurrency: usize,
    /// How many layers may wait to be filled.
    pub queue: usize,
    pub drop: DropPolicy,
    /// A layer that fails is tried again after this, then after twice as long and so on.
    pub min_backoff: Duration,
    pub max_backoff: Duration,
}

impl Default for BackgroundOptions {
    fn default() -> Self {
        BackgroundOptions {
            enabled: true,
            first_spans: 1,
            silence_period: Duration::from_secs(30),
            reader_silence: Duration::from_millis(100),
            fetch_period: Duration::ZERO,
            request: 8 << 20,
            concurrency: 1,
            queue: 300,
            drop: DropPolicy::Newest,
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(300),
        }
    }
}

/// One per process; its workers stop when it is dropped.
pub struct Background {
    shared: Arc<Shared>,
    _workers: JoinSet<()>,
}

struct Shared {
    cache: Arc<Cache>,
    options: BackgroundOptions,
    queue: Queue,
    starts: Arc<Starts>,
}

impl Background {
    /// Needs a tokio runtime around it.
    pub fn start(cache: &Arc<Cache>, options: BackgroundOptions) -> Background {
        let queue = Queue::new(options.queue, options.drop, options.enabled);
        let shared = Arc::new(Shared {
            cache: Arc::clone(cache),
            options,
            queue,
            starts: Starts::new(cache),
        });
        let mut workers = JoinSet::new();
        for _ in 0..shared.options.concurrency.max(1) {
            let shared = Arc::clone(&shared);
            workers.spawn(async move { shared.work().await });
        }
        Background {
            shared,
            _workers: workers,
        }
    }

    /// Does not keep the layer alive.
    pub fn add(&self, layer: &Arc<Layer>) {
        let silent_until = Instant::now() + self.shared.options.silence_period;
        if let Some(dropped) = self.shared.queue.push(Job::new(layer), silent_until) {
            self.shared.cache.metrics().background_dropped.add(1);
            tracing::debug!(target: "layer", layer = %dropped, "not filled in the background: queue is full");
        }
        // A guess, where nothing better is known.
        if self.shared.options.enabled && layer.can_be_filled() && !layer.is_foreseen() {
            layer.prefetch(0..self.shared.options.first_spans);
        }
        self.shared.cache.work.notify_waiters();
    }

    /// What the readers of a layer, mounted or not, will want: ranges of its tar, and when (of all layers of one image from the
    /// same moment on), in that order. Brought at once, several requests at a time, before everything nobody waits for.
    pub fn prefetch_reads(
        &self,
        layer: &Arc<Layer>,
        reads: impl IntoIterator<Item = (Range<u64>, u32)>,
    ) {
        layer.foresee();
        self.shared.starts.add(layer, reads);
    }
}

enum Step {
    Again,
    Finished,
    /// There is no room: later there may be.
    Later,
}

impl Shared {
    async fn work(&self) {
        // The pause between two fills; what is hinted at does not wait for its end.
        let mut pause = None;
        loop {
            // Registered before looking, so that no notice is missed.
            let mut notice = std::pin::pin!(self.cache.work.notified());
            notice.as_mut().enable();
            match self.queue.next(Instant::now(), pause) {
                Next::Job(job) => {
                    let hinted = job.is_hinted();
                    self.run(job).await;
                    if !hinted {
                        pause = Some(Instant::now() + self.options.fetch_period);
                    }
                }
                Next::At(time) => {
                    tokio::select! {
                        () = notice => {}
                        () = sleep_until(time) => {}
                    }
                }
                Next::Idle => notice.await,
            }
        }
    }

    async fn run(&self, mut job: Job) {
        let silence = if job.is_hinted() {
            Duration::ZERO
        } else {
            self.options.reader_silence
        };
        if !job.is_hinted() {
            self.starts.finished().await;
        }
        self.cache.readers.quiet(silence).await;
        // Only now, so that a layer does not outlive its mount by waiting here.
        let Some(layer) = job.layer() else {
            return;
        };
        match self.step(&layer, &mut job).await {
            Ok(Step::Finished) => return,
            Ok(Step::Again) => job.succeeded(),
            Ok(Step::Later) => job.retry_at(Instant::now() + self.options.max_backoff),
            Err(error) => {
                self.cache.metrics().background_failures.add(1);
                let wait = backoff(&self.options, job.failed());
                tracing::debug!(
                    target: "layer",
                    layer = %layer.name(),
                    %error,
                    wait_ms = wait.as_millis(),
                    "background fill failed, tried again later"
                );
                job.retry_at(Instant::now() + wait);
            }
        }
        self.queue.put_back(job);
    }

    async fn step(&self, layer: &Arc<Layer>, job: &mut Job) -> Result<Step, Error> {
        if let Some(hint) = layer.take_hint() {
            return self.prefetch(layer, hint).await;
        }
        if !self.options.enabled {
            return Ok(Step::Again);
        }
        if !layer.can_be_filled() {
            return Ok(Step::Finished);
        }
        if !self.cache.has_room(self.options.request) {
            return Ok(Step::Later);
        }
        self.cache.metrics().background_gaps.add(1);
        match layer
            .fill(job.cursor..layer.spans(), self.options.request)
            .await?
        {
            Some(next) => {
                job.cursor = next;
                Ok(Step::Again)
            }
            None => Ok(Step::Finished),
        }
    }

    async fn prefetch(&self, layer: &Arc<Layer>, hint: Range<u32>) -> Result<Step, Error> {
        let filled = layer.fill(hint.clone(), self.options.request).await;
        match filled {
            Ok(Some(next)) if next < hint.end => layer.put_hint_back(next..hint.end),
            Ok(_) => {}
            Err(_) => layer.put_hint_back(hint),
        }
        filled.map(|_| Step::Again)
    }
}

fn backoff(options: &BackgroundOptions, failures: u32) -> Duration {
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
    options
        .min_backoff
        .saturating_mul(doubled)
        .min(options.max_backoff)
}
