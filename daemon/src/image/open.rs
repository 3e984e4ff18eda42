//! One layer made readable: lazily through its zTOC, or pulled whole where that cannot be.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use layer::{Cache, Layer, LayerId};
use oci_spec::distribution::Reference;
use oci_spec::image::Digest;
use parking_lot::Mutex;
use registry::{Blob, Registry};
use serde::{Deserialize, Serialize};
use soci::index::ZtocDescriptor;
use soci::ztoc::{Limits, Ztoc};

use super::contents::Contents;
use super::manifest::Manifest;
use super::pull;
use super::ranges::{self, Ranges};
use crate::content::{Content, Stored};

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
pub(super) struct Origin {
    pub(super) image: String,
    pub(super) contents: Contents,
    pub(super) manifest: Arc<Manifest>,
    pub(super) ranges: Ranges,
}

/// By the digests of layer and zTOC.
type OpenLayers = HashMap<(Digest, Option<Digest>), Weak<Layer>>;

/// Opens layers; one that is open already is shared.
pub struct Opener {
    content: Arc<Content>,
    cache: Arc<Cache>,
    limits: Limits,
    options: layer::Options,
    open: Mutex<OpenLayers>,
}

impl Opener {
    pub fn new(
        content: Arc<Content>,
        cache: Arc<Cache>,
        limits: Limits,
        options: layer::Options,
    ) -> Self {
        Self {
            content,
            cache,
            limits,
            options,
            open: Mutex::default(),
        }
    }

    /// One round trip: the zTOC unless it is here, and beside it a probe of the blob unless the host is known. Also
    /// tells how many spans there are, where the layer was not open before.
    pub(super) async fn lazily(
        &self,
        origin: &Origin,
        descriptor: &ZtocDescriptor,
        size: Option<u64>,
    ) -> Result<(Served, Option<u32>), String> {
        let record = Record {
            image: origin.image.clone(),
            layer: descriptor.layer.clone(),
            ztoc: Some(descriptor.digest.clone()),
        };
        let served = |layer, record| Served {
            layer,
            record,
            pulled_because: None,
        };
        if let Some(layer) = self.shared(&record) {
            return Ok((served(layer, record), None));
        }
        let unusable = |error| format!("its zTOC {} is not usable: {error}", descriptor.digest);
        let ztoc = self.ztoc(&origin.contents, descriptor);
        let (stored, probed) = match size {
            Some(size) => {
                let blob = origin.contents.repository.ranged(&descriptor.layer, size);
                let (stored, begins) = tokio::try_join!(ztoc, origin.ranges.of(&blob))?;
                (stored, Some((blob, begins)))
            }
            None => (ztoc.await?, None),
        };
        let ztoc = stored.made.map_err(|error| unusable(error.to_string()))?;
        let described = ztoc.spans.compressed_size();
        let (blob, begins) = match probed {
            Some((blob, _)) if blob.size() != described => {
                return Err(unusable(format!(
                    "it describes a blob of {described} bytes, the layer has {}",
                    blob.size()
                )));
            }
            Some(probed) => probed,
            None => {
                let blob = origin
                    .contents
                    .repository
                    .ranged(&descriptor.layer, described);
                let begins = origin.ranges.of(&blob).await?;
                (blob, begins)
            }
        };
        if let Some(begins) = begins {
            ranges::check(&begins, &ztoc.spans)?;
        }
        let spans = ztoc.spans.len();
        let layer = self
            .lazy_layer(&record, ztoc, stored.file, blob)
            .await
            .map_err(unusable)?;
        Ok((served(layer, record), Some(spans)))
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
                    let whole = pull::Whole {
                        repository: &origin.contents.repository,
                        layer,
                        cache: &self.cache,
                        limits: &self.limits,
                    };
                    let toc = whole.pull(origin.manifest.diff_id(layer)).await?;
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
        contents: &Contents,
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
        let bytes = contents
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
