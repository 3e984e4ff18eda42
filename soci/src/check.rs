//! Complete checks of a SOCI index against its image: what is wrong, what some reader would refuse.
//!
//! Three parts, each usable alone: [`check_index`] and [`check_image_index`] look at manifests,
//! [`LayerCheck`] at a zTOC while its layer streams by, [`check_prefetch`] at a prefetch artifact. Nothing
//! is taken on trust: a layer is inflated from its start with a decoder of its own, and every statement of
//! the zTOC is compared with what comes out. The one thing nobody can check is the builder's name.

mod entry;
mod gunzip;
mod image_index;
mod index;
mod layer;
mod members;
mod spans;
mod stored;

use oci_spec::image::Digest;

use crate::error::Error;
use crate::finding::{Finding, Findings};
use crate::prefetch;

pub use image_index::check_image_index;
pub use index::check_index;
pub use layer::{LayerCheck, LayerFacts};

/// Checks the prefetch artifact of a layer that has so many spans.
pub fn check_prefetch(json: &[u8], layer: &Digest, spans: u32) -> Vec<Finding> {
    let mut findings = Findings::new(layer.to_string());
    match prefetch::parse(json, spans) {
        Ok(artifact) => {
            if artifact.to_json().ok().as_deref() != Some(json) {
                findings.note(
                    "prefetch-form",
                    "the prefetch artifact is not written as the tools write it; readers take it",
                );
            }
        }
        Err(error @ Error::PrefetchRange { .. }) => {
            let text =
                format!("{error}: AWS's reader does not look and fails or runs out of memory");
            findings.error("prefetch-range", text);
        }
        Err(error) => findings.error("prefetch-refused", error.to_string()),
    }
    findings.finish()
}
