//! What images read when they start: noted at their starts, kept on disk, fetched first the next time.

mod known;
mod merge;
mod start;
mod store;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use layer::{Background, Layer};
use oci_spec::image::Digest;
use parking_lot::Mutex;
use soci::profile::{FirstRead, LayerProfile};

use self::known::Known;
use self::merge::merged;
use self::start::Start;
use self::store::Store;

/// How often running starts are looked at.
const POLL: Duration = Duration::from_millis(500);
/// Starts noted at the same time; those beyond teach nothing.
const MAX_STARTS: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Note what starts read.
    pub record: bool,
    /// Fetch first what earlier starts read.
    pub apply: bool,
    /// Images whose profiles are kept.
    pub max_images: usize,
}

/// The profiles of this machine. Has to be used in a tokio runtime.
#[derive(Clone)]
pub struct Profiles(Arc<Inner>);

struct Inner {
    options: Options,
    background: Arc<Background>,
    store: Arc<Store>,
    known: Known,
    /// By manifest: one start of an image at a time.
    running: Mutex<HashMap<Digest, Running>>,
}

struct Running {
    start: Start,
    /// Not kept open: a layer may be unmounted before the start is over.
    layers: Vec<(Digest, Weak<Layer>)>,
    /// Nothing had been read of the layers before, so what this start does not ask for it does not need.
    fresh: bool,
}

impl Profiles {
    /// Makes `dir` if need be.
    pub fn open(dir: PathBuf, background: Arc<Background>, options: Options) -> io::Result<Self> {
        let store = Arc::new(Store::open(dir, options.max_images)?);
        Ok(Self(Arc::new(Inner {
            options,
            background,
            known: Known::new(Arc::clone(&store)),
            store,
            running: Mutex::default(),
        })))
    }

    /// Whether profiles are fetched first.
    pub fn are_used(&self) -> bool {
        self.0.options.apply
    }

    /// A layer of an image is open, mounted or not: what earlier starts read of it is fetched first. Does not wait.
    pub fn opened(&self, image: &str, manifest: &Digest, layer: &Digest, opened: &Arc<Layer>) {
        if !self.0.options.apply {
            return;
        }
        let (this, image) = (self.clone(), image.to_owned());
        let (manifest, layer, opened) = (manifest.clone(), layer.clone(), Arc::clone(opened));
        tokio::spawn(async move {
            let Some(found) = this.0.known.local(&manifest).await else {
                return;
            };
            if found.is_new() {
                let (ranges, bytes) = size(&found.profile);
                let runs = found.profile.runs();
                tracing::info!(target: "daemon", image, %manifest, ranges, bytes, runs, "image has a start-up profile: that is fetched first");
            }
            // Nothing read is known as well: nothing else needs to be tried.
            let reads = found.profile.layer(&layer).map(LayerProfile::reads);
            this.fetch(&opened, reads.unwrap_or_default());
        });
    }

    /// Whether anything is known of a layer of an image, so that nobody has to ask the registry.
    pub async fn knows(&self, manifest: &Digest, layer: &Digest) -> bool {
        let found = self.0.known.local(manifest).await;
        found.is_some_and(|found| found.profile.layer(layer).is_some())
    }

    /// What the index of an image says about a layer. Counts where nothing has been learnt here.
    pub async fn shipped(
        &self,
        manifest: &Digest,
        layer: &Digest,
        reads: LayerProfile,
        opened: &Arc<Layer>,
    ) {
        if !self.0.options.apply || self.knows(manifest, layer).await {
            return;
        }
        self.fetch(opened, reads.reads());
        self.0.known.ship(manifest, layer, reads);
    }

    /// A container of an image is about to run on these mounted layers. Does not wait.
    ///
    /// A layer may belong to several images; what is read of it counts for the one whose container was made last,
    /// and for all that are starting at the same time.
    pub fn starting(&self, manifest: &Digest, layers: Vec<(Digest, Arc<Layer>)>) {
        if self.0.options.apply {
            self.fetch_again(manifest, &layers);
        }
        if !self.0.options.record || layers.is_empty() {
            return;
        }
        let mut running = self.0.running.lock();
        let same = |old: &Running| layers.iter().all(|(_, layer)| old.has(layer));
        let replaced = match running.get(manifest) {
            Some(old) if same(old) => return,
            // The image was removed and pulled again meanwhile: its layers are other mounts now.
            Some(_) => running.remove(manifest),
            None if running.len() >= MAX_STARTS => return,
            None => None,
        };
        if let Some(old) = replaced {
            let (this, manifest) = (self.clone(), manifest.clone());
            tokio::task::spawn_blocking(move || this.finish(&manifest, &old));
        }
        let recorded = |layer: &Arc<Layer>| running.values().any(|running| running.has(layer));
        let mut fresh = true;
        for (_, layer) in &layers {
            fresh &= layer.first_reads().is_empty();
            if !recorded(layer) {
                layer.record();
            }
        }
        let weak = |(digest, layer): (Digest, Arc<Layer>)| (digest, Arc::downgrade(&layer));
        let begun = Running {
            start: Start::new(Instant::now()),
            layers: layers.into_iter().map(weak).collect(),
            fresh,
        };
        running.insert(manifest.clone(), begun);
        drop(running);
        let (this, manifest) = (self.clone(), manifest.clone());
        tokio::spawn(async move { this.follow(manifest).await });
    }

