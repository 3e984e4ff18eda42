//! Finding the SOCI index of an image: named by label, by the manifest's annotation, or a referrer of it.

use std::fmt;
use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest};
use registry::Repository;
use soci::index::SociIndex;
use soci::{annotations, media_types};

use super::LayerRequest;
use super::contents::Contents;
use super::manifest::Manifest;
use super::ranges::Ranges;

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
///
/// All ways are asked at once, and what the layers will need travels beside the index: the manifest, which tells
/// them all, and a probe of the host. So there is an index after two round trips, by whichever way.
pub(super) async fn find(
    contents: &Contents,
    manifest: &Arc<Manifest>,
    ranges: &Ranges,
    request: &LayerRequest,
    ways: Ways,
) -> Result<Found, NoIndex> {
    if request.index.is_none() && !ways.v1 && !ways.v2 {
        return Err(NoIndex {
            reason: "pull_modes.soci_v1 and pull_modes.soci_v2 are both disabled".to_owned(),
            broken: false,
        });
    }
    manifest.start();
    ranges.start();
    if let Some(digest) = &request.index {
        let named = fetch(contents, digest, Way::Label).await;
        return named.map_err(|reason| NoIndex {
            reason,
            broken: true,
        });
    }
    let by_referrer = ways.v1.then(|| {
        let listing = list(contents.repository.clone(), manifest.digest.clone());
        // Not dropped half way where the annotation wins: that would close its connection.
        tokio::spawn(listing)
    });
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
        let outcome = by_annotation(contents, manifest).await;
        if let Some(found) = note(outcome, "the image manifest names no index") {
            return Ok(found);
        }
    }
    if let Some(listing) = by_referrer {
        let outcome = match listing.await {
            Ok(listed) => first_good(contents, listed).await,
            Err(_) => Err("the daemon is shutting down".to_owned()),
        };
        let absent = "the image manifest has no index among its referrers";
        if let Some(found) = note(outcome, absent) {
            return Ok(found);
        }
    }
    Err(NoIndex {
        reason: reasons.join("; "),
        broken,
    })
}

async fn by_annotation(contents: &Contents, manifest: &Manifest) -> Result<Option<Found>, String> {
    let manifest = manifest.get().await?;
    let annotations = manifest.annotations().as_ref();
    let Some(annotation) = annotations.and_then(|all| all.get(annotations::INDEX_DIGEST)) else {
        return Ok(None);
    };
    let digest = annotation.parse().map_err(|_| {
        format!("the image manifest names the index {annotation:?}, which is no digest")
    })?;
    fetch(contents, &digest, Way::Annotation).await.map(Some)
}

async fn list(
    repository: Repository,
    manifest: Digest,
) -> Result<Vec<Descriptor>, registry::Error> {
    repository.referrers(&manifest, media_types::INDEX_V1).await
}

async fn first_good(
    contents: &Contents,
    listed: Result<Vec<Descriptor>, registry::Error>,
) -> Result<Option<Found>, String> {
    let referrers = listed.map_err(|error| format!("the referrers cannot be listed: {error}"))?;
    let mut failure = None;
    for referrer in referrers.iter().take(MAX_REFERRERS) {
        match fetch(contents, referrer.digest(), Way::Referrer).await {
            Ok(found) => return Ok(Some(found)),
            Err(reason) => failure = Some(reason),
        }
    }
    failure.map_or(Ok(None), Err)
}

async fn fetch(contents: &Contents, digest: &Digest, way: Way) -> Result<Found, String> {
    let manifest = contents
        .manifest(digest)
        .await
        .map_err(|error| format!("the index {digest} named by {way} cannot be had: {error}"))?;
    let index = SociIndex::parse(&manifest)
        .map_err(|error| format!("the index {digest} named by {way} is not usable: {error}"))?;
    Ok(Found {
        index,
        digest: digest.clone(),
        way,
    })
}
