//! Complete checks of an index against its image.

use std::collections::HashMap;

use oci_spec::image::Digest;

use crate::finding::Finding;
use crate::limits::Limits;

/// What is said about a layer and its zTOC elsewhere: in the image manifest and the SOCI index.
#[derive(Clone, Debug)]
pub struct LayerFacts {
    pub layer: Digest,
    pub size: u64,
    pub ztoc: Digest,
    pub ztoc_size: u64,
    /// Of the annotation; `None` where there is none.
    pub span_size: Option<u64>,
    pub disable_xattrs: bool,
}

/// Checks one layer against its zTOC as the layer streams by.
pub struct LayerCheck {
    findings: Vec<Finding>,
}

impl LayerCheck {
    pub fn new(_ztoc: Vec<u8>, _facts: LayerFacts, _limits: &Limits) -> Self {
        Self {
            findings: Vec::new(),
        }
    }

    /// Takes the next bytes of the layer as the registry stores it.
    pub fn push(&mut self, _bytes: &[u8]) {}

    pub fn finish(self) -> Vec<Finding> {
        self.findings
    }
}

/// Checks a SOCI index manifest, by itself and against the image manifest it was built for.
pub fn check_index(_json: &[u8], _manifest: Option<&[u8]>) -> Vec<Finding> {
    Vec::new()
}

/// Checks how a converted image ties its manifests and SOCI indexes together. `manifests` holds those at
/// hand, by digest.
pub fn check_image_index(_json: &[u8], _manifests: &HashMap<Digest, Vec<u8>>) -> Vec<Finding> {
    Vec::new()
}

/// Checks the prefetch artifact of a layer that has so many spans.
pub fn check_prefetch(_json: &[u8], _layer: &Digest, _spans: u32) -> Vec<Finding> {
    Vec::new()
}
