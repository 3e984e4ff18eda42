//! What nobody waits for yet: what a reader is on his way to, what a list names, and then, while no reader waits, every missing span.

use crate::cache::Cache;
use crate::layer::Layer;
use crate::queue::{DropPolicy, Found, Next, Queue};
use crate::spans::Gap;
use crate::starts::Starts;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    /// The pause between two requests, except for what is hinted at.
    pub fetch_period: Duration,
    /// The most compressed bytes asked for at a time; fewer where the link is slow.
    pub request: u64,
    /// Requests under way together, as far as the link takes them.
    pub concurrency: usize,
    /// Bytes per second that filling may take.
    pub max_bandwidth: Option<u64>,
    /// See `Background::pause`.
    pub paused: bool,
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
            concurrency: 6,
            max_bandwidth: None,
            paused: false,
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
    /// Those that may have hints.
    layers: Mutex<Vec<Weak<Layer>>>,
    /// Requests for hints that are under way.
    following: AtomicUsize,
}

impl Background {
    /// Needs a tokio runtime around it.
    pub fn start(cache: &Arc<Cache>, options: BackgroundOptions) -> Background {
        let queue = Queue::new(options.queue, options.drop);
        cache.pacer.cap(options.max_bandwidth);
        cache.pacer.pause(options.paused);
        cache.pacer.silence(options.reader_silence);
        let shared = Arc::new(Shared {
            cache: Arc::clone(cache),
            options,
            queue,
            starts: Starts::new(cache),
            layers: Mutex::default(),
            following: AtomicUsize::new(0),
        });
        let mut workers = JoinSet::new();
        workers.spawn(Arc::clone(&shared).follow_hints());
        workers.spawn(Arc::clone(&shared.starts).follow());
        if shared.options.enabled {
            workers.spawn(Arc::clone(&shared).fill());
        }
        Background {
            shared,
            _workers: workers,
        }
    }

    /// Does not keep the layer alive.
    pub fn add(&self, layer: &Arc<Layer>) {
        let silent_until = Instant::now() + self.shared.options.silence_period;
        if let Some(dropped) = self.shared.queue.push(layer, silent_until) {
            self.shared.cache.metrics().background_dropped.add(1);
            tracing::debug!(target: "layer", layer = %dropped, "not filled in the background: queue is full");
        }
        self.shared.layers.lock().push(Arc::downgrade(layer));
        // A guess, where nothing better is known.
        let guess = self.shared.options.enabled && self.shared.cache.pacer.is_free();
        if guess && layer.can_be_filled() && !layer.is_foreseen() {
            layer.prefetch(0..self.shared.options.first_spans);
        }
        self.shared.cache.work.notify_waiters();
    }

    /// Nothing more is asked for in the background, until told otherwise. Hints and start-up profiles are followed all the same.
    pub fn pause(&self, paused: bool) {
        self.shared.cache.pacer.pause(paused);
    }

    /// What the readers of a layer, mounted or not, will want: ranges of its tar, and when (of all layers of one image from the
    /// same moment on), in that order. Brought at once, several requests at a time, before everything nobody waits for.
    pub fn prefetch_reads(
        &self,
        layer: &Arc<Layer>,
        reads: impl IntoIterator<Item = (Range<u64>, u32)>,
    ) {
        let reads: Vec<_> = reads.into_iter().collect();
        let last = reads.iter().map(|(_, at)| *at).max().unwrap_or_default();
        layer.foresee(Duration::from_millis(u64::from(last)).saturating_add(START_SLACK));
        self.shared.starts.add(layer, reads);
    }
}

/// How much longer than when it was learnt a start may take before its reads are no longer thought to be known.
const START_SLACK: Duration = Duration::from_secs(5);
/// Requests for hints that are under way together.
const HINTS_AT_ONCE: usize = 6;

impl Shared {
    /// What readers are on their way to comes at once; what lists name when no reader waits.
    async fn follow_hints(self: Arc<Self>) {
        let slots = Arc::new(Semaphore::new(HINTS_AT_ONCE));
        loop {
            // Registered before looking, so that no notice is missed.
            let mut notice = std::pin::pin!(self.cache.work.notified());
            notice.as_mut().enable();
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            if let Some((layer, spans)) = self.ahead() {
                self.follow(layer, spans, false, slot);
            } else if self.is_hinted() {
                tokio::select! {
                    biased;
                    () = self.cache.readers.quiet(Duration::ZERO) => {}
                    () = notice => continue,
                }
                if let Some((layer, spans)) = self.listed() {
                    self.follow(layer, spans, true, slot);
                }
            } else {
                drop(slot);
                notice.await;
            }
        }
    }

