//! One repository of a registry, wherever it is served from.

use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};

use crate::Error;
use crate::content::{self, Manifest};
use crate::hosts::Hosts;
use crate::push::{BlobBody, Pushed, PushedManifest};
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

    /// The manifest or index of at most 4 MiB that a tag or digest names, of a Docker or OCI type.
    /// Tags are asked of the registry itself: a mirror's may be old.
    pub async fn resolve(&self, reference: &str) -> Result<(Descriptor, Bytes), Error> {
        todo(reference)
    }

    /// The size of a blob, if the registry itself has it.
    pub async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        todo(digest.as_ref())
    }

    /// The descriptor of a manifest, if the registry itself has it.
    pub async fn has_manifest(&self, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        todo(digest.as_ref())
    }

    /// Sees to it that the registry has a blob. `from` names another repository of the same registry
    /// that may have it. `body` gives the content from an offset on, as often as it takes; an error
    /// of it ends the push.
    pub async fn push_blob(
        &self,
        digest: &Digest,
        _size: u64,
        _from: Option<&str>,
        _body: impl Fn(u64) -> BlobBody + Send + Sync,
    ) -> Result<Pushed, Error> {
        todo(digest.as_ref())
    }

    /// Sees to it that a tag or digest names this manifest. What it refers to must be there.
    pub async fn push_manifest(
        &self,
        reference: &str,
        _media_type: &str,
        _manifest: &Bytes,
    ) -> Result<PushedManifest, Error> {
        todo(reference)
    }

    /// Adds to the tag that stands in for the referrers API, unless it is there already; then `false`.
    pub async fn add_referrer(
        &self,
        subject: &Digest,
        _descriptor: Descriptor,
    ) -> Result<bool, Error> {
        todo(subject.as_ref())
    }
}

fn todo<T>(reference: &str) -> Result<T, Error> {
    Err(Error::Reference {
        reference: reference.to_owned(),
        reason: "pushing is being built".to_owned(),
    })
}
