//! One layer made readable: lazily through its zTOC, or pulled whole where that cannot be.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use layer::{Cache, Layer, LayerId};
use oci_spec::distribution::Reference;
use oci_spec::image::{Digest, ImageConfiguration};
use parking_lot::Mutex;
use registry::{Blob, Registry, Repository};
use serde::{Deserialize, Serialize};
use soci::index::{SociIndex, ZtocDescriptor};
use soci::spans::SpanTable;
use soci::ztoc::{Limits, Ztoc};

use super::discovery;
use super::pull::{self, Expected};
use crate::content::{Content, Stored};

/// An image configuration larger than this is not one.
const MAX_CONFIG: u64 = 4 << 20;
/// A prefetch artifact larger than this is not one.
const MAX_PREFETCH: u64 = 1 << 20;

/// What is written down of a mounted layer, so that it can be mounted again without the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Image reference.
    pub image: String,
    pub layer: Digest,
    /// `None` for a layer that was pulled whole.
    pub ztoc: Option<Digest>,
}

/// A layer ready to be mounted.
#[derive(Clone)]
pub struct Served {
    pub layer: Arc<Layer>,
    pub record: Record,
    /// Why it was pulled whole, if it was.
    pub pulled_because: Option<String>,
}

/// A zTOC and the file it lies in.
type Parsed = Stored<Result<Ztoc, soci::Error>>;

/// Where a layer comes from.
#[derive(Clone)]
pub(super) struct Origin {
    pub image: String,
    pub manifest: Digest,
    pub repository: Repository,
}

/// By the digests of layer and zTOC.
type OpenLayers = HashMap<(Digest, Option<Digest>), Weak<Layer>>;

/// Opens layers; one that is open already is shared.
pub struct Opener {
    content: Arc<Content>,
    cache: Arc<Cache>,
    limits: Limits,
    options: layer::Options,
    prefetch: bool,
    open: Mutex<OpenLayers>,
}

impl Opener {
    /// `prefetch`: fetch first what the prefetch artifacts of an index name.
    pub fn new(
        content: Arc<Content>,
        cache: Arc<Cache>,
        limits: Limits,
        options: layer::Options,
        prefetch: bool,
    ) -> Self {
        Self {
            content,
            cache,
            limits,
            options,
            prefetch,
            open: Mutex::default(),
        }
    }

    /// Round trips: the zTOC unless it is here, and one that fetches the gzip header and so tells
    /// whether the host serves ranges of a blob of this size.
    pub(super) async fn lazily(
        &self,
        origin: &Origin,
        index: &SociIndex,
        descriptor: &ZtocDescriptor,
        size: Option<u64>,
    ) -> Result<Served, String> {
        let record = Record {
            image: origin.image.clone(),
            layer: descriptor.layer.clone(),
            ztoc: Some(descriptor.digest.clone()),
        };
        if let Some(layer) = self.shared(&record) {
            return Ok(Served {
                layer,
                record,
                pulled_because: None,
            });
        }
        let unusable = |error| format!("its zTOC {} is not usable: {error}", descriptor.digest);
        let stored = self.ztoc(&origin.repository, descriptor).await?;
        let ztoc = stored.made.map_err(|error| unusable(error.to_string()))?;
        let described = ztoc.spans.compressed_size();
        if let Some(size) = size.filter(|&size| size != described) {
            return Err(unusable(format!(
                "it describes a blob of {described} bytes, the layer has {size}"
            )));
        }
        let blob = origin.repository.ranged(&descriptor.layer, described);
        probe(&blob, &ztoc.spans).await?;
        let spans = ztoc.spans.len();
        let layer = self
            .lazy_layer(&record, ztoc, stored.file, blob)
            .await
            .map_err(unusable)?;
        if let Some(artifact) = index.prefetch(&descriptor.layer).filter(|_| self.prefetch) {
            let (origin, artifact, layer) = (
                origin.clone(),
                artifact.digest().clone(),
                Arc::clone(&layer),
            );
            // Beside the mount, which never waits for it.
            tokio::spawn(async move { prefetch(&origin, &artifact, &layer, spans).await });
        }
        Ok(Served {
            layer,
            record,
            pulled_because: None,
        })
    }

