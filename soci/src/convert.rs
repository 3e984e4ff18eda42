//! Images with their SOCI indexes built in (v2): the arithmetic of `soci convert`.
//!
//! The result is what the reference tool writes, byte for byte, except where that would be wrong:
//!
//! - SOCI indexes that an image already lists are never rewritten as if they were images. The reference
//!   does so, which is why it cannot convert a converted image for some of its platforms.
//! - Attestations keep the annotations of their descriptors, and the digest in them follows the image
//!   manifest; so does the `subject` of an attestation that has one. The reference drops the annotations,
//!   and nobody can tell any more what the attestation is about. Attestations without a `subject` keep
//!   their bytes and so their digest.
//! - Nested indexes and artifacts that are no images stay as they are. The reference would overwrite the
//!   config type of an artifact and lose the members of an index.
//! - Descriptors that name new content lose `data` and `urls`, which hold the old content.
//! - SOCI indexes always follow all image manifests, also where another tool had listed one before them:
//!   runtimes take the first manifest of their platform.
//! - A SOCI index is replaced by the one for the same image manifest; the platform decides only where the
//!   old one belongs to no listed image. Two manifests of one platform each keep theirs.
//! - Manifests with duplicate members, or whose bytes are not those of their digest, are refused.

mod rewrite;

use std::collections::HashMap;

use oci_spec::image::Digest;

use crate::annotations;
use crate::canonical::{self, Descriptor, Index, Platform};
use crate::error::Error;
use crate::media_types;
use rewrite::Rewrites;

pub use rewrite::convert_manifest;

/// An image as it is before the conversion: one manifest, or several under an index.
#[derive(Clone, Debug)]
pub struct Image {
    /// Without its manifests.
    index: Index,
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    digest: Digest,
    role: Role,
    descriptor: Descriptor,
}

/// What a manifest listed by an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Image,
    /// Says something about the image manifest with this digest, as BuildKit's attestations do.
    Attestation {
        of: Option<Digest>,
    },
    SociIndex,
    /// A nested index, or another artifact.
    Other,
}

/// A manifest listed by an image.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    pub digest: &'a Digest,
    pub size: u64,
    pub media_type: &'a str,
    pub platform: Option<&'a Platform>,
    pub role: &'a Role,
}

/// A SOCI index that has been built for one of the listed image manifests.
#[derive(Clone, Debug)]
pub struct Indexed {
    /// Digest of the image manifest, as it was before the conversion.
    pub manifest: Digest,
    /// As it was asked for; becomes the platform of the SOCI index's descriptor.
    pub platform: Platform,
    pub index: Digest,
    pub index_size: u64,
}

/// The result of a conversion: what is to be stored besides the SOCI indexes.
#[derive(Clone, Debug)]
pub struct Converted {
    pub digest: Digest,
    /// The OCI image index.
    pub json: Vec<u8>,
    /// The manifests that were converted, whether or not that changed them.
    pub manifests: Vec<Rewritten>,
}

#[derive(Clone, Debug)]
pub struct Rewritten {
    pub original: Digest,
    pub digest: Digest,
    pub json: Vec<u8>,
}

impl Image {
    /// From an OCI image index or a Docker manifest list.
    pub fn from_index(json: &[u8]) -> Result<Self, Error> {
        let mut index: Index = canonical::parse("image index", json)?;
        let kinds = ["", media_types::IMAGE_INDEX, media_types::DOCKER_LIST];
        if !kinds.contains(&index.media_type.as_str()) {
            return Err(Error::NotAnImage {
                reason: format!("its media type is {:?}", index.media_type),
                digest: canonical::digest(json)?.to_string(),
            });
        }
        let members = std::mem::take(&mut index.manifests).into_iter();
        Ok(Self {
            index: Index {
                schema_version: 2,
                media_type: media_types::IMAGE_INDEX.to_owned(),
                ..index
            },
            members: members.map(Member::new).collect::<Result<_, _>>()?,
        })
    }

    /// From a single manifest and the platform its config names.
    pub fn from_manifest(media_type: &str, json: &[u8], platform: Platform) -> Result<Self, Error> {
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: canonical::digest(json)?.to_string(),
            size: json.len() as u64,
            platform: Some(platform),
            ..Descriptor::default()
        };
        Ok(Self {
            index: Index {
                schema_version: 2,
                media_type: media_types::IMAGE_INDEX.to_owned(),
                ..Index::default()
            },
            members: vec![Member::new(descriptor)?],
        })
    }

    pub fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        self.members.iter().map(|member| Listed {
            digest: &member.digest,
            size: member.descriptor.size,
            media_type: &member.descriptor.media_type,
            platform: member.descriptor.platform.as_ref(),
            role: &member.role,
        })
    }

    /// The image manifest for a platform: the first that matches.
    pub fn find(&self, platform: &Platform) -> Option<Listed<'_>> {
        self.listed().find(|listed| {
            *listed.role == Role::Image && listed.platform.is_some_and(|p| p.is_same(platform))
        })
    }

    /// The image with these SOCI indexes. `manifests` holds the listed manifests at hand, by digest; those
    /// of `indexed` must be among them.
    pub fn convert(
        &self,
        manifests: &HashMap<Digest, Vec<u8>>,
        indexed: &[Indexed],
    ) -> Result<Converted, Error> {
        let rewrites = Rewrites::new(&self.members, manifests, indexed)?;
        let mut members = self.members.clone();
        for member in &mut members {
            rewrites.update(member);
        }
        for indexed in indexed {
            add(&mut members, indexed, rewrites.digest(&indexed.manifest))?;
        }
        put_in_order(&mut members);

        let manifests = members.into_iter().map(|member| member.descriptor);
        let json = canonical::to_vec(&Index {
            manifests: manifests.collect(),
            ..self.index.clone()
        })?;
        Ok(Converted {
            digest: canonical::digest(&json)?,
            json,
            manifests: rewrites.finish(),
        })
    }
}

