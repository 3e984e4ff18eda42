//! A piece of an image, named by its digest.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use oci_spec::image::Digest;
use soci::canonical::{self, Descriptor};
use soci::media_types;

use crate::error::Error;

/// What every store can find.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
}

/// The bytes of a content as they arrive, not verified.
pub(crate) type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// Largest content that is read at once: a zTOC. Layers are streamed.
pub(crate) const MAX_BLOB: u64 = 256 << 20;

impl Content {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Content {
            media_type: media_type.to_owned(),
            digest,
            size,
        }
    }

    /// Names bytes at hand.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Result<Self, Error> {
        let digest = canonical::digest(bytes).map_err(Error::format("digest"))?;
        Ok(Content::new(media_type, digest, bytes.len() as u64))
    }

    pub(crate) fn from_descriptor(descriptor: &Descriptor) -> Result<Self, Error> {
        let digest = descriptor
            .digest
            .parse::<Digest>()
            .map_err(|error| Error::Malformed {
                what: format!("digest {:?}", descriptor.digest),
                reason: error.to_string(),
            })?;
        Ok(Content::new(
            &descriptor.media_type,
            digest,
            descriptor.size,
        ))
    }

    pub(crate) fn to_descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.to_string(),
            size: self.size,
            ..Descriptor::default()
        }
    }

    /// An OCI image index or a Docker manifest list.
    pub(crate) fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            media_types::IMAGE_INDEX | media_types::DOCKER_LIST
        )
    }

    pub(crate) fn is_manifest(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            media_types::MANIFEST | media_types::DOCKER_MANIFEST
        )
    }

    /// Most bytes that reading this at once may take.
    pub(crate) fn limit(&self) -> u64 {
        if self.is_index() || self.is_manifest() {
            canonical::MAX_LEN
        } else {
            MAX_BLOB
        }
    }

    /// Bytes from a store that does not check them itself.
    pub(crate) fn check(&self, bytes: Bytes, place: &str) -> Result<Bytes, Error> {
        let actual = canonical::digest(&bytes).map_err(Error::format("digest"))?;
        if actual == self.digest {
            return Ok(bytes);
        }
        Err(Error::Malformed {
            what: format!("{} in {place}", self.digest),
            reason: format!("its bytes have digest {actual}"),
        })
    }
}