    /// The whole layer. Its place in the image configuration says which tar it has to be.
    pub(super) async fn pulled(
        &self,
        origin: &Origin,
        layer: &Digest,
        reason: String,
    ) -> Result<Served, String> {
        let record = Record {
            image: origin.image.clone(),
            layer: layer.clone(),
            ztoc: None,
        };
        let opened = match self.shared(&record) {
            Some(layer) => layer,
            None => match self.local_layer(&record).await? {
                Some(layer) => layer,
                None => {
                    let expected = expected(origin, layer).await?;
                    let toc = pull::pull(&origin.repository, expected, &self.cache, &self.limits)
                        .await
                        .map_err(|error| error.to_string())?;
                    self.open_local(&record, toc)?
                }
            },
        };
        Ok(Served {
            layer: opened,
            record,
            pulled_because: Some(reason),
        })
    }

    /// A layer of an earlier process, from what is on this machine.
    pub async fn again(&self, registry: &Registry, record: &Record) -> Result<Arc<Layer>, String> {
        if let Some(layer) = self.shared(record) {
            return Ok(layer);
        }
        let Some(digest) = &record.ztoc else {
            return self.local_layer(record).await?.ok_or_else(|| {
                "its bytes are gone from the cache; remove the image and pull it again".to_owned()
            });
        };
        let reference: Reference = record
            .image
            .parse()
            .map_err(|_| format!("{:?} is no image reference", record.image))?;
        let stored = self.stored(digest).await?.ok_or_else(|| {
            format!("its zTOC {digest} is gone; remove the image and pull it again")
        })?;
        let ztoc = stored.made.map_err(|error| error.to_string())?;
        let blob = registry
            .repository(&reference)
            .ranged(&record.layer, ztoc.spans.compressed_size());
        self.lazy_layer(record, ztoc, stored.file, blob).await
    }

    fn shared(&self, record: &Record) -> Option<Arc<Layer>> {
        let key = (record.layer.clone(), record.ztoc.clone());
        self.open.lock().get(&key).and_then(Weak::upgrade)
    }

    /// Two openings of one layer may race; the first to arrive here is the one that is kept.
    fn share(&self, record: &Record, layer: Arc<Layer>) -> Arc<Layer> {
        let mut open = self.open.lock();
        open.retain(|_, layer| layer.strong_count() > 0);
        let slot = open
            .entry((record.layer.clone(), record.ztoc.clone()))
            .or_default();
        match slot.upgrade() {
            Some(first) => first,
            None => {
                *slot = Arc::downgrade(&layer);
                layer
            }
        }
    }

    async fn stored(&self, digest: &Digest) -> Result<Option<Parsed>, String> {
        let (content, digest, limits) = (
            Arc::clone(&self.content),
            digest.clone(),
            self.limits.clone(),
        );
        blocking(move || content.get(&digest, limits.blob, |blob| Ztoc::parse(blob, &limits)))
            .await?
            .map_err(|error| format!("a stored zTOC cannot be read: {error}"))
    }

    async fn ztoc(
        &self,
        repository: &Repository,
        descriptor: &ZtocDescriptor,
    ) -> Result<Parsed, String> {
        let digest = descriptor.digest.clone();
        if let Some(stored) = self.stored(&digest).await? {
            return Ok(stored);
        }
        let limits = self.limits.clone();
        if descriptor.size > limits.blob {
            return Err(format!(
                "its zTOC {digest} has {} bytes, more than {}",
                descriptor.size, limits.blob
            ));
        }
        let bytes = repository
            .blob(&digest, descriptor.size)
            .await
            .map_err(|error| format!("its zTOC {digest} cannot be had: {error}"))?;
        let content = Arc::clone(&self.content);
        blocking(move || content.put_and(&digest, &bytes, |blob| Ztoc::parse(blob, &limits)))
            .await?
            .map_err(|error| format!("its zTOC cannot be stored: {error}"))
    }