impl Member {
    fn new(descriptor: Descriptor) -> Result<Self, Error> {
        let digest = descriptor.digest.parse().map_err(|_| Error::Digest {
            what: "digest of a listed manifest",
            text: descriptor.digest.chars().take(100).collect(),
        })?;
        Ok(Self {
            digest,
            role: role(&descriptor),
            descriptor,
        })
    }

    /// The image manifest that a SOCI index says it belongs to.
    fn image(&self) -> Option<&str> {
        let image = self
            .descriptor
            .annotations
            .get(annotations::IMAGE_MANIFEST_DIGEST);
        image.map(String::as_str)
    }
}

fn role(descriptor: &Descriptor) -> Role {
    let annotation = |key: &str| descriptor.annotations.get(key);
    let kind = descriptor.artifact_type.as_str();
    if [media_types::INDEX_V1, media_types::INDEX_V2].contains(&kind)
        || annotation(annotations::IMAGE_MANIFEST_DIGEST).is_some()
    {
        return Role::SociIndex;
    }
    if annotation(annotations::REFERENCE_TYPE).is_some() {
        let of = annotation(annotations::REFERENCE_DIGEST);
        let of = of.and_then(|digest| digest.parse().ok());
        return Role::Attestation { of };
    }
    let platform = descriptor.platform.as_ref();
    if platform.is_some_and(|p| p.os == "unknown" && p.architecture == "unknown") {
        return Role::Attestation { of: None };
    }
    let is_manifest = [media_types::MANIFEST, media_types::DOCKER_MANIFEST]
        .contains(&descriptor.media_type.as_str());
    match kind {
        "" | media_types::IMAGE_CONFIG if is_manifest => Role::Image,
        _ => Role::Other,
    }
}

/// Puts a SOCI index where the old one for the same image is, or last. `image` is the digest of the
/// converted image manifest.
fn add(members: &mut Vec<Member>, indexed: &Indexed, image: &Digest) -> Result<(), Error> {
    let descriptor = Descriptor {
        media_type: media_types::MANIFEST.to_owned(),
        digest: indexed.index.to_string(),
        size: indexed.index_size,
        annotations: [(
            annotations::IMAGE_MANIFEST_DIGEST.to_owned(),
            image.to_string(),
        )]
        .into(),
        platform: Some(indexed.platform.clone()),
        artifact_type: media_types::INDEX_V2.to_owned(),
        ..Descriptor::default()
    };
    let place = place(members, &indexed.platform, image.as_ref());
    let member = Member::new(descriptor)?;
    match place.and_then(|place| members.get_mut(place)) {
        Some(old) => *old = member,
        None => members.push(member),
    }
    Ok(())
}

fn place(members: &[Member], platform: &Platform, image: &str) -> Option<usize> {
    let replaceable = |member: &Member| {
        member.role == Role::SociIndex && member.descriptor.artifact_type == media_types::INDEX_V2
    };
    let is_listed = |image: &str| {
        let mut images = members.iter().filter(|member| member.role == Role::Image);
        images.any(|member| member.descriptor.digest == image)
    };
    let same_image = |member: &Member| member.image() == Some(image);
    let same_platform = |member: &Member| {
        let theirs = member.descriptor.platform.as_ref();
        theirs.is_some_and(|theirs| theirs.is_same(platform))
            && !member.image().is_some_and(is_listed)
    };
    let position = |wanted: &dyn Fn(&Member) -> bool| {
        let mut members = members.iter();
        members.position(|member| replaceable(member) && wanted(member))
    };
    position(&same_image).or_else(|| position(&same_platform))
}

/// Moves SOCI indexes behind the last image where one comes before it.
fn put_in_order(members: &mut [Member]) {
    let first_soci = members.iter().position(|m| m.role == Role::SociIndex);
    let last_image = members.iter().rposition(|m| m.role == Role::Image);
    if first_soci < last_image && first_soci.is_some() {
        // Stable: nothing else moves.
        members.sort_by_key(|member| member.role == Role::SociIndex);
    }
}
