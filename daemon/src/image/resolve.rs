//! One flight per image and per layer, whoever asks: discovery, resolution, what is remembered of both.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt, Shared};
use oci_spec::image::Digest;
use parking_lot::Mutex;
use registry::Registry;
use tokio::sync::Semaphore;

use super::LayerRequest;
use super::artifact::{About, Artifact};
use super::contents::Contents;
use super::discovery::{self, Found, NoIndex, Ways};
use super::manifest::Manifest;
use super::open::{Opener, Origin, Served};
use super::ranges::Ranges;
use crate::containerd::Containerd;
use crate::profiles::Profiles;

/// How long a failure is remembered: long enough for the other layers of the same pull, short enough
/// that an index pushed meanwhile is found by the next one.
const FORGET_FAILURE: Duration = Duration::from_secs(10);
/// How long a success is kept for the layers that follow.
const FORGET_SUCCESS: Duration = Duration::from_secs(120);
/// Images, and layers, remembered at the same time.
const MAX_RECENT: usize = 4096;

/// Why containerd has to unpack a layer itself.
pub type Reason = Arc<str>;

type Flight<T> = Shared<BoxFuture<'static, Result<T, Reason>>>;

pub struct Options {
    pub ways: Ways,
    /// Layers smaller than this many bytes are pulled whole.
    pub min_layer_size: u64,
    /// Images whose layers are smaller than this together are left to containerd.
    pub min_image_size: u64,
    pub mount_timeout: Duration,
    /// Layers resolved at the same time.
    pub max_concurrency: usize,
    /// Fetch first the spans that the prefetch artifacts of an index name; start-up profiles in them count anyway.
    pub prefetch: bool,
}

/// The images whose layers are being asked for.
pub struct Images {
    registry: Registry,
    containerd: Option<Containerd>,
    opener: Arc<Opener>,
    profiles: Profiles,
    options: Options,
    images: Recent<ImageKey, Arc<Image>>,
    layers: Recent<(ImageKey, Digest), Served>,
    permits: Semaphore,
}

/// An image with an index.
struct Image {
    origin: Origin,
    found: Found,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ImageKey {
    repository: String,
    manifest: Digest,
    index: Option<Digest>,
}

impl Images {
    pub fn new(
        registry: Registry,
        containerd: Option<Containerd>,
        opener: Arc<Opener>,
        profiles: Profiles,
        options: Options,
    ) -> Self {
        let permits = Semaphore::new(options.max_concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            registry,
            containerd,
            opener,
            profiles,
            options,
            images: Recent::default(),
            layers: Recent::default(),
            permits,
        }
    }

    /// The layer of `request`, ready to be mounted.
    pub async fn resolve(self: &Arc<Self>, request: &LayerRequest) -> Result<Served, Reason> {
        let key = ImageKey {
            repository: format!(
                "{}/{}",
                request.image.registry(),
                request.image.repository()
            ),
            manifest: request.manifest.clone(),
            index: request.index.clone(),
        };
        let image = self
            .images
            .join(key.clone(), || {
                let (this, request) = (Arc::clone(self), request.clone());
                async move { this.discover(request).await }.boxed()
            })
            .await?;
        tokio::spawn(Arc::clone(self).start_above(
            key.clone(),
            Arc::clone(&image),
            request.clone(),
        ));
        self.layer(&key, &image, request.layer.clone(), request.size)
            .await
    }

    /// The layers above will be asked for one after the other; their round trips pass beside this one's.
    async fn start_above(self: Arc<Self>, key: ImageKey, image: Arc<Image>, request: LayerRequest) {
        let above = match image.origin.manifest.above(&request.layer).await {
            Ok(above) => above,
            // The label is cut off where there are many.
            Err(_) => request.above.into_iter().map(|layer| (layer, 0)).collect(),
        };
        for (layer, size) in above {
            let size = Some(size).filter(|size| *size > 0);
            tokio::spawn(self.layer(&key, &image, layer, size));
        }
    }