    async fn lazy_layer(
        &self,
        record: &Record,
        ztoc: Ztoc,
        windows: std::fs::File,
        blob: Blob,
    ) -> Result<Arc<Layer>, String> {
        let (cache, id, options) = (
            Arc::clone(&self.cache),
            layer_id(record),
            self.options.clone(),
        );
        let layer = blocking(move || {
            Layer::open(
                &cache,
                id,
                ztoc.toc,
                ztoc.spans,
                windows,
                Arc::new(blob),
                &options,
            )
        })
        .await?
        .map_err(|error| error.to_string())?;
        Ok(self.share(record, layer))
    }

    async fn local_layer(&self, record: &Record) -> Result<Option<Arc<Layer>>, String> {
        let (cache, digest, limits) = (
            Arc::clone(&self.cache),
            record.layer.clone(),
            self.limits.clone(),
        );
        let toc = blocking(move || cache.scan_local(&digest, &limits))
            .await?
            .map_err(|error| error.to_string())?;
        toc.map(|toc| self.open_local(record, toc)).transpose()
    }

    fn open_local(&self, record: &Record, toc: soci::toc::Toc) -> Result<Arc<Layer>, String> {
        let layer = Layer::open_local(&self.cache, layer_id(record), toc, &self.options)
            .map_err(|error| error.to_string())?;
        Ok(self.share(record, layer))
    }
}

fn layer_id(record: &Record) -> LayerId {
    LayerId {
        layer: record.layer.clone(),
        ztoc: record.ztoc.clone(),
        image: record.image.clone(),
    }
}

/// Parsing and disk work, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| "the daemon is shutting down".to_owned())
}

async fn probe(blob: &Blob, spans: &SpanTable) -> Result<(), String> {
    let header = spans.header();
    let asked = if header.is_empty() {
        0..spans.compressed_size().min(512)
    } else {
        header.clone()
    };
    if asked.is_empty() {
        return Ok(());
    }
    let bytes = blob
        .read(asked)
        .await
        .map_err(|error| format!("it cannot be read in ranges: {error}"))?;
    if header.is_empty() {
        return Ok(());
    }
    soci::gzip::check_header(&bytes)
        .map_err(|error| format!("it does not begin as its zTOC says: {error}"))
}

/// A prefetch artifact is a hint: without it the layer is read all the same.
async fn prefetch(origin: &Origin, artifact: &Digest, layer: &Layer, spans: u32) {
    let parsed = match origin.repository.blob(artifact, MAX_PREFETCH).await {
        Ok(json) => soci::prefetch::parse(&json, spans).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match parsed {
        Ok(artifact) => {
            let spans = artifact.spans.into_iter();
            spans.for_each(|range| layer.prefetch(range));
        }
        Err(error) => {
            tracing::warn!(image = origin.image, %artifact, error, "prefetch artifact is not usable");
        }
    }
}

/// The diff ID stands in the image configuration where the layer stands in the manifest.
async fn expected(origin: &Origin, layer: &Digest) -> Result<Expected, String> {
    let manifest = discovery::manifest(&origin.repository, &origin.manifest).await?;
    let place = manifest
        .layers()
        .iter()
        .position(|descriptor| descriptor.digest() == layer)
        .ok_or_else(|| format!("the image manifest {} does not list it", origin.manifest))?;
    let digest = manifest.config().digest();
    let bytes = origin
        .repository
        .blob(digest, MAX_CONFIG)
        .await
        .map_err(|error| format!("the image configuration {digest} cannot be had: {error}"))?;
    let config: ImageConfiguration = serde_json::from_slice(&bytes)
        .map_err(|error| format!("the image configuration {digest} is malformed: {error}"))?;
    let diff_id = config
        .rootfs()
        .diff_ids()
        .get(place)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("the image configuration {digest} has no diff ID for it"))?;
    Ok(Expected {
        layer: layer.clone(),
        diff_id,
    })
}
