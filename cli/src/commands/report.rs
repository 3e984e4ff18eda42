//! What building reports: lines as the reference tool prints them, and the same facts as JSON.

use serde::Serialize;

use crate::error::Error;
use crate::output::Output;
use crate::pipeline::{Fate, IndexedVariant};
use crate::platform;

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) image: String,
    pub(super) platforms: Vec<PlatformReport>,
    /// Of the converted image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// Nothing had to be stored or uploaded.
    pub(super) already_there: bool,
}

#[derive(Serialize)]
pub(super) struct PlatformReport {
    platform: String,
    manifest: String,
    /// The SOCI index; none where no layer could be indexed.
    index: Option<String>,
    layers: Vec<LayerReport>,
}

#[derive(Serialize)]
struct LayerReport {
    layer: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ztoc: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    already_exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
}

/// The lines about the layers, in the order of the image.
pub(super) fn lines(output: Output, variants: &[IndexedVariant]) -> Result<(), Error> {
    for variant in variants {
        for (layer, fate) in variant.variant.layers.iter().zip(&variant.fates) {
            output.line(&fate.line(layer))?;
        }
        for (layer, artifact) in variant.index.iter().flat_map(|index| &index.prefetch) {
            output.line(&format!(
                "Created prefetch artifact for layer {layer}: {}",
                artifact.digest
            ))?;
        }
    }
    Ok(())
}

pub(super) fn platforms(variants: &[IndexedVariant]) -> Vec<PlatformReport> {
    variants.iter().map(PlatformReport::new).collect()
}

impl PlatformReport {
    fn new(variant: &IndexedVariant) -> Self {
        let layers = variant.variant.layers.iter().zip(&variant.fates);
        PlatformReport {
            platform: platform::text(&variant.variant.platform),
            manifest: variant.variant.manifest.digest.to_string(),
            index: variant
                .index
                .as_ref()
                .map(|index| index.content.digest.to_string()),
            layers: layers
                .map(|(layer, fate)| {
                    let (ztoc, already_exists, skipped) = match fate {
                        Fate::Indexed(indexed) => {
                            (Some(indexed.ztoc.digest.to_string()), indexed.reused, None)
                        }
                        Fate::Skipped(reason) => (None, false, Some(reason.clone())),
                    };
                    LayerReport {
                        layer: layer.digest.to_string(),
                        size: layer.size,
                        ztoc,
                        already_exists,
                        skipped,
                    }
                })
                .collect(),
        }
    }
}
