//! Live layer mounts: added by Prepare, removed by Cleanup, mounted again after a restart.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuse::Mount;
use futures_util::future::{BoxFuture, FutureExt};
use layer::{Background, Cache, Layer};
use parking_lot::Mutex;
use registry::Registry;

use crate::content::Content;
use crate::image::{self, Images, LayerRequest, Opener, Record, Served};
use crate::layers::{Layers, Outcome, SnapshotId, Unavailable, Usage};
use crate::profiles::Profiles;
use crate::records::Records;

/// What mounting needs, assembled once at start.
pub struct Parts {
    pub registry: Registry,
    pub images: Arc<Images>,
    pub opener: Arc<Opener>,
    pub content: Arc<Content>,
    pub cache: Arc<Cache>,
    pub background: Arc<Background>,
    pub profiles: Profiles,
    pub records: Records,
    pub fuse: fuse::Options,
    pub runtime: tokio::runtime::Handle,
}

/// The layers this process serves.
pub struct Mounts(Arc<Inner>);

struct Inner {
    parts: Parts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: HashMap<SnapshotId, Live>,
    /// Of every layer that is or was mounted and not removed, so a superset of `live`.
    recorded: HashMap<SnapshotId, Record>,
}

struct Live {
    mount: Mount,
    layer: Arc<Layer>,
}

impl Mounts {
    /// Mounts nothing yet: see `restore`.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let recorded = parts.records.load()?;
        let state = Mutex::new(State {
            live: HashMap::new(),
            recorded,
        });
        Ok(Self(Arc::new(Inner { parts, state })))
    }

    /// Unmounts everything, as the process is about to end. The records stay for the next one. Blocks.
    pub fn shut_down(&self) {
        self.0.parts.profiles.shut_down();
        let live = std::mem::take(&mut self.0.state.lock().live);
        for (id, Live { mount, .. }) in live {
            if let Err(error) = mount.unmount() {
                tracing::warn!(snapshot = %id, %error, "layer could not be unmounted");
            }
        }
    }
}

