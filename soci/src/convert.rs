//! Images with their SOCI indexes built in (v2).

use std::collections::HashMap;

use oci_spec::image::Digest;

use crate::canonical::{Index, Platform};
use crate::error::Error;

/// An image as it is before the conversion: one manifest, or several under an index.
#[derive(Clone, Debug)]
pub struct Image {
    index: Index,
}

/// What a manifest listed by an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Image,
    /// Says something about the image manifest with this digest, as BuildKit's attestations do.
    Attestation {
        of: Option<Digest>,
    },
    SociIndex,
    /// A nested index, or another artifact.
    Other,
}

#[derive(Clone, Debug)]
pub struct Listed<'a> {
    pub digest: Digest,
    pub size: u64,
    pub media_type: &'a str,
    pub platform: Option<&'a Platform>,
    pub role: Role,
}

/// A SOCI index that has been built for one of the listed image manifests.
#[derive(Clone, Debug)]
pub struct Indexed {
    /// Digest of the image manifest, as it was before the conversion.
    pub manifest: Digest,
    /// As it was asked for; becomes the platform of the SOCI index's descriptor.
    pub platform: Platform,
    pub index: Digest,
    pub index_size: u64,
}

/// The result of a conversion: what is to be stored besides the SOCI indexes.
#[derive(Clone, Debug)]
pub struct Converted {
    pub digest: Digest,
    /// The OCI image index.
    pub json: Vec<u8>,
    pub manifests: Vec<Rewritten>,
}

#[derive(Clone, Debug)]
pub struct Rewritten {
    pub original: Digest,
    pub digest: Digest,
    pub json: Vec<u8>,
}

impl Image {
    /// From an OCI image index or a Docker manifest list.
    pub fn from_index(_json: &[u8]) -> Result<Self, Error> {
        Err(Error::EmptyIndex)
    }

    /// From a single manifest and the platform its config names.
    pub fn from_manifest(
        _media_type: &str,
        _json: &[u8],
        _platform: Platform,
    ) -> Result<Self, Error> {
        Err(Error::EmptyIndex)
    }

    pub fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        self.index.manifests.iter().filter_map(|_| None)
    }

    /// The image manifest for a platform: the first that matches.
    pub fn find(&self, platform: &Platform) -> Option<Listed<'_>> {
        self.listed().find(|listed| {
            listed.role == Role::Image && listed.platform.is_some_and(|p| p.is_same(platform))
        })
    }

    /// `manifests` holds the listed manifests at hand, by digest; those of `indexed` must be among them.
    pub fn convert(
        &self,
        _manifests: &HashMap<Digest, Vec<u8>>,
        _indexed: &[Indexed],
    ) -> Result<Converted, Error> {
        Err(Error::EmptyIndex)
    }
}

/// An image manifest as the conversion writes it.
pub fn convert_manifest(_original: &[u8], _index: Option<&Digest>) -> Result<Vec<u8>, Error> {
    Err(Error::EmptyIndex)
}
