//! What an image consists of, by its manifest and its configuration: each is asked for once, whoever wants to know.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use oci_spec::image::{Digest, ImageConfiguration, ImageManifest};
use tokio::sync::OnceCell;

use super::contents::Contents;

/// An image configuration larger than this is not one.
const MAX_CONFIG: u64 = 4 << 20;

type Fetched = Shared<BoxFuture<'static, Result<Arc<ImageManifest>, Arc<str>>>>;

pub(super) struct Manifest {
    pub(super) digest: Digest,
    contents: Contents,
    fetched: Fetched,
    config: OnceCell<ImageConfiguration>,
}

impl Manifest {
    /// Asks for nothing yet.
    pub(super) fn new(contents: Contents, digest: Digest) -> Self {
        let fetched = fetch(contents.clone(), digest.clone()).boxed().shared();
        Self {
            digest,
            contents,
            fetched,
            config: OnceCell::new(),
        }
    }

    /// Asks for it now, so that it travels beside whatever else is asked for.
    pub(super) fn start(&self) {
        tokio::spawn(self.fetched.clone());
    }

    pub(super) async fn get(&self) -> Result<Arc<ImageManifest>, String> {
        let fetched = self.fetched.clone().await;
        fetched.map_err(|reason| reason.to_string())
    }

    /// Of all layers as the registry stores them.
    pub(super) async fn size(&self) -> Result<u64, String> {
        let manifest = self.get().await?;
        let sizes = manifest.layers().iter().map(|layer| layer.size());
        Ok(sizes.fold(0, u64::saturating_add))
    }

    /// The layers above `layer` with their sizes, in the order in which they are asked for.
    pub(super) async fn above(&self, layer: &Digest) -> Result<Vec<(Digest, u64)>, String> {
        let manifest = self.get().await?;
        let layers = manifest.layers().iter();
        let above = layers.skip_while(|other| other.digest() != layer).skip(1);
        Ok(above
            .filter(|other| other.digest() != layer)
            .map(|other| (other.digest().clone(), other.size()))
            .collect())
    }

    /// The diff ID stands in the image configuration where the layer stands in the manifest.
    pub(super) async fn diff_id(&self, layer: &Digest) -> Result<Digest, String> {
        let manifest = self.get().await?;
        let place = manifest
            .layers()
            .iter()
            .position(|descriptor| descriptor.digest() == layer)
            .ok_or_else(|| format!("the image manifest {} does not list it", self.digest))?;
        let digest = manifest.config().digest();
        let config = || async {
            let bytes = self.contents.blob(digest, MAX_CONFIG).await;
            let bytes = bytes.map_err(|error| {
                format!("the image configuration {digest} cannot be had: {error}")
            })?;
            serde_json::from_slice(&bytes)
                .map_err(|error| format!("the image configuration {digest} is malformed: {error}"))
        };
        let config: &ImageConfiguration = self.config.get_or_try_init(config).await?;
        config
            .rootfs()
            .diff_ids()
            .get(place)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("the image configuration {digest} has no diff ID for it"))
    }
}

async fn fetch(contents: Contents, digest: Digest) -> Result<Arc<ImageManifest>, Arc<str>> {
    let manifest = contents.manifest(&digest).await;
    let manifest =
        manifest.map_err(|error| format!("the image manifest {digest} cannot be had: {error}"))?;
    let parsed = serde_json::from_slice(&manifest)
        .map_err(|error| format!("the image manifest {digest} is malformed: {error}"))?;
    Ok(Arc::new(parsed))
}
