//! Builds the zTOC of a layer in one pass over its blob.

mod error;

use oci_spec::image::Digest;

pub use crate::spans::Compression;
pub use error::BuildError;

/// How a zTOC is built; all of it shows in the zTOC's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Tar bytes after which a span ends at the next opportunity.
    pub span_size: u64,
    /// Free text that names the tool.
    pub build_tool: String,
    pub compression: Compression,
}

/// Takes a layer's blob in pieces of any size.
pub struct Builder {}

/// A zTOC, and what its building found out about the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub ztoc: Vec<u8>,
    /// Of the zTOC.
    pub digest: Digest,
    /// Of the blob, as the registry stores it.
    pub layer_digest: Digest,
    pub layer_size: u64,
    /// Digest of the tar.
    pub diff_id: Digest,
    pub spans: u32,
    pub files: u32,
    /// Whether a member has extended attributes.
    pub has_xattrs: bool,
    /// Whether the layer hides what a directory of a lower one holds.
    pub has_opaque: bool,
}

impl Builder {
    pub fn new(options: &BuildOptions) -> Result<Self, BuildError> {
        let _ = options;
        Ok(Self {})
    }

    /// Takes the next bytes of the blob.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        let _ = bytes;
        Ok(())
    }

    /// The zTOC, once all of the blob was pushed.
    pub fn finish(self) -> Result<Built, BuildError> {
        Err(BuildError::Unsupported {
            what: "every layer, until the builder is written".to_owned(),
        })
    }
}