impl Inner {
    async fn prepare(
        self: &Arc<Self>,
        id: SnapshotId,
        fs: PathBuf,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Served, String> {
        let request = LayerRequest::parse(namespace, labels).map_err(|error| error.to_string())?;
        let served = self
            .parts
            .images
            .resolve(&request)
            .await
            .map_err(|reason| reason.to_string())?;
        let abandoned = Abandoned::watch(self, id, &fs);
        let mounted = self
            .mount_soon(id, fs, served.clone(), abandoned.flag())
            .await;
        abandoned.disarm();
        mounted.map_err(|error| format!("the layer cannot be mounted: {error}"))?;
        self.parts.images.mounted(&request);
        Ok(served)
    }

    async fn mount_soon(
        self: &Arc<Self>,
        id: SnapshotId,
        fs: PathBuf,
        served: Served,
        abandoned: Arc<AtomicBool>,
    ) -> Result<(), String> {
        let this = Arc::clone(self);
        let work = move || {
            let mounted = this.mount(id, &fs, served.layer, served.record);
            if mounted.is_err() || abandoned.load(Ordering::Acquire) {
                this.remove(id, &fs);
            }
            mounted
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| "the daemon is shutting down".to_owned())?
    }

    /// Written down before it is mounted: a mount nobody knows of would outlive a crash. Blocks.
    fn mount(
        &self,
        id: SnapshotId,
        fs: &Path,
        layer: Arc<Layer>,
        record: Record,
    ) -> Result<(), String> {
        self.parts
            .records
            .write(id, &record)
            .map_err(|error| error.to_string())?;
        self.state.lock().recorded.insert(id, record);
        let mount = Mount::new(
            Arc::clone(&layer),
            fs,
            &self.parts.fuse,
            self.parts.runtime.clone(),
        )
        .map_err(|error| error.to_string())?;
        self.parts.background.add(&layer);
        self.state.lock().live.insert(id, Live { mount, layer });
        Ok(())
    }

    /// Blocks.
    fn remove(&self, id: SnapshotId, fs: &Path) {
        let (live, record) = {
            let mut state = self.state.lock();
            (state.live.remove(&id), state.recorded.remove(&id))
        };
        let unmounted = match live {
            Some(Live { mount, layer }) => {
                self.parts.profiles.closing(&layer);
                mount.unmount().map_err(|error| error.to_string())
            }
            None => detach_all(fs).map_err(|error| error.to_string()),
        };
        if let Err(error) = unmounted {
            tracing::warn!(snapshot = %id, error, "layer could not be unmounted");
        }
        let Some(record) = record else { return };
        if let Err(error) = self.parts.records.remove(id) {
            tracing::warn!(snapshot = %id, %error, "record of a removed layer stays behind");
        }
        self.release(&record);
    }

    /// Frees what only the removed layer used. Blocks.
    fn release(&self, removed: &Record) {
        let used: Vec<Record> = self.state.lock().recorded.values().cloned().collect();
        let freed = match &removed.ztoc {
            None if used
                .iter()
                .any(|record| record.ztoc.is_none() && record.layer == removed.layer) =>
            {
                Ok(())
            }
            None => self
                .parts
                .cache
                .remove_local(&removed.layer)
                .map_err(|error| error.to_string()),
            Some(_) => {
                let used: HashSet<_> = used.into_iter().filter_map(|record| record.ztoc).collect();
                self.parts
                    .content
                    .sweep(&used)
                    .map_err(|error| error.to_string())
            }
        };
        if let Err(error) = freed {
            tracing::warn!(layer = %removed.layer, error, "space of a removed layer is not freed yet");
        }
    }

    async fn restore(self: &Arc<Self>, id: SnapshotId, fs: PathBuf) -> Result<(), Unavailable> {
        let record = {
            let state = self.state.lock();
            if state.live.contains_key(&id) {
                return Ok(());
            }
            state.recorded.get(&id).cloned()
        };
        let Some(record) = record else {
            return Err(Unavailable(format!(
                "nothing is written down about the layer of snapshot {id}; remove the image and pull it again"
            )));
        };
        let failed = |error: String| {
            Unavailable(format!(
                "layer {} of {} cannot be mounted again: {error}",
                record.layer, record.image
            ))
        };
        let layer = self
            .parts
            .opener
            .again(&self.parts.registry, &record)
            .await
            .map_err(failed)?;
        let (this, record) = (Arc::clone(self), record.clone());
        tokio::task::spawn_blocking(move || {
            // What an earlier process mounted here died with it.
            detach_all(&fs).map_err(|error| error.to_string())?;
            this.mount(id, &fs, layer, record)
        })
        .await
        .map_err(|_| failed("the daemon is shutting down".into()))?
        .map_err(failed)
    }
}

/// Detaches whatever is mounted at `target`, however often.
fn detach_all(target: &Path) -> io::Result<()> {
    const DEEPEST: usize = 16;
    for _ in 0..DEEPEST {
        match fuse::detach(target) {
            Ok(()) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc_einval) if libc_einval == nix::libc::EINVAL) =>
            {
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Undoes a mount whose Prepare was given up while it was being made.
struct Abandoned {
    flag: Arc<AtomicBool>,
    inner: Arc<Inner>,
    id: SnapshotId,
    fs: PathBuf,
    armed: bool,
}

impl Abandoned {
    fn watch(inner: &Arc<Inner>, id: SnapshotId, fs: &Path) -> Self {
        Self {
            flag: Arc::default(),
            inner: Arc::clone(inner),
            id,
            fs: fs.to_owned(),
            armed: true,
        }
    }

    fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Abandoned {
    /// The mounting thread looks at the flag after it has mounted, and this removes after setting it:
    /// whichever comes last finds the mount.
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.flag.store(true, Ordering::Release);
        let (inner, id, fs) = (Arc::clone(&self.inner), self.id, self.fs.clone());
        self.inner
            .parts
            .runtime
            .spawn_blocking(move || inner.remove(id, &fs));
    }
}

impl Layers for Mounts {
    fn prepare<'a>(
        &'a self,
        id: SnapshotId,
        fs: PathBuf,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Outcome> {
        async move {
            match self.0.prepare(id, fs, namespace, labels).await {
                Ok(served) => match served.pulled_because {
                    None => Outcome::Remote,
                    Some(reason) => Outcome::Local { reason },
                },
                Err(reason) => Outcome::Deferred { reason },
            }
        }
        .boxed()
    }

    fn remove(&self, id: SnapshotId, fs: &Path) {
        self.0.remove(id, fs);
    }

    fn usage(&self, id: SnapshotId) -> Option<Usage> {
        let layer = self
            .0
            .state
            .lock()
            .live
            .get(&id)
            .map(|live| Arc::clone(&live.layer))?;
        // One sparse file, however many files the layer shows.
        Some(Usage {
            inodes: 1,
            bytes: layer.progress().resident,
        })
    }

    fn restore<'a>(
        &'a self,
        id: SnapshotId,
        fs: PathBuf,
        _labels: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        async move { self.0.restore(id, fs).await }.boxed()
    }

    fn starting(&self, image: &BTreeMap<String, String>, layers: &[SnapshotId]) {
        // An image that is none of ours, or something built on top of one.
        let Some(manifest) = image::manifest(image) else {
            return;
        };
        let layers = {
            let state = self.0.state.lock();
            let layer = |id: &SnapshotId| {
                let record = state.recorded.get(id)?;
                let live = state.live.get(id)?;
                Some((record.layer.clone(), Arc::clone(&live.layer)))
            };
            layers.iter().filter_map(layer).collect()
        };
        self.0.parts.profiles.starting(&manifest, layers);
    }
}