    /// Forgets what was remembered for a layer now mounted: the mount keeps it open from here on.
    pub fn mounted(&self, request: &LayerRequest) {
        self.layers
            .forget(|(image, layer)| image.manifest == request.manifest && *layer == request.layer);
    }

    fn layer(
        self: &Arc<Self>,
        key: &ImageKey,
        image: &Arc<Image>,
        layer: Digest,
        size: Option<u64>,
    ) -> Flight<Served> {
        self.layers.join((key.clone(), layer.clone()), || {
            let (this, image) = (Arc::clone(self), Arc::clone(image));
            async move {
                let permit = this.permits.acquire().await;
                let _permit = permit.map_err(|_| Reason::from("the daemon is shutting down"))?;
                this.serve(&image, layer, size).await
            }
            .boxed()
        })
    }

    /// Says once per image which way it goes, and why.
    async fn discover(&self, request: LayerRequest) -> Result<Arc<Image>, Reason> {
        let image = request.image.whole();
        let repository = self.registry.repository(&request.image);
        let contents = Contents {
            repository: repository.clone(),
            containerd: self.containerd.clone(),
            namespace: request.namespace.clone(),
        };
        let manifest = Arc::new(Manifest::new(contents.clone(), request.manifest.clone()));
        let ranges = Ranges::new(repository, Arc::clone(&manifest));
        let ways = self.options.ways;
        let find = discovery::find(&contents, &manifest, &ranges, &request, ways);
        // The manifest is here before an index that it names.
        let found = tokio::select! {
            biased;
            found = find => match found {
                Ok(found) => self.too_small(&manifest).await.map_or(Ok(found), Err),
                Err(none) => Err(none),
            },
            Some(none) = self.too_small(&manifest) => Err(none),
        };
        match found {
            Ok(found) => {
                tracing::info!(
                    image,
                    manifest = %request.manifest,
                    index = %found.digest,
                    way = %found.way,
                    "image has a SOCI index: its layers are loaded lazily",
                );
                Ok(Arc::new(Image {
                    origin: Origin {
                        image,
                        contents,
                        manifest,
                        ranges,
                    },
                    found,
                }))
            }
            Err(NoIndex { reason, broken }) => {
                let way = "its layers are left to containerd";
                if broken {
                    tracing::warn!(image, manifest = %request.manifest, reason, "image has no usable SOCI index: {way}");
                } else {
                    tracing::info!(image, manifest = %request.manifest, reason, "image is not loaded lazily: {way}");
                }
                Err(format!("the image is not loaded lazily: {reason}").into())
            }
        }
    }

    /// Index and zTOCs take two round trips more than the layers themselves, which pays only where those take longer.
    async fn too_small(&self, manifest: &Manifest) -> Option<NoIndex> {
        let least = self.options.min_image_size;
        let size = manifest.size().await.ok().filter(|size| *size < least)?;
        let reason = format!(
            "its layers have {size} bytes together, fewer than snapshotter.min_image_size = {least}"
        );
        Some(NoIndex {
            reason,
            broken: false,
        })
    }

