//! What pushing says and is given.

use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use oci_spec::image::{Descriptor, Digest};

/// The content of a blob from some offset to its end.
pub type BlobBody = BoxStream<'static, io::Result<Bytes>>;

/// What became of content that the registry now has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Uploaded,
    /// It was there already.
    Present,
    /// Taken from another repository of the registry.
    Mounted,
}

/// A manifest that the registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedManifest {
    pub digest: Digest,
    pub pushed: Pushed,
    /// What the registry does not do by itself: see [`Repository::add_referrer`](crate::Repository::add_referrer).
    /// `None` where the manifest has no subject, or the registry lists it.
    pub unlisted: Option<Referrer>,
}

/// What a list of referrers says of one manifest, and of what it is the referrer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    pub subject: Digest,
    pub descriptor: Descriptor,
}