    fn follow(
        self: &Arc<Self>,
        layer: Arc<Layer>,
        spans: Range<u32>,
        listed: bool,
        slot: OwnedSemaphorePermit,
    ) {
        let limit = self.cache.pacer.request(&self.cache.link);
        let limit = limit.min(self.options.request);
        let Some(gap) = layer.next_gap(spans.clone(), limit) else {
            return;
        };
        if gap.spans.end < spans.end {
            let rest = gap.spans.end..spans.end;
            if listed {
                layer.hints.put_back(rest);
            } else {
                layer.hints.push_ahead(rest);
            }
        }
        self.following.fetch_add(1, Ordering::AcqRel);
        let before_the_background = self.cache.soon.enter();
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = layer.bring(gap.spans, None).await {
                this.cache.metrics().background_failures.add(1);
                tracing::debug!(target: "layer", layer = %layer.name(), %error, "what was hinted at is left to the readers");
            }
            drop((layer, slot, before_the_background));
            this.following.fetch_sub(1, Ordering::AcqRel);
            this.cache.work.notify_waiters();
        });
    }

    fn ahead(&self) -> Option<(Arc<Layer>, Range<u32>)> {
        self.first(|layer| layer.hints.take_ahead())
    }

    fn listed(&self) -> Option<(Arc<Layer>, Range<u32>)> {
        self.first(|layer| layer.hints.take_listed())
    }

    fn is_hinted(&self) -> bool {
        let hinted = |layer: &Arc<Layer>| (!layer.hints.is_empty()).then_some(());
        self.first(hinted).is_some()
    }

    fn first<T>(&self, take: impl Fn(&Arc<Layer>) -> Option<T>) -> Option<(Arc<Layer>, T)> {
        let mut layers = self.layers.lock();
        layers.retain(|layer| layer.strong_count() > 0);
        let alive: Vec<Arc<Layer>> = layers.iter().filter_map(Weak::upgrade).collect();
        drop(layers);
        alive
            .into_iter()
            .find_map(|layer| take(&layer).map(|taken| (layer, taken)))
    }

    async fn fill(self: Arc<Self>) {
        let slots = Arc::new(Semaphore::new(self.options.concurrency.max(1)));
        // The pause between two requests.
        let mut pause = None;
        loop {
            let mut notice = std::pin::pin!(self.cache.work.notified());
            notice.as_mut().enable();
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            self.starts.finished().await;
            self.cache.readers.quiet(self.options.reader_silence).await;
            if self.following.load(Ordering::Acquire) > 0 || self.is_hinted() {
                drop(slot);
                notice.await;
                continue;
            }
            let look = |layer: &Arc<Layer>, cursor| self.look(layer, cursor);
            match self.queue.next(Instant::now(), pause, look) {
                Next::Work((layer, gap)) => {
                    self.fly(layer, gap, slot);
                    pause = Some(Instant::now() + self.options.fetch_period);
                }
                Next::At(time) => {
                    drop(slot);
                    tokio::select! {
                        () = notice => {}
                        () = sleep_until(time) => {}
                    }
                }
                Next::Idle => {
                    drop(slot);
                    notice.await;
                }
            }
        }
    }

    fn look(&self, layer: &Arc<Layer>, cursor: u32) -> (Found, Option<(Arc<Layer>, Gap)>) {
        if !layer.can_be_filled() {
            return (Found::Unfit, None);
        }
        if !self.cache.has_room(self.options.request) {
            let later = Instant::now() + self.options.max_backoff;
            return (Found::Later(later), None);
        }
        let limit = self.cache.pacer.request(&self.cache.link);
        let limit = limit.min(self.options.request);
        match layer.next_gap(cursor..layer.spans(), limit) {
            None => (Found::Nothing, None),
            Some(gap) => (Found::Gap(gap.spans.end), Some((Arc::clone(layer), gap))),
        }
    }

    fn fly(self: &Arc<Self>, layer: Arc<Layer>, gap: Gap, slot: OwnedSemaphorePermit) {
        self.cache.metrics().background_gaps.add(1);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            match layer.fill(&gap).await {
                Ok(()) => this.queue.succeeded(&layer),
                Err(error) => {
                    this.cache.metrics().background_failures.add(1);
                    let wait = this.queue.failed(&layer, gap.spans.start, |failures| {
                        backoff(&this.options, failures)
                    });
                    tracing::debug!(
                        target: "layer",
                        layer = %layer.name(),
                        %error,
                        wait_ms = wait.as_millis(),
                        "background fill failed, tried again later"
                    );
                }
            }
            drop((layer, slot));
            this.cache.work.notify_waiters();
        });
    }
}

fn backoff(options: &BackgroundOptions, failures: u32) -> Duration {
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
    options
        .min_backoff
        .saturating_mul(doubled)
        .min(options.max_backoff)
}
