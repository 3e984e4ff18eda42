//! One repository of a registry, wherever it is served from.

use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};

use crate::Error;
use crate::capabilities::Capabilities;
use crate::content::{self, Manifest};
use crate::hosts::Hosts;
use crate::manifest;
use crate::push::{BlobBody, Pushed, PushedManifest};
use crate::ranged::Blob;
use crate::referrers;
use crate::referrers_tag;
use crate::stream::BlobStream;
use crate::upload;

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
        Blob::new(
            self.hosts.clone(),
            self.capabilities.clone(),
            digest.clone(),
            size,
        )
    }

    /// The manifest or index of at most 4 MiB that a tag or digest names, of a Docker or OCI type.
    /// Tags are asked of the registry itself: a mirror's may be old.
    pub async fn resolve(&self, reference: &str) -> Result<(Descriptor, Bytes), Error> {
        manifest::resolve(&self.hosts, reference).await
    }

    /// The size of a blob, if the registry itself has it.
    pub async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let client = &self.hosts.client;
        let operation = |endpoint| async move { upload::find(client, &endpoint, digest).await };
        let origin = self.hosts.origin()?.as_ref().clone();
        self.hosts.at(origin, operation).await
    }

    /// The descriptor of a manifest, if the registry itself has it.
    pub async fn has_manifest(&self, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        manifest::find(&self.hosts, digest).await
    }

    /// Sees to it that the registry itself has a blob. `from` names another of its repositories that
    /// may have it. `body` gives the content from an offset on, as often as it takes; an error of it
    /// ends the push.
    pub async fn push_blob(
        &self,
        digest: &Digest,
        size: u64,
        from: Option<&str>,
        body: impl Fn(u64) -> BlobBody + Send + Sync,
    ) -> Result<Pushed, Error> {
        upload::push(&self.hosts, digest, size, from, &body).await
    }

    /// Sees to it that a tag or digest of the registry itself names this manifest. What the manifest
    /// refers to must be there.
    pub async fn push_manifest(
        &self,
        reference: &str,
        media_type: &str,
        manifest: &Bytes,
    ) -> Result<PushedManifest, Error> {
        let capabilities = &self.capabilities;
        manifest::push(&self.hosts, capabilities, reference, media_type, manifest).await
    }

    /// Adds to the tag that stands in for the referrers API; `false` if it was there already. For
    /// what [`push_manifest`](Self::push_manifest) calls unlisted.
    pub async fn add_referrer(
        &self,
        subject: &Digest,
        descriptor: Descriptor,
    ) -> Result<bool, Error> {
        referrers_tag::add(&self.hosts, subject, &descriptor).await
    }
}
