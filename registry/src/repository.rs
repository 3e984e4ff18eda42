//! One repository of a registry, wherever it is served from.

use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};

use crate::Error;
use crate::content::{self, Manifest};
use crate::hosts::Hosts;
use crate::ranged::Blob;
use crate::referrers::{self, Capabilities};
use crate::stream::BlobStream;

/// Cheap to clone. Dropping a future of its methods abandons the request.
#[derive(Clone)]
pub struct Repository {
    pub(crate) hosts: Hosts,
    pub(crate) capabilities: Arc<Capabilities>,
}

impl Repository {
    /// A manifest or index of at most 4 MiB, verified.
    pub async fn manifest(&self, digest: &Digest) -> Result<Manifest, Error> {
        content::manifest(&self.hosts, digest).await
    }

    /// The manifests of `artifact_type` that refer to `subject`, in the order of the host.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> Result<Vec<Descriptor>, Error> {
        referrers::list(&self.hosts, &self.capabilities, subject, artifact_type).await
    }

    /// A whole blob of at most `limit` bytes, verified.
    pub async fn blob(&self, digest: &Digest, limit: u64) -> Result<Bytes, Error> {
        content::blob(&self.hosts, digest, limit).await
    }

    /// A whole blob as it arrives, not verified.
    pub async fn stream(&self, digest: &Digest) -> Result<BlobStream, Error> {
        BlobStream::open(self.hosts.clone(), digest.clone()).await
    }

    /// A blob to be read in parts. No request is made yet.
    pub fn ranged(&self, digest: &Digest, size: u64) -> Blob {
        Blob::new(self.hosts.clone(), digest.clone(), size)
    }
}
