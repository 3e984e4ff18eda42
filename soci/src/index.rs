//! SOCI index manifests: which zTOC belongs to which layer.

use oci_spec::image::{Descriptor, Digest};

use crate::error::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexVersion {
    V1,
    V2,
}

/// Where the zTOC of one layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZtocDescriptor {
    pub digest: Digest,
    pub size: u64,
    /// Digest of the compressed layer.
    pub layer: Digest,
    /// The layer has no extended attributes at all.
    pub disable_xattrs: bool,
}

#[derive(Clone, Debug)]
pub struct SociIndex {
    pub version: IndexVersion,
    ztocs: Vec<ZtocDescriptor>,
}

impl SociIndex {
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let _ = json;
        Err(Error::IndexType(String::new()))
    }

    pub fn ztoc(&self, layer: &Digest) -> Option<&ZtocDescriptor> {
        self.ztocs.iter().rev().find(|ztoc| ztoc.layer == *layer)
    }

    pub fn ztocs(&self) -> impl Iterator<Item = &ZtocDescriptor> {
        self.ztocs.iter()
    }

    pub fn prefetch(&self, _layer: &Digest) -> Option<&Descriptor> {
        None
    }
}
