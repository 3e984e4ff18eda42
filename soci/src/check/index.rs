//! A SOCI index manifest, by itself and against the manifest of its image.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::annotations;
use crate::canonical::{self, Descriptor, Manifest};
use crate::finding::{Finding, Findings, quote};
use crate::limits::Limits;
use crate::manifest::{CONFIG, CONFIG_DIGEST};
use crate::media_types;
use crate::sha256;

/// Longest prefetch artifact that is read.
const MAX_PREFETCH: u64 = 4 << 20;

/// Checks a SOCI index manifest, by itself and against the image manifest it was built for.
pub fn check_index(json: &[u8], manifest: Option<&[u8]>) -> Vec<Finding> {
    let digest = sha256::text(&sha256::sum(json));
    let mut findings = Findings::new(digest.clone());
    let index: Manifest = match canonical::parse("SOCI index", json) {
        Ok(index) => index,
        Err(error) => {
            findings.error("index-refused", error.to_string());
            return findings.finish();
        }
    };
    form(&index, json, &mut findings);
    config(&index, &mut findings);
    if !index.annotations.contains_key(annotations::BUILD_TOOL) {
        findings.note("build-tool", "the index does not say what built it");
    }
    let mut blobs = Blobs::default();
    for descriptor in index.layers.iter().flatten() {
        blobs.add(descriptor, &mut findings);
    }
    blobs.finish(&mut findings);
    match manifest.map(|manifest| (manifest, canonical::parse("image manifest", manifest))) {
        Some((bytes, Ok(image))) => {
            against_image(&index, &digest, bytes, &image, &mut findings);
        }
        Some((_, Err(error))) => findings.error("manifest-refused", error.to_string()),
        None => {}
    }
    findings.finish()
}

/// AWS's snapshotter writes an index again and stores it under the old digest.
fn form(index: &Manifest, json: &[u8], findings: &mut Findings) {
    let rewritten = canonical::to_vec(&Manifest {
        schema_version: 2,
        media_type: media_types::MANIFEST.to_owned(),
        artifact_type: String::new(),
        ..index.clone()
    });
    if rewritten.ok().as_deref() != Some(json) {
        let member = foreign_member(json);
        let member = member.map_or_else(String::new, |member| format!(" (member {member:?})"));
        findings.error(
            "not-canonical",
            format!(
                "the index is not written as AWS's snapshotter would write it{member}: it stores what it \
                 wrote under the old digest, fails, and does not load the image lazily"
            ),
        );
    }
}

/// The member that breaks the form most often.
fn foreign_member(json: &[u8]) -> Option<String> {
    const KNOWN: [&str; 6] = [
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "subject",
        "annotations",
    ];
    let members =
        HashMap::<String, Value>::deserialize(&mut serde_json::Deserializer::from_slice(json));
    let mut foreign: Vec<_> = members.ok()?.into_keys().collect();
    foreign.retain(|member| !KNOWN.contains(&member.as_str()));
    foreign.into_iter().min()
}

fn config(index: &Manifest, findings: &mut Findings) {
    let kind = index.config.media_type.as_str();
    match kind {
        media_types::INDEX_V1 if index.subject.is_none() => {
            findings.error(
                "subject",
                "a v1 index names its image as subject, this one names none",
            );
        }
        media_types::INDEX_V2 if index.subject.is_some() => {
            findings.warning("subject", "a v2 index has no subject, this one has");
        }
        media_types::INDEX_V1 | media_types::INDEX_V2 => {}
        _ => {
            let text = format!("the config media type is {kind:?}: this is no SOCI index");
            findings.error("config-type", text);
        }
    }
    if index.config.digest != CONFIG_DIGEST || index.config.size != CONFIG.len() as u64 {
        let digest = &index.config.digest;
        let text = format!("the config is {digest}, not {{}}: readers may not find it");
        findings.warning("config-blob", text);
    }
}

/// Blobs of an index by the layer they belong to.
#[derive(Default)]
struct Blobs {
    ztocs: HashMap<String, String>,
    prefetch: HashMap<String, String>,
}

impl Blobs {
    fn add(&mut self, descriptor: &Descriptor, findings: &mut Findings) {
        let digest = &descriptor.digest;
        let is_ztoc = descriptor.media_type == media_types::ZTOC;
        if !is_ztoc && descriptor.media_type != media_types::PREFETCH {
            let kind = &descriptor.media_type;
            let text = format!("{digest} is neither a zTOC nor a prefetch artifact but {kind:?}");
            findings.warning("blob-type", text);
            return;
        }
        if sha256::parse(digest.as_bytes()).is_none() {
            let text = format!("{} is not a sha256 digest", quote(digest.as_bytes()));
            findings.error("digest-malformed", text);
        }
        let limit = if is_ztoc {
            Limits::default().blob
        } else {
            MAX_PREFETCH
        };
        if descriptor.size > limit {
            let size = descriptor.size;
            let text = format!("{digest} has {size} bytes, readers take {limit}");
            findings.error("size-limit", text);
        }
        let Some(layer) = descriptor.annotations.get(annotations::LAYER_DIGEST) else {
            let text = format!("{digest} does not say which layer it is for");
            findings.error("layer-annotation", text);
            return;
        };
        if sha256::parse(layer.as_bytes()).is_none() {
            let layer = quote(layer.as_bytes());
            let text = format!("{digest} is said to be for {layer}, which is not a sha256 digest");
            findings.error("layer-annotation", text);
        }
        if is_ztoc {
            ztoc_annotations(descriptor, findings);
        }
        let known = if is_ztoc {
            &mut self.ztocs
        } else {
            &mut self.prefetch
        };
        let what = if is_ztoc { "zTOC" } else { "prefetch artifact" };
        match known.insert(layer.clone(), digest.clone()) {
            Some(other) if other != *digest => {
                let text = format!("layer {layer} has two {what}s, {other} and {digest}");
                findings.error("duplicate", text);
            }
            Some(_) => {
                let text = format!("the {what} of layer {layer} is listed twice");
                findings.note("duplicate", text);
            }
            None => {}
        }
    }

