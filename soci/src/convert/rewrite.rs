//! Manifests of a converted image, and the descriptors that name them.

use std::collections::HashMap;

use oci_spec::image::{Digest, DigestAlgorithm};

use super::{Indexed, Member, Rewritten, Role};
use crate::annotations;
use crate::canonical::{self, Annotations, Manifest};
use crate::error::Error;
use crate::media_types;

/// An image manifest as the conversion writes it: canonical, with OCI types for itself and its config, and
/// with the digest of its SOCI index if it has one. Types of layers are kept.
pub fn convert_manifest(original: &[u8], index: Option<&Digest>) -> Result<Vec<u8>, Error> {
    canonical::to_vec(&convert(parse(original)?, index))
}

fn parse(json: &[u8]) -> Result<Manifest, Error> {
    canonical::parse("image manifest", json)
}

fn convert(mut manifest: Manifest, index: Option<&Digest>) -> Manifest {
    manifest.schema_version = 2;
    manifest.media_type = media_types::MANIFEST.to_owned();
    manifest.config.media_type = media_types::IMAGE_CONFIG.to_owned();
    if let Some(index) = index {
        let key = annotations::INDEX_DIGEST.to_owned();
        manifest.annotations.insert(key, index.to_string());
    }
    manifest
}

/// What becomes of the manifests of an image.
pub(super) struct Rewrites {
    by_original: HashMap<Digest, Rewrite>,
    /// Digests before the conversion, in the order of the image.
    order: Vec<Digest>,
}

struct Rewrite {
    digest: Digest,
    json: Vec<u8>,
    /// Of an image manifest; its descriptor gets them.
    annotations: Option<Annotations>,
}

impl Rewrites {
    pub(super) fn new(
        members: &[Member],
        manifests: &HashMap<Digest, Vec<u8>>,
        indexed: &[Indexed],
    ) -> Result<Self, Error> {
        for wanted in indexed {
            let is_listed = members
                .iter()
                .any(|member| member.role == Role::Image && member.digest == wanted.manifest);
            if !is_listed {
                return refuse(
                    &wanted.manifest,
                    "it is not an image manifest of this image",
                );
            }
            if !manifests.contains_key(&wanted.manifest) {
                return Err(Error::MissingManifest(wanted.manifest.to_string()));
            }
        }
        let mut rewrites = Self {
            by_original: HashMap::new(),
            order: Vec::new(),
        };
        // Attestations name images, so images go first.
        for is_image in [true, false] {
            for member in members {
                let json = manifests.get(&member.digest);
                let Some(json) = json.filter(|_| (member.role == Role::Image) == is_image) else {
                    continue;
                };
                check_digest(&member.digest, json)?;
                let index = indexed.iter().rfind(|i| i.manifest == member.digest);
                rewrites.add(member, json, index.map(|i| &i.index))?;
            }
        }
        Ok(rewrites)
    }

    fn add(&mut self, member: &Member, json: &[u8], index: Option<&Digest>) -> Result<(), Error> {
        let (manifest, annotations) = match member.role {
            Role::Image => {
                let manifest = parse(json)?;
                if index.is_none() && !is_image(&manifest) {
                    return Ok(());
                }
                let manifest = convert(manifest, index);
                let annotations = Some(manifest.annotations.clone());
                (manifest, annotations)
            }
            Role::Attestation { .. } => match self.attestation(parse(json)?) {
                Some(manifest) => (manifest, None),
                None => return Ok(()),
            },
            Role::SociIndex | Role::Other => return Ok(()),
        };
        let json = canonical::to_vec(&manifest)?;
        let rewrite = Rewrite {
            digest: canonical::digest(&json)?,
            json,
            annotations,
        };
        let original = member.digest.clone();
        if self.by_original.insert(original.clone(), rewrite).is_none() {
            self.order.push(original);
        }
        Ok(())
    }

    /// An attestation whose subject has changed, with the new one.
    fn attestation(&self, mut manifest: Manifest) -> Option<Manifest> {
        let subject = manifest.subject.as_mut()?;
        let image = self.changed(&subject.digest)?;
        subject.media_type = media_types::MANIFEST.to_owned();
        subject.digest = image.digest.to_string();
        subject.size = image.json.len() as u64;
        subject.data.clear();
        subject.urls.clear();
        Some(manifest)
    }

    /// Makes a descriptor name the new manifests.
    pub(super) fn update(&self, member: &mut Member) {
        let descriptor = &mut member.descriptor;
        let key = match member.role {
            Role::Attestation { .. } => annotations::REFERENCE_DIGEST,
            _ => annotations::IMAGE_MANIFEST_DIGEST,
        };
        if let Some(named) = descriptor.annotations.get_mut(key)
            && let Some(image) = self.changed(named)
        {
            *named = image.digest.to_string();
        }
        let Some(rewrite) = self.by_original.get(&member.digest) else {
            return;
        };
        if rewrite.digest != member.digest {
            descriptor.data.clear();
            descriptor.urls.clear();
        }
        descriptor.media_type = media_types::MANIFEST.to_owned();
        descriptor.digest = rewrite.digest.to_string();
        descriptor.size = rewrite.json.len() as u64;
        if let Some(annotations) = &rewrite.annotations {
            descriptor.annotations = annotations.clone();
        }
    }

    /// The digest of a manifest after the conversion.
    pub(super) fn digest<'a>(&'a self, original: &'a Digest) -> &'a Digest {
        let rewrite = self.by_original.get(original);
        rewrite.map_or(original, |rewrite| &rewrite.digest)
    }

    pub(super) fn finish(mut self) -> Vec<Rewritten> {
        let rewritten = |original: Digest| {
            let rewrite = self.by_original.remove(&original)?;
            Some(Rewritten {
                original,
                digest: rewrite.digest,
                json: rewrite.json,
            })
        };
        self.order.into_iter().filter_map(rewritten).collect()
    }

    fn changed(&self, digest: &str) -> Option<&Rewrite> {
        let digest: Digest = digest.parse().ok()?;
        let rewrite = self.by_original.get(&digest)?;
        (rewrite.digest != digest).then_some(rewrite)
    }
}

fn is_image(manifest: &Manifest) -> bool {
    let kinds = [media_types::IMAGE_CONFIG, media_types::DOCKER_CONFIG];
    kinds.contains(&manifest.config.media_type.as_str())
}

fn check_digest(digest: &Digest, json: &[u8]) -> Result<(), Error> {
    if *digest.algorithm() == DigestAlgorithm::Sha256 && *digest != canonical::digest(json)? {
        return refuse(digest, "its content does not match its digest");
    }
    Ok(())
}

fn refuse<T>(digest: &Digest, reason: &str) -> Result<T, Error> {
    Err(Error::NotAnImage {
        digest: digest.to_string(),
        reason: reason.to_owned(),
    })
}