    /// What the cache has lost since the image was pulled; the rest costs nothing.
    fn fetch_again(&self, manifest: &Digest, layers: &[(Digest, Arc<Layer>)]) {
        let (this, manifest, layers) = (self.clone(), manifest.clone(), layers.to_vec());
        tokio::spawn(async move {
            let Some(found) = this.0.known.local(&manifest).await else {
                return;
            };
            for (digest, layer) in &layers {
                if let Some(reads) = found.profile.layer(digest) {
                    this.fetch(layer, reads.reads());
                }
            }
        });
    }

    fn fetch(&self, layer: &Arc<Layer>, reads: &[FirstRead]) {
        let reads = reads.iter().map(|read| (read.tar.clone(), read.at_ms));
        self.0.background.prefetch_reads(layer, reads);
    }

    async fn follow(&self, manifest: Digest) {
        let ended = loop {
            tokio::time::sleep(POLL).await;
            let mut running = self.0.running.lock();
            // Taken by `shut_down`.
            let Some(start) = running.get_mut(&manifest) else {
                return;
            };
            start.note();
            if start.start.is_over(Instant::now()) {
                break running.remove(&manifest);
            }
        };
        let Some(ended) = ended else { return };
        let this = self.clone();
        let saved = tokio::task::spawn_blocking(move || this.finish(&manifest, &ended));
        // It logs what goes wrong itself.
        let _ = saved.await;
    }

    /// A layer is about to be unmounted: what was read of it is noted while it is there.
    pub fn closing(&self, layer: &Arc<Layer>) {
        let mut running = self.0.running.lock();
        let of_it = running.values_mut().filter(|running| running.has(layer));
        of_it.for_each(Running::note);
    }

    /// Writes down what running starts have read so far, as the process is about to end. Blocks.
    pub fn shut_down(&self) {
        let running = std::mem::take(&mut *self.0.running.lock());
        for (manifest, mut running) in running {
            running.note();
            self.finish(&manifest, &running);
        }
    }

    /// Blocks.
    fn finish(&self, manifest: &Digest, ended: &Running) {
        self.stop_recording(ended);
        let Some(start) = ended.start.profile() else {
            tracing::debug!(target: "daemon", %manifest, "a start has read nothing new");
            return;
        };
        let stored = self.0.store.load(manifest);
        let shipped = self.0.known.shipped(manifest);
        let profile = merged(stored, &shipped, &start, ended.fresh);
        if let Err(error) = self.0.store.save(manifest, &profile) {
            tracing::warn!(target: "daemon", %manifest, error, "start-up profile is not written");
            return;
        }
        self.0.known.forget(manifest);
        let ((ranges, bytes), runs) = (size(&profile), profile.runs());
        let (fresh, noted) = (ended.fresh, size(&start).1);
        tracing::info!(target: "daemon", %manifest, noted, fresh, ranges, bytes, runs, "noted what a start reads");
    }

    fn stop_recording(&self, ended: &Running) {
        let running = self.0.running.lock();
        for layer in ended.layers.iter().filter_map(|(_, layer)| layer.upgrade()) {
            if !running.values().any(|running| running.has(&layer)) {
                layer.stop_recording();
            }
        }
    }
}

impl Running {
    fn has(&self, layer: &Arc<Layer>) -> bool {
        let is_it = |(_, weak): &(Digest, Weak<Layer>)| weak.as_ptr() == Arc::as_ptr(layer);
        self.layers.iter().any(is_it)
    }

    fn note(&mut self) {
        for (digest, layer) in &self.layers {
            if let Some(layer) = layer.upgrade() {
                self.start.note(digest, layer.first_reads());
                if layer.is_waited_for() {
                    self.start.waiting(Instant::now());
                }
            }
        }
    }
}

/// Ranges, and bytes of the tars.
fn size(profile: &soci::profile::Profile) -> (usize, u64) {
    let add = |(ranges, bytes): (usize, u64), layer: &LayerProfile| {
        (
            ranges.saturating_add(layer.reads().len()),
            bytes.saturating_add(layer.bytes()),
        )
    };
    profile.layers().map(|(_, layer)| layer).fold((0, 0), add)
}
