//! Prefetch artifacts: what of each layer is to be loaded first, because somebody named it or starts read it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use oci_spec::image::Digest;
use soci::media_types;
use soci::prefetch::{self, Requests};
use soci::profile::{FirstRead, LayerProfile};
use soci::spans::{SpanId, SpanTable};

use super::Settings;
use super::fate::{Fate, Indexed};
use crate::content::Content;
use crate::error::Error;
use crate::image::Variant;

pub(super) struct Artifact {
    pub(super) layer: Digest,
    pub(super) content: Content,
    pub(super) json: Bytes,
    pub(super) first: First,
}

/// What is loaded of a layer before anybody asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    pub spans: u64,
    /// Of them.
    pub of: u64,
    /// As the registry sends them.
    pub bytes: u64,
}

/// For each variant its artifacts, in layer order. A path must be in one variant at least.
pub(super) fn choose(
    image: &str,
    settings: &Settings,
    variants: &[Variant],
    fates: &HashMap<Digest, Fate>,
) -> Result<Vec<Vec<Artifact>>, Error> {
    let mut missing: Option<BTreeSet<String>> = None;
    let mut chosen = Vec::new();
    for variant in variants {
        let mut requests = Requests::new(settings.prefetch.iter().map(String::as_str))
            .map_err(Error::format("--prefetch-file"))?;
        chosen.push(one(variant, fates, settings, &mut requests)?);
        let lacks: BTreeSet<_> = requests.missing().map(ToString::to_string).collect();
        missing = Some(match missing {
            Some(missing) => missing.intersection(&lacks).cloned().collect(),
            None => lacks,
        });
    }
    let missing = missing.unwrap_or_default();
    if missing.is_empty() {
        return Ok(chosen);
    }
    let paths: Vec<_> = missing.into_iter().collect();
    Err(Error::PrefetchMissing {
        image: image.to_owned(),
        paths: paths.join(", "),
    })
}

/// From the top layer down, since upper files hide lower ones.
fn one(
    variant: &Variant,
    fates: &HashMap<Digest, Fate>,
    settings: &Settings,
    requests: &mut Requests,
) -> Result<Vec<Artifact>, Error> {
    let mut artifacts = Vec::new();
    let mut seen = HashSet::new();
    for layer in variant.layers.iter().rev() {
        let Some(Fate::Indexed(Indexed {
            contents: Some(contents),
            ..
        })) = fates.get(&layer.digest)
        else {
            continue;
        };
        if !seen.insert(layer.digest.clone()) {
            continue;
        }
        let (toc, spans) = &**contents;
        let mut wanted = Vec::new();
        if !requests.is_empty() {
            wanted = requests.layer(toc, spans);
        }
        let reads = settings.starts.first(&layer.digest);
        let reads = reads.map_or_else(Vec::new, |profile| within(profile, spans));
        wanted.extend(reads.iter().map(|read| spans.covering(read.tar.clone())));
        let artifact = prefetch::Artifact::new(wanted, reads);
        if artifact.spans.is_empty() {
            continue;
        }
        let json = artifact.to_json();
        let json = json.map_err(Error::format("prefetch artifact"))?;
        artifacts.push(Artifact {
            layer: layer.digest.clone(),
            content: Content::of(media_types::PREFETCH, &json)?,
            json: json.into(),
            first: First::new(&artifact.spans, spans),
        });
    }
    artifacts.reverse();
    Ok(artifacts)
}

/// What starts read, as far as the layer reaches.
fn within(profile: &LayerProfile, spans: &SpanTable) -> Vec<FirstRead> {
    let end = spans.uncompressed_size();
    let reads = profile.reads().iter();
    let reads = reads.filter(|read| read.tar.start < end);
    reads
        .map(|read| FirstRead {
            tar: read.tar.start..read.tar.end.min(end),
            at_ms: read.at_ms,
        })
        .collect()
}

impl First {
    fn new(ranges: &[Range<u32>], spans: &SpanTable) -> Self {
        let mut first = First {
            spans: 0,
            of: spans.len().into(),
            bytes: 0,
        };
        for span in ranges.iter().cloned().flatten() {
            let range = spans.compressed(SpanId(span)).unwrap_or_default();
            first.spans += 1;
            first.bytes += range.end - range.start;
        }
        first
    }
}
