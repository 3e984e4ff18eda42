//! Manifests, indices and zTOCs of an image: from containerd, which has often just downloaded them, else from the registry.

use bytes::Bytes;
use oci_spec::image::Digest;
use registry::{Error, Repository};

use crate::containerd::Containerd;

/// A manifest larger than this is not one.
const MAX_MANIFEST: u64 = 4 << 20;

#[derive(Clone)]
pub(super) struct Contents {
    pub(super) repository: Repository,
    pub(super) containerd: Option<Containerd>,
    /// Of containerd, where the image is being pulled.
    pub(super) namespace: String,
}

impl Contents {
    pub(super) async fn manifest(&self, digest: &Digest) -> Result<Bytes, Error> {
        match self.here(digest, MAX_MANIFEST).await {
            Some(bytes) => Ok(bytes),
            None => Ok(self.repository.manifest(digest).await?.bytes),
        }
    }

    /// At most `limit` bytes.
    pub(super) async fn blob(&self, digest: &Digest, limit: u64) -> Result<Bytes, Error> {
        match self.here(digest, limit).await {
            Some(bytes) => Ok(bytes),
            None => self.repository.blob(digest, limit).await,
        }
    }

    async fn here(&self, digest: &Digest, limit: u64) -> Option<Bytes> {
        let containerd = self.containerd.as_ref()?;
        containerd.content(&self.namespace, digest, limit).await
    }
}