    async fn serve(
        &self,
        image: &Image,
        layer: Digest,
        size: Option<u64>,
    ) -> Result<Served, Reason> {
        let index = &image.found.index;
        let reason = match index.ztoc(&layer) {
            None => "the index has no zTOC for it".to_owned(),
            Some(_) if size.is_some_and(|size| size < self.options.min_layer_size) => {
                "it is smaller than snapshotter.min_layer_size".to_owned()
            }
            Some(descriptor) => {
                let artifact = self.artifact(image, &layer);
                let lazily = self.opener.lazily(&image.origin, descriptor, size);
                let reason = match tokio::time::timeout(self.options.mount_timeout, lazily).await {
                    Ok(Ok((served, spans))) => {
                        let Origin {
                            image, manifest, ..
                        } = &image.origin;
                        self.profiles
                            .opened(image, &manifest.digest, &layer, &served.layer);
                        if let Some(((artifact, about), spans)) = artifact.zip(spans) {
                            let layer = Arc::clone(&served.layer);
                            artifact.apply(about, self.profiles.clone(), layer, spans);
                        }
                        return Ok(served);
                    }
                    Ok(Err(reason)) => reason,
                    Err(_) => format!(
                        "it could not be resolved within mount_timeout_sec = {}",
                        self.options.mount_timeout.as_secs()
                    ),
                };
                // The other reasons are how the index was made; this one is for somebody to look at.
                tracing::warn!(image = image.origin.image, %layer, reason, "layer cannot be loaded lazily");
                reason
            }
        };
        match self
            .opener
            .pulled(&image.origin, &layer, reason.clone())
            .await
        {
            Ok(served) => Ok(served),
            Err(error) => {
                Err(format!("not loaded lazily: {reason}; not pulled whole either: {error}").into())
            }
        }
    }
}

impl Images {
    /// What the index wants to be fetched first, beside the zTOC.
    fn artifact(&self, image: &Image, layer: &Digest) -> Option<(Artifact, About)> {
        let found = image.found.index.prefetch(layer);
        let descriptor = found.filter(|_| self.options.prefetch || self.profiles.are_used())?;
        let about = About {
            image: image.origin.image.clone(),
            manifest: image.origin.manifest.digest.clone(),
            layer: layer.clone(),
        };
        let (contents, profiles) = (image.origin.contents.clone(), self.profiles.clone());
        let digest = descriptor.digest().clone();
        let mut artifact = Artifact::fetch(contents, profiles, &about, digest);
        artifact.spans = self.options.prefetch;
        Some((artifact, about))
    }
}

struct Remembered<T: Clone> {
    flight: Flight<T>,
    since: Instant,
}

impl<T: Clone> Remembered<T> {
    fn is_fresh(&self) -> bool {
        let limit = match self.flight.peek() {
            None => return true,
            Some(Ok(_)) => FORGET_SUCCESS,
            Some(Err(_)) => FORGET_FAILURE,
        };
        self.since.elapsed() < limit
    }
}

/// Work under way or just done, by key.
struct Recent<K, T: Clone>(Mutex<HashMap<K, Remembered<T>>>);

impl<K, T: Clone> Default for Recent<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Clone> Recent<K, T> {
    /// Joins the flight of `key`, or starts one.
    fn join(
        &self,
        key: K,
        start: impl FnOnce() -> BoxFuture<'static, Result<T, Reason>>,
    ) -> Flight<T> {
        let mut recent = self.0.lock();
        recent.retain(|_, known| known.is_fresh());
        if let Some(known) = recent.get(&key) {
            return known.flight.clone();
        }
        let flight = start().shared();
        // Past the bound work is done for each asker by itself, which is slower and still right.
        if recent.len() < MAX_RECENT {
            recent.insert(
                key,
                Remembered {
                    flight: flight.clone(),
                    since: Instant::now(),
                },
            );
        }
        flight
    }

    fn forget(&self, matches: impl Fn(&K) -> bool) {
        self.0
            .lock()
            .retain(|key, known| known.flight.peek().is_none() || !matches(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn ask(recent: &Recent<u8, usize>, count: &Arc<AtomicUsize>) -> Result<usize, Reason> {
        let count = Arc::clone(count);
        recent
            .join(1, || {
                async move {
                    tokio::task::yield_now().await;
                    Ok(count.fetch_add(1, Ordering::Relaxed))
                }
                .boxed()
            })
            .await
    }

    #[tokio::test]
    async fn layers_of_one_pull_ask_for_their_index_once() {
        let (recent, count) = (Recent::default(), Arc::default());
        let answers = futures_util::future::join_all((0..32).map(|_| ask(&recent, &count))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(0)));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_layer_that_is_mounted_is_not_kept_open_by_what_is_remembered() {
        let (recent, count) = (Recent::default(), Arc::default());
        assert_eq!(ask(&recent, &count).await, Ok(0));
        recent.forget(|key| *key == 1);
        assert_eq!(ask(&recent, &count).await, Ok(1));
    }
}
