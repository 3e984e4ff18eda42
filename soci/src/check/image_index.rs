//! A converted image: how its manifests and SOCI indexes are tied together.

use std::collections::HashMap;

use oci_spec::image::Digest;

use crate::annotations;
use crate::canonical::{self, Annotations, Descriptor, Index, Manifest, Platform};
use crate::finding::{Finding, Findings, quote};
use crate::media_types;
use crate::sha256;

/// Checks how a converted image ties its manifests and SOCI indexes together. `manifests` holds those at
/// hand, by digest; of the others only the descriptors are looked at.
pub fn check_image_index(json: &[u8], manifests: &HashMap<Digest, Vec<u8>>) -> Vec<Finding> {
    let mut findings = Findings::new(sha256::text(&sha256::sum(json)));
    let index: Index = match canonical::parse("image index", json) {
        Ok(index) => index,
        Err(error) => {
            findings.error("index-refused", error.to_string());
            return findings.finish();
        }
    };
    if canonical::to_vec(&index).ok().as_deref() != Some(json) {
        let text = "the image index is not written as the tools write it: converting it again changes its digest";
        findings.note("not-canonical", text);
    }
    let mut last_image = None;
    let mut first_soci = None;
    for (position, descriptor) in index.manifests.iter().enumerate() {
        let content = content(descriptor, manifests, &mut findings);
        if is_soci(descriptor) {
            first_soci = first_soci.or(Some(position));
            soci(descriptor, &index, content.as_ref(), &mut findings);
        } else if is_manifest(descriptor) && !is_attestation(descriptor) {
            last_image = Some(position);
            image(descriptor, &index, content.as_ref(), &mut findings);
        } else if let Some(of) = descriptor.annotations.get(annotations::REFERENCE_DIGEST)
            && find(&index, of).is_none()
        {
            let digest = &descriptor.digest;
            let of = quote(of.as_bytes());
            let text = format!("attestation {digest} is about {of}, which the image does not list");
            findings.warning("attestation-dangling", text);
        }
    }
    if first_soci.is_some() && first_soci < last_image {
        findings.error(
            "order",
            "a SOCI index is listed before an image: runtimes take the first manifest of their platform",
        );
    }
    findings.finish()
}

fn is_soci(descriptor: &Descriptor) -> bool {
    let kind = descriptor.artifact_type.as_str();
    [media_types::INDEX_V1, media_types::INDEX_V2].contains(&kind)
        || descriptor
            .annotations
            .contains_key(annotations::IMAGE_MANIFEST_DIGEST)
}

fn is_manifest(descriptor: &Descriptor) -> bool {
    let kind = descriptor.media_type.as_str();
    [media_types::MANIFEST, media_types::DOCKER_MANIFEST].contains(&kind)
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    let platform = descriptor.platform.as_ref();
    descriptor
        .annotations
        .contains_key(annotations::REFERENCE_TYPE)
        || platform.is_some_and(|platform| platform.os == "unknown")
}

fn find<'a>(index: &'a Index, digest: &str) -> Option<&'a Descriptor> {
    index
        .manifests
        .iter()
        .find(|descriptor| descriptor.digest == digest)
}

/// The listed manifest, if it is at hand and what its descriptor says.
fn content(
    descriptor: &Descriptor,
    manifests: &HashMap<Digest, Vec<u8>>,
    findings: &mut Findings,
) -> Option<Manifest> {
    let digest = &descriptor.digest;
    let Ok(key) = digest.parse::<Digest>() else {
        let text = format!("{} is not a digest", quote(digest.as_bytes()));
        findings.error("digest-malformed", text);
        return None;
    };
    let bytes = manifests.get(&key)?;
    if sha256::text(&sha256::sum(bytes)) != *digest || bytes.len() as u64 != descriptor.size {
        let text =
            format!("the content of {digest} has another digest or size than its descriptor says");
        findings.error("manifest-digest", text);
        return None;
    }
    match canonical::parse("manifest", bytes) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            findings.error("manifest-refused", format!("{digest}: {error}"));
            None
        }
    }
}

fn soci(
    descriptor: &Descriptor,
    index: &Index,
    content: Option<&Manifest>,
    findings: &mut Findings,
) {
    let digest = &descriptor.digest;
    if descriptor.artifact_type != media_types::INDEX_V2 {
        let kind = &descriptor.artifact_type;
        let text = format!("SOCI index {digest} has artifact type {kind:?} in the list");
        findings.error("artifact-type", text);
    }
    if descriptor.media_type != media_types::MANIFEST {
        let text = format!(
            "SOCI index {digest} is listed as {:?}",
            descriptor.media_type
        );
        findings.error("soci-media-type", text);
    }
    if content.is_some_and(|content| content.config.media_type != media_types::INDEX_V2) {
        let text = format!("{digest} is listed as a SOCI index of version 2 but is none");
        findings.error("config-type", text);
    }
    let Some(image) = descriptor
        .annotations
        .get(annotations::IMAGE_MANIFEST_DIGEST)
    else {
        let text = format!("SOCI index {digest} does not say which image it is for");
        findings.warning("image-annotation", text);
        return;
    };
    let Some(image) = find(index, image) else {
        let text = format!(
            "SOCI index {digest} is for {}, which is not listed",
            quote(image.as_bytes())
        );
        findings.error("image-annotation", text);
        return;
    };
    if image.annotations.get(annotations::INDEX_DIGEST) != Some(digest) {
        let text = format!(
            "SOCI index {digest} is for {}, whose descriptor does not name it",
            image.digest
        );
        findings.warning("image-annotation", text);
    }
    let platforms = [descriptor, image].map(|d| d.platform.as_ref().map(Platform::normalized));
    if platforms[0] != platforms[1] {
        let text = format!(
            "SOCI index {digest} is listed for another platform than its image {}",
            image.digest
        );
        findings.warning("platform", text);
    }
}

fn image(
    descriptor: &Descriptor,
    index: &Index,
    content: Option<&Manifest>,
    findings: &mut Findings,
) {
    let digest = &descriptor.digest;
    let of = |annotations: &Annotations| annotations.get(annotations::INDEX_DIGEST).cloned();
    let listed = of(&descriptor.annotations);
    let named = content.map_or_else(|| listed.clone(), |content| of(&content.annotations));
    if named != listed {
        let text = format!("image {digest} and its descriptor name different SOCI indexes");
        findings.warning("index-annotation", text);
    }
    let Some(named) = named else {
        let text = format!("image {digest} has no SOCI index");
        findings.note("not-indexed", text);
        return;
    };
    let soci = find(index, &named);
    if !soci.is_some_and(is_soci) {
        let named = quote(named.as_bytes());
        let text = format!(
            "image {digest} names SOCI index {named}, which the image does not list: a copy of the image \
             loses it"
        );
        findings.error("index-annotation", text);
    }
}
