//! SOCI index manifests out of the zTOCs of an image's layers.

use std::collections::HashMap;

use bytes::Bytes;
use oci_spec::image::Digest;
use soci::manifest::{CONFIG, IndexSpec, PrefetchEntry, Subject, ZtocEntry};
use soci::media_types;

use super::Settings;
use super::fate::Fate;
use super::prefetch::{Artifact, First};
use crate::content::Content;
use crate::error::Error;
use crate::image::Variant;

/// One platform of an image.
pub(crate) struct IndexedVariant {
    pub variant: Variant,
    /// Of each layer.
    pub fates: Vec<Fate>,
    /// `None` where no layer could be indexed.
    pub index: Option<Index>,
}

/// A SOCI index, not yet stored; its blobs are.
#[derive(Clone)]
pub(crate) struct Index {
    pub content: Content,
    pub json: Bytes,
    pub config: Content,
    /// By layer; only the first of equal ones.
    pub ztocs: Vec<(Digest, Content)>,
    /// Of the zTOCs.
    pub span_sizes: Vec<u64>,
    pub prefetch: Vec<(Digest, Content)>,
    /// What the prefetch artifacts ask for.
    pub first: Vec<First>,
}

impl Index {
    pub(crate) fn config_bytes() -> Bytes {
        Bytes::from_static(CONFIG)
    }

    /// Prefetch artifacts by layer, with what they ask for.
    pub(crate) fn prefetch(&self) -> impl Iterator<Item = (&(Digest, Content), &First)> {
        self.prefetch.iter().zip(&self.first)
    }

    pub(crate) fn blobs(&self) -> Vec<Content> {
        let blobs = self.ztocs.iter().chain(&self.prefetch);
        blobs.map(|(_, content)| content.clone()).collect()
    }
}

pub(super) fn build(
    settings: &Settings,
    variant: &Variant,
    fates: &HashMap<Digest, Fate>,
    prefetch: Vec<Artifact>,
) -> Result<Option<Index>, Error> {
    let mut entries = Vec::new();
    let mut ztocs: Vec<(Digest, Content)> = Vec::new();
    let mut span_sizes = Vec::new();
    for layer in &variant.layers {
        let Some(Fate::Indexed(indexed)) = fates.get(&layer.digest) else {
            continue;
        };
        entries.push(ZtocEntry {
            digest: indexed.ztoc.digest.clone(),
            size: indexed.ztoc.size,
            layer: layer.digest.clone(),
            layer_media_type: layer.media_type.clone(),
            span_size: indexed.span_size,
            disable_xattrs: indexed.disable_xattrs,
        });
        if !ztocs.iter().any(|(known, _)| *known == layer.digest) {
            ztocs.push((layer.digest.clone(), indexed.ztoc.clone()));
            span_sizes.push(indexed.span_size);
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let spec = IndexSpec {
        ztocs: entries,
        prefetch: prefetch
            .iter()
            .map(|artifact| PrefetchEntry {
                digest: artifact.content.digest.clone(),
                size: artifact.content.size,
                layer: artifact.layer.clone(),
            })
            .collect(),
        subject: settings.with_subject.then(|| Subject {
            media_type: variant.manifest.media_type.clone(),
            digest: variant.manifest.digest.clone(),
            size: variant.manifest.size,
        }),
        build_tool: settings.build_tool.clone(),
    };
    let config_type = spec.version().config_media_type();
    let json = spec.to_json().map_err(Error::format("SOCI index"))?;
    Ok(Some(Index {
        content: Content::of(media_types::MANIFEST, &json)?,
        json: json.into(),
        config: Content::of(config_type, CONFIG)?,
        ztocs,
        span_sizes,
        first: prefetch.iter().map(|artifact| artifact.first).collect(),
        prefetch: prefetch
            .into_iter()
            .map(|artifact| (artifact.layer, artifact.content))
            .collect(),
    }))
}
