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
pub(super) struct NoIndex {
    pub(super) reason: String,
    /// There is, or may be, an index that cannot be used; somebody has to look at it.
    pub(super) broken: bool,
}

/// A way that fails hands over to the next one: a dangling annotation must not hide a good referrer.
pub(super) async fn find(
    repository: &Repository,
    request: &LayerRequest,
    ways: Ways,
) -> Result<Found, NoIndex> {
    if let Some(digest) = &request.index {
        let named = fetch(repository, digest, Way::Label).await;
        return named.map_err(|reason| NoIndex {
            reason,
            broken: true,
        });
    }
    let mut reasons = Vec::new();
    let mut broken = false;
    let mut note = |outcome: Result<Option<Found>, String>, absent: &str| match outcome {
        Ok(Some(found)) => Some(found),
        Ok(None) => {
            reasons.push(absent.to_owned());
            None
        }
        Err(reason) => {
            reasons.push(reason);
            broken = true;
            None
        }
    };
    if ways.v2 {
        let outcome = by_annotation(repository, request).await;
        if let Some(found) = note(outcome, "the image manifest names no index") {
            return Ok(found);
        }
    }
    if ways.v1 {
        let outcome = by_referrer(repository, request).await;
        if let Some(found) = note(
            outcome,
            "the image manifest has no index among its referrers",
        ) {
            return Ok(found);
        }
    }
    if reasons.is_empty() {
        reasons.push("pull_modes.soci_v1 and pull_modes.soci_v2 are both disabled".to_owned());
    }
    Err(NoIndex {
        reason: reasons.join("; "),
        broken,
    })
}

async fn by_annotation(
    repository: &Repository,
    request: &LayerRequest,
) -> Result<Option<Found>, String> {
    let manifest = manifest(repository, &request.manifest).await?;
    let annotations = manifest.annotations().as_ref();
    let Some(annotation) = annotations.and_then(|all| all.get(annotations::INDEX_DIGEST)) else {
        return Ok(None);
    };
    let digest = annotation.parse().map_err(|_| {
        format!("the image manifest names the index {annotation:?}, which is no digest")
    })?;
    fetch(repository, &digest, Way::Annotation).await.map(Some)
}

async fn by_referrer(
    repository: &Repository,
    request: &LayerRequest,
) -> Result<Option<Found>, String> {
    let referrers = repository
        .referrers(&request.manifest, media_types::INDEX_V1)
        .await
        .map_err(|error| format!("the referrers cannot be listed: {error}"))?;
    let mut failure = None;
    for referrer in referrers.iter().take(MAX_REFERRERS) {
        match fetch(repository, referrer.digest(), Way::Referrer).await {
            Ok(found) => return Ok(Some(found)),
            Err(reason) => failure = Some(reason),
        }
    }
    failure.map_or(Ok(None), Err)
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
