//! Whether blobs can be read in parts: found out beside other requests, never before them.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use registry::{Blob, Repository};
use soci::spans::SpanTable;

use super::manifest::Manifest;

/// One probe of one blob for all layers of an image, while its index is on its way. Where the host serves parts by
/// itself, that is all there is to know: `Blob::read` copes with a blob that is an exception. Where it redirects, or
/// did not serve that one, each layer probes its own blob beside its zTOC and learns its own place.
#[derive(Clone)]
pub(super) struct Ranges(Shared<BoxFuture<'static, ()>>);

impl Ranges {
    pub(super) fn new(repository: Repository, manifest: Arc<Manifest>) -> Self {
        let probing = async move {
            let Ok(manifest) = manifest.get().await else {
                return;
            };
            // The largest is the most likely one to be read in parts.
            let largest = manifest.layers().iter().max_by_key(|layer| layer.size());
            if let Some(layer) = largest {
                let blob = repository.ranged(layer.digest(), layer.size());
                if !blob.needs_no_probe() {
                    let probed = blob.probe().await;
                    tracing::debug!(layer = %layer.digest(), ok = probed.is_ok(), "probed for ranges");
                }
            }
        };
        Self(probing.boxed().shared())
    }

    /// Probes now.
    pub(super) fn start(&self) {
        tokio::spawn(self.0.clone());
    }

    /// What a blob begins with, where it had to be asked.
    pub(super) async fn of(&self, blob: &Blob) -> Result<Option<bytes::Bytes>, String> {
        if !blob.needs_no_probe() {
            self.0.clone().await;
        }
        if blob.needs_no_probe() || blob.size() == 0 {
            return Ok(None);
        }
        let begins = blob.probe().await;
        begins
            .map(Some)
            .map_err(|error| format!("it cannot be read in ranges: {error}"))
    }
}

/// Whether a blob that begins so can be what a zTOC describes.
pub(super) fn check(begins: &[u8], spans: &SpanTable) -> Result<(), String> {
    let header = spans.header();
    let (Ok(start), Ok(end)) = (usize::try_from(header.start), usize::try_from(header.end)) else {
        return Ok(());
    };
    // A longer header than was read says nothing; its spans are checked by their digests in any case.
    match begins.get(start..end) {
        Some(header) if !header.is_empty() => soci::gzip::check_header(header)
            .map_err(|error| format!("it does not begin as its zTOC says: {error}")),
        _ => Ok(()),
    }
}
