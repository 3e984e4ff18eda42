//! Labels of one Prepare to the blob, the index and the zTOC of one image layer.

mod artifact;
mod contents;
mod discovery;
mod manifest;
mod open;
mod pull;
mod ranges;
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
    /// Of containerd, where the image is being pulled.
    pub namespace: String,
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
    pub fn parse(namespace: &str, labels: &BTreeMap<String, String>) -> Result<Self, LabelError> {
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
            namespace: namespace.to_owned(),
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

/// The manifest of the image that a layer was prepared for.
pub fn manifest(labels: &BTreeMap<String, String>) -> Option<Digest> {
    optional(labels, labels::MANIFEST_DIGEST, |text| {
        digest(labels::MANIFEST_DIGEST, text).ok()
    })
    .ok()?
}

/// Parsing the first reference compiles the expression that describes all of them, which takes longer than mounting
/// an image. Blocks for as long.
pub fn compile_reference_parser() {
    let parsed: Result<Reference, _> = "registry.example/name:tag".parse();
    debug_assert!(parsed.is_ok());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    fn good() -> BTreeMap<String, String> {
        let label = |key: &str, value: String| (key.to_owned(), value);
        BTreeMap::from([
            label(labels::IMAGE_REF, "registry.example/app:1".into()),
            label(labels::MANIFEST_DIGEST, sha("a")),
            label(labels::LAYER_DIGEST, sha("b")),
        ])
    }

    fn check(key: &str, value: Option<&str>) -> Result<LayerRequest, LabelError> {
        let mut labels = good();
        match value {
            Some(value) => labels.insert(key.to_owned(), value.to_owned()),
            None => labels.remove(key),
        };
        LayerRequest::parse("default", &labels)
    }

    #[test]
    fn a_layer_is_described_by_three_labels() {
        let request = LayerRequest::parse("default", &good()).unwrap();
        assert_eq!(request.image.repository(), "app");
        assert_eq!(request.layer.as_ref(), sha("b"));
        assert_eq!(
            (request.size, request.index, request.above.len()),
            (None, None, 0)
        );
    }

    #[test]
    fn a_missing_label_is_named_with_what_to_do() {
        for key in [
            labels::IMAGE_REF,
            labels::MANIFEST_DIGEST,
            labels::LAYER_DIGEST,
        ] {
            for value in [None, Some("")] {
                let message = check(key, value).unwrap_err().to_string();
                assert!(message.contains(key), "{message}");
                assert!(
                    message.contains("enable_remote_snapshot_annotations"),
                    "{message}"
                );
            }
        }
    }

    #[test]
    fn hostile_labels_are_refused_and_not_repeated_at_length() {
        let traversal = format!("sha256:../../{}", "a".repeat(58));
        let long = "x".repeat(1 << 20);
        let sha512 = format!("sha512:{}", "a".repeat(128));
        let upper = sha("A");
        for value in [
            "a",
            "sha256:",
            &traversal,
            &long,
            &sha512,
            &upper,
            "sha256:\0",
        ] {
            for key in [
                labels::MANIFEST_DIGEST,
                labels::LAYER_DIGEST,
                labels::INDEX_DIGEST,
            ] {
                let message = check(key, Some(value)).unwrap_err().to_string();
                assert!(message.len() < 400, "{}", message.len());
            }
        }
        assert!(check(labels::IMAGE_REF, Some("no reference!")).is_err());
        for value in ["-1", "1e3", "18446744073709551616", " 7"] {
            assert!(check(labels::LAYER_SIZE, Some(value)).is_err(), "{value:?}");
        }
    }

    #[test]
    fn labels_that_only_hint_do_no_harm_when_they_are_cut_short() {
        let layers = format!("{},{},sha256:abc", sha("b"), sha("c"));
        let request = check(labels::IMAGE_LAYERS, Some(&layers)).unwrap();
        assert_eq!(request.above.len(), 1);
        assert_eq!(check(labels::LAYER_SIZE, Some("")).unwrap().size, None);
        assert_eq!(check(labels::INDEX_DIGEST, Some("")).unwrap().index, None);
    }
}
