//! Prefetch artifacts of an index: fetched beside the zTOC, applied when the layer is open, never waited for.

use std::sync::Arc;

use bytes::Bytes;
use layer::Layer;
use oci_spec::image::Digest;
use soci::profile::LayerProfile;
use tokio::task::JoinHandle;

use super::contents::Contents;
use crate::profiles::Profiles;

/// A prefetch artifact larger than this is not one.
const MAX_SIZE: u64 = 1 << 20;

/// One on its way.
pub(super) struct Artifact {
    /// Spans count too, where no start-up profile lists what is read of them.
    pub(super) spans: bool,
    digest: Digest,
    fetching: JoinHandle<Option<Result<Bytes, registry::Error>>>,
}

/// The layer it is about.
pub(super) struct About {
    pub(super) image: String,
    pub(super) manifest: Digest,
    pub(super) layer: Digest,
}

impl Artifact {
    /// Asks the registry only where nothing was learnt on this machine.
    pub(super) fn fetch(
        contents: Contents,
        profiles: Profiles,
        about: &About,
        digest: Digest,
    ) -> Self {
        let (manifest, layer, wanted) =
            (about.manifest.clone(), about.layer.clone(), digest.clone());
        let fetching = tokio::spawn(async move {
            if profiles.knows(&manifest, &layer).await {
                return None;
            }
            Some(contents.blob(&wanted, MAX_SIZE).await)
        });
        Self {
            spans: false,
            digest,
            fetching,
        }
    }

    /// A hint: without it the layer is read all the same.
    pub(super) fn apply(self, about: About, profiles: Profiles, layer: Arc<Layer>, spans: u32) {
        tokio::spawn(async move {
            let Ok(Some(fetched)) = self.fetching.await else {
                return;
            };
            let parsed = fetched
                .map_err(|error| error.to_string())
                .and_then(|json| soci::prefetch::parse(&json, spans).map_err(|e| e.to_string()));
            match parsed {
                // What was recorded here says more than the spans it lies in.
                Ok(artifact) if !artifact.reads.is_empty() && profiles.are_used() => {
                    let reads = LayerProfile::new(artifact.reads);
                    profiles
                        .shipped(&about.manifest, &about.layer, reads, &layer)
                        .await;
                }
                Ok(artifact) if self.spans => {
                    let spans = artifact.spans.into_iter();
                    spans.for_each(|range| layer.prefetch(range));
                }
                Ok(_) => {}
                Err(error) => {
                    let (image, artifact) = (about.image, self.digest);
                    tracing::warn!(image, %artifact, error, "prefetch artifact is not usable");
                }
            }
        });
    }
}
