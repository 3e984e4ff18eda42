//! What building reports: lines as the reference tool prints them, and the same facts as JSON.

use oci_spec::image::Digest;
use serde::Serialize;

use crate::error::Error;
use crate::output::Output;
use crate::pipeline::{Fate, First, Index, IndexedVariant};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    prefetch: Option<PrefetchReport>,
}

/// What is loaded of a layer before anybody asks for it.
#[derive(Serialize)]
struct PrefetchReport {
    digest: String,
    spans: u64,
    bytes: u64,
}

/// The lines about the layers, in the order of the image.
pub(super) fn lines(output: Output, variants: &[IndexedVariant]) -> Result<(), Error> {
    for variant in variants {
        for (layer, fate) in variant.variant.layers.iter().zip(&variant.fates) {
            output.line(&fate.line(layer))?;
        }
        for ((layer, artifact), first) in variant.index.iter().flat_map(Index::prefetch) {
            output.line(&format!(
                "Created prefetch artifact for layer {layer}: {}",
                artifact.digest
            ))?;
            let First { spans, of, bytes } = first;
            let text = format!("prefetch - layer {layer} {spans} of {of} spans, {bytes} bytes");
            output.line(&text)?;
        }
    }
    Ok(())
}

/// A profile may have been recorded with another version of the image.
pub(super) fn foreign(output: Output, layers: &[Digest]) -> Result<(), Error> {
    layers.iter().try_for_each(|layer| {
        output.line(&format!(
            "profile - layer {layer} is not in the image: what the profile says of it is left out"
        ))
    })
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
                        prefetch: PrefetchReport::of(variant, &layer.digest),
                    }
                })
                .collect(),
        }
    }
}

impl PrefetchReport {
    fn of(variant: &IndexedVariant, layer: &Digest) -> Option<Self> {
        let mut artifacts = variant.index.iter().flat_map(Index::prefetch);
        let ((_, artifact), first) = artifacts.find(|((of, _), _)| of == layer)?;
        Some(PrefetchReport {
            digest: artifact.digest.to_string(),
            spans: first.spans,
            bytes: first.bytes,
        })
    }
}
