//! Labels of one Prepare to the blob, the index and the zTOC of one image layer.

mod discovery;
mod open;
mod pull;
mod resolve;

use std::collections::BTreeMap;

use oci_spec::distribution::Reference;
use oci_spec::image::{Digest, DigestAlgorithm};

use crate::labels;

pub use discovery::Ways;
pub use open::{Opener, Record, Served};
pub use resolve::{Images, Options, Reason};

/// One layer of one image, as containerd describes it.
#[derive(Debug, Clone)]
pub struct LayerRequest {
    pub image: Reference,
    /// Of the platform's image manifest.
    pub manifest: Digest,
    /// Of the compressed layer.
    pub layer: Digest,
    /// The layers above, which will be asked for next; as many as fit into a label.
    pub above: Vec<Digest>,
    pub size: Option<u64>,
    /// An index the user named.
    pub index: Option<Digest>,
}

#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    #[error(
        "the label {0} is missing: containerd has to be told to pass them on \
         (enable_remote_snapshot_annotations, or disable_snapshot_annotations = false)"
    )]
    Missing(&'static str),
    #[error("the label {label} has the malformed value {value:?}")]
    Malformed { label: &'static str, value: String },
}

impl LayerRequest {
    /// Labels are somebody else's text: only digests, a size and a reference are taken from them.
    pub fn parse(labels: &BTreeMap<String, String>) -> Result<Self, LabelError> {
        let required = |label: &'static str| {
            labels
                .get(label)
                .filter(|value| !value.is_empty())
                .ok_or(LabelError::Missing(label))
        };
        let layer = digest(labels::LAYER_DIGEST, required(labels::LAYER_DIGEST)?)?;
        let image = required(labels::IMAGE_REF)?;
        let above = labels
            .get(labels::IMAGE_LAYERS)
            .map(String::as_str)
            .unwrap_or_default();
        Ok(Self {
            image: image
                .parse()
                .map_err(|_| malformed(labels::IMAGE_REF, image))?,
            manifest: digest(labels::MANIFEST_DIGEST, required(labels::MANIFEST_DIGEST)?)?,
            // An entry that is cut short or malformed is not worth failing for: it is only a hint.
            above: above
                .split(',')
                .filter_map(|text| digest(labels::IMAGE_LAYERS, text).ok())
                .filter(|other| *other != layer)
                .collect(),
            size: optional(labels, labels::LAYER_SIZE, |text| text.parse().ok())?,
            index: optional(labels, labels::INDEX_DIGEST, |text| {
                digest(labels::INDEX_DIGEST, text).ok()
            })?,
            layer,
        })
    }
}

fn optional<T>(
    labels: &BTreeMap<String, String>,
    label: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, LabelError> {
    match labels.get(label).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => parse(value)
            .map(Some)
            .ok_or_else(|| malformed(label, value)),
    }
}

/// sha256 only: the formats know no other algorithm, and the value becomes a file name.
fn digest(label: &'static str, value: &str) -> Result<Digest, LabelError> {
    value
        .parse()
        .ok()
        .filter(|digest: &Digest| *digest.algorithm() == DigestAlgorithm::Sha256)
        .ok_or_else(|| malformed(label, value))
}

fn malformed(label: &'static str, value: &str) -> LabelError {
    LabelError::Malformed {
        label,
        value: value.chars().take(128).collect(),
    }
}
