//! Contents that a layout does not hold as files named by their digests.

use std::collections::HashMap;

use bytes::Bytes;
use oci_spec::image::Digest;

#[derive(Default)]
pub(super) struct Apart {
    /// Made here.
    pub(super) bytes: HashMap<Digest, Bytes>,
    /// Elsewhere in the layout.
    pub(super) files: HashMap<Digest, String>,
}

/// Where a layout has all others.
pub(super) fn blob(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.digest())
}
