//! Finding the SOCI index of an image: named by label, by the manifest's annotation, or a referrer of it.

use std::fmt;

use oci_spec::image::{Digest, ImageManifest};
use registry::Repository;
use soci::index::SociIndex;
use soci::{annotations, media_types};

use super::LayerRequest;

/// Referrers tried before giving up; the first good one is taken.
const MAX_REFERRERS: usize = 4;

/// Which ways are tried. An index named by label is used whatever is set here.
#[derive(Debug, Clone, Copy)]
pub struct Ways {
    pub v1: bool,
    pub v2: bool,
}

/// How an index was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Label,
    Annotation,
    Referrer,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Label => "label",
            Way::Annotation => "annotation of the image manifest",
            Way::Referrer => "referrer of the image manifest",
        })
    }
}

/// An index and where it came from.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) index: SociIndex,
    pub(super) digest: Digest,
    pub(super) way: Way,
}

/// Why an image is not loaded lazily; each way that was tried says its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoIndex(pub(super) String);

impl fmt::Display for NoIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A way that fails hands over to the next one: a dangling annotation must not hide a good referrer.
pub(super) async fn find(
    repository: &Repository,
    request: &LayerRequest,
    ways: Ways,
) -> Result<Found, NoIndex> {
    if let Some(digest) = &request.index {
        return fetch(repository, digest, Way::Label).await.map_err(NoIndex);
    }
    let mut reasons = Vec::new();
    if ways.v2 {
        match by_annotation(repository, request).await {
            Ok(found) => return Ok(found),
            Err(reason) => reasons.push(reason),
        }
    }
    if ways.v1 {
        match by_referrer(repository, request).await {
            Ok(found) => return Ok(found),
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        reasons.push("pull_modes.soci_v1 and pull_modes.soci_v2 are both disabled".to_owned());
    }
    Err(NoIndex(reasons.join("; ")))
}

async fn by_annotation(repository: &Repository, request: &LayerRequest) -> Result<Found, String> {
    let manifest = manifest(repository, &request.manifest).await?;
    let annotation = manifest
        .annotations()
        .as_ref()
        .and_then(|annotations| annotations.get(annotations::INDEX_DIGEST))
        .ok_or("the image manifest names no index")?;
    let digest = annotation.parse().map_err(|_| {
        format!("the image manifest names the index {annotation:?}, which is no digest")
    })?;
    fetch(repository, &digest, Way::Annotation).await
}

async fn by_referrer(repository: &Repository, request: &LayerRequest) -> Result<Found, String> {
    let referrers = repository
        .referrers(&request.manifest, media_types::INDEX_V1)
        .await
        .map_err(|error| format!("the referrers cannot be listed: {error}"))?;
    let mut last = "the image manifest has no index among its referrers".to_owned();
    for referrer in referrers.iter().take(MAX_REFERRERS) {
        match fetch(repository, referrer.digest(), Way::Referrer).await {
            Ok(found) => return Ok(found),
            Err(reason) => last = reason,
        }
    }
    Err(last)
}

async fn fetch(repository: &Repository, digest: &Digest, way: Way) -> Result<Found, String> {
    let manifest = repository
        .manifest(digest)
        .await
        .map_err(|error| format!("the index {digest} named by {way} cannot be had: {error}"))?;
    let index = SociIndex::parse(&manifest.bytes)
        .map_err(|error| format!("the index {digest} named by {way} is not usable: {error}"))?;
    Ok(Found {
        index,
        digest: digest.clone(),
        way,
    })
}

/// The manifest of one image, its bytes checked against `digest`.
pub(super) async fn manifest(
    repository: &Repository,
    digest: &Digest,
) -> Result<ImageManifest, String> {
    let manifest = repository
        .manifest(digest)
        .await
        .map_err(|error| format!("the image manifest {digest} cannot be had: {error}"))?;
    serde_json::from_slice(&manifest.bytes)
        .map_err(|error| format!("the image manifest {digest} is malformed: {error}"))
}
