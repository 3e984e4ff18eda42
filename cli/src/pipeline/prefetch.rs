//! Prefetch artifacts: which layers hold the paths that somebody wants loaded first.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use oci_spec::image::Digest;
use soci::media_types;
use soci::prefetch::{self, Requests};

use super::fate::{Fate, Indexed};
use crate::content::Content;
use crate::error::Error;
use crate::image::Variant;

pub(super) struct Artifact {
    pub(super) layer: Digest,
    pub(super) content: Content,
    pub(super) json: Bytes,
}

/// For each variant its artifacts, in layer order. A path must be in one variant at least.
pub(super) fn choose(
    image: &str,
    paths: &[String],
    variants: &[Variant],
    fates: &HashMap<Digest, Fate>,
) -> Result<Vec<Vec<Artifact>>, Error> {
    if paths.is_empty() {
        return Ok(variants.iter().map(|_| Vec::new()).collect());
    }
    let mut missing: Option<BTreeSet<String>> = None;
    let mut chosen = Vec::new();
    for variant in variants {
        let mut requests = Requests::new(paths.iter().map(String::as_str))
            .map_err(Error::format("--prefetch-file"))?;
        let artifacts = one(variant, fates, &mut requests)?;
        chosen.push(artifacts);
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
        let ranges = requests.layer(toc, spans);
        if ranges.is_empty() {
            continue;
        }
        let json = prefetch::Artifact::of_spans(ranges);
        let json = json.to_json().map_err(Error::format("prefetch artifact"))?;
        artifacts.push(Artifact {
            layer: layer.digest.clone(),
            content: Content::of(media_types::PREFETCH, &json)?,
            json: json.into(),
        });
    }
    artifacts.reverse();
    Ok(artifacts)
}
