//! Why a command did not do what was asked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::image::Digest;
use soci::build::BuildError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    /// No layer of any platform asked for could be indexed.
    #[error(
        "{image}: nothing to index: no layer is at least {min_layer_size} bytes and of a kind that can be indexed; lower --min-layer-size to index smaller layers"
    )]
    NothingToIndex { image: String, min_layer_size: u64 },
    /// The findings have been printed.
    #[error("{image}: the check found {errors} error(s)")]
    Findings { image: String, errors: usize },
    #[error("{left} and {right} differ")]
    Different { left: String, right: String },
    #[error("{name}: no such image in {place}")]
    NoImage { name: String, place: String },
    #[error("{image}: no manifest for platform {platform}; it has {available}")]
    NoPlatform {
        image: String,
        platform: String,
        available: String,
    },
    #[error("{digest} is not in {place}")]
    NoContent { digest: Digest, place: String },
    #[error(
        "layer {layer} of {image} has media type {media_type}, which is not a file system; this is no container image"
    )]
    NotALayer {
        image: String,
        layer: String,
        media_type: String,
    },
    #[error("layer {layer} of {image}: {source}")]
    Layer {
        image: String,
        layer: String,
        source: Box<BuildError>,
    },
    #[error("layer {layer}: {place} delivered {what} {actual} instead of {expected}")]
    Delivered {
        layer: String,
        place: String,
        what: &'static str,
        expected: String,
        actual: String,
    },
    #[error(
        "prefetch: no indexed layer of {image} holds {paths}; correct the path, or index the layer that holds it"
    )]
    PrefetchMissing { image: String, paths: String },
    #[error(
        "{image}: the profile is of another image: it has none of the {layers} layer(s) that the profile lists"
    )]
    ForeignProfile { image: String, layers: usize },
    #[error(
        "{image}: no start of it is recorded in {}; run it once with the snapshotter of this machine",
        .directory.display()
    )]
    NotRecorded { image: String, directory: PathBuf },
    #[error("{0}: no start was recorded in it")]
    EmptyProfile(String),
    #[error("{what}: {source}")]
    Format { what: String, source: soci::Error },
    #[error("{what}: {reason}")]
    Malformed { what: String, reason: String },
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error("containerd at {address}: {reason}")]
    Containerd { address: String, reason: String },
    #[error(
        "{}: another soci holds the lock for more than {} s; wait for it, or remove the lock if it is gone",
        .path.display(), .waited.as_secs()
    )]
    Locked { path: PathBuf, waited: Duration },
    #[error("not finished within --timeout {}", humantime(*.0))]
    Timeout(Duration),
    #[error(
        "{0} is not in the list of artifacts; `soci rebuild-db` searches the content store anew"
    )]
    NotListed(Digest),
    #[error("interrupted")]
    Interrupted,
    /// A task of ours ended without an answer.
    #[error("{0} ended unexpectedly")]
    Task(&'static str),
}

impl Error {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Error::Usage(text.into())
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Error::File { path, source }
    }

    pub(crate) fn format(what: impl Into<String>) -> impl FnOnce(soci::Error) -> Self {
        let what = what.into();
        |source| Error::Format { what, source }
    }

    pub(crate) fn json(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |error| Error::Malformed {
            what,
            reason: error.to_string(),
        }
    }
}

fn humantime(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