    fn finish(&self, findings: &mut Findings) {
        if self.ztocs.is_empty() {
            findings.error("empty-index", "the index lists no zTOC");
        }
        if !self.prefetch.is_empty() {
            findings.warning(
                "prefetch-old-readers",
                "the index lists prefetch artifacts: snapshotters before v0.13.0 take them for zTOCs and \
                 cannot load their layers lazily",
            );
        }
        let mut layers: Vec<_> = self.prefetch.keys().collect();
        layers.retain(|layer| !self.ztocs.contains_key(*layer));
        layers.sort_unstable();
        for layer in layers {
            let text = format!("layer {layer} has a prefetch artifact but no zTOC");
            findings.warning("prefetch-without-ztoc", text);
        }
    }
}

fn ztoc_annotations(descriptor: &Descriptor, findings: &mut Findings) {
    let digest = &descriptor.digest;
    let annotation = |key: &str| descriptor.annotations.get(key);
    match annotation(annotations::SPAN_SIZE) {
        Some(size) if size.parse::<u64>().map(|size| size.to_string()).as_ref() != Ok(size) => {
            let size = quote(size.as_bytes());
            let text = format!("the span size of zTOC {digest} is said to be {size}");
            findings.warning("span-size", text);
        }
        Some(_) => {}
        None => {
            let text = format!("the span size of zTOC {digest} is not said");
            findings.note("annotation-missing", text);
        }
    }
    if annotation(annotations::LAYER_MEDIA_TYPE).is_none() {
        let text = format!("the media type of the layer of zTOC {digest} is not said");
        findings.note("annotation-missing", text);
    }
    if let Some(value) = annotation(annotations::DISABLE_XATTRS)
        && value != "true"
    {
        let value = quote(value.as_bytes());
        let text = format!(
            "zTOC {digest} has {} = {value}, tools write only \"true\"",
            annotations::DISABLE_XATTRS
        );
        findings.warning("disable-xattrs", text);
    }
}

fn against_image(
    index: &Manifest,
    digest: &str,
    bytes: &[u8],
    image: &Manifest,
    findings: &mut Findings,
) {
    let image_digest = sha256::text(&sha256::sum(bytes));
    match &index.subject {
        Some(subject) => {
            let is_right = subject.digest == image_digest && subject.size == bytes.len() as u64;
            if !is_right {
                let (told, size, real) = (&subject.digest, subject.size, bytes.len());
                let text = format!(
                    "the subject is {told} of {size} bytes, the image manifest {image_digest} of {real}"
                );
                findings.error("subject", text);
            }
            let (told, real) = (&subject.media_type, &image.media_type);
            if is_right && told != real && !real.is_empty() {
                let text = format!("the subject's media type is {told:?}, the manifest's {real:?}");
                findings.warning("subject", text);
            }
        }
        None => annotation(digest, image, findings),
    }

    let layers: Vec<&Descriptor> = image.layers.iter().flatten().collect();
    let mut position = 0;
    for descriptor in index.layers.iter().flatten() {
        let Some(layer) = descriptor.annotations.get(annotations::LAYER_DIGEST) else {
            continue;
        };
        let Some(found) = layers.iter().find(|found| found.digest == *layer) else {
            let text = format!(
                "the image has no layer {layer}, which {} is for",
                descriptor.digest
            );
            findings.error("layer-unknown", text);
            continue;
        };
        if descriptor.media_type != media_types::ZTOC {
            continue;
        }
        let told = descriptor.annotations.get(annotations::LAYER_MEDIA_TYPE);
        if told.is_some_and(|told| *told != found.media_type) {
            let (told, real) = (
                told.map(String::as_str).unwrap_or_default(),
                &found.media_type,
            );
            let text = format!("layer {layer} is said to be {told:?}, the image says {real:?}");
            findings.warning("layer-media-type", text);
        }
        let ahead = layers
            .iter()
            .skip(position)
            .position(|found| found.digest == *layer);
        match ahead {
            Some(ahead) => position += ahead + 1,
            None => findings.note(
                "order",
                format!("the zTOC of layer {layer} is not in the order of the image's layers"),
            ),
        }
    }
    for layer in layers {
        let is_indexed = index.layers.iter().flatten().any(|descriptor| {
            descriptor.media_type == media_types::ZTOC
                && descriptor.annotations.get(annotations::LAYER_DIGEST) == Some(&layer.digest)
        });
        if !is_indexed {
            let (digest, size) = (&layer.digest, layer.size);
            let text = format!("layer {digest} of {size} bytes has no zTOC and is pulled whole");
            findings.note("not-indexed", text);
        }
    }
}

/// The annotation by which readers find a v2 index.
fn annotation(digest: &str, image: &Manifest, findings: &mut Findings) {
    match image.annotations.get(annotations::INDEX_DIGEST) {
        Some(named) if named == digest => {}
        Some(named) => {
            let named = quote(named.as_bytes());
            let text = format!("the image names another SOCI index, {named}: this one is not used");
            findings.error("index-annotation", text);
        }
        None => findings.error(
            "index-annotation",
            "the image does not name this SOCI index: readers do not find it",
        ),
    }
}
