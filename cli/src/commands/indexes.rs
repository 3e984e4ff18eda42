//! Finds the SOCI indexes of an image, wherever they are tied to it.

use std::collections::HashSet;

use bytes::Bytes;
use oci_spec::image::Digest;
use soci::canonical::{Index, Manifest};
use soci::convert::Role;
use soci::finding::{Finding, Severity};
use soci::{annotations, media_types};

use super::places::Place;
use crate::content::Content;
use crate::error::Error;
use crate::image::{Image, Selection, parse};
use crate::store::Source;
use crate::store::source::read;

/// A SOCI index and the image manifest that it is about.
pub(super) struct Found {
    pub(super) content: Content,
    pub(super) json: Bytes,
    pub(super) manifest: Manifest,
    /// Nothing says so of a v2 index that is looked at alone.
    pub(super) image: Option<(Content, Bytes)>,
}

#[derive(Default)]
pub(super) struct Search {
    pub(super) found: Vec<Found>,
    /// Ties that lead nowhere.
    pub(super) findings: Vec<Finding>,
}

impl Search {
    pub(super) async fn of(
        place: &Place,
        name: &str,
        selection: &Selection,
    ) -> Result<Self, Error> {
        let mut search = Search::default();
        let source = &*place.source;
        let root = source.root().await?;
        if root.is_manifest() {
            let json = read(source, &root).await?;
            let manifest = parse(&root, &json)?;
            if is_soci(&manifest) {
                search.alone(source, root, json, manifest).await?;
                return Ok(search);
            }
        }
        let image = Image::load(source, name).await?;
        let tied = tied(source, &image).await?;
        for platform in image.platforms(selection)? {
            let variant = image.variant(source, &platform).await?;
            let mut indexes = Vec::new();
            let annotated = parse(&variant.manifest, &variant.json)?;
            let annotated = annotated
                .annotations
                .get(annotations::INDEX_DIGEST)
                .cloned();
            if let Some(digest) = &annotated {
                match digest.parse::<Digest>() {
                    Ok(digest) => indexes.push(digest),
                    Err(_) => search.dangling(&variant.manifest, digest, "is no digest"),
                }
            }
            let back = tied.iter().filter(|(_, of)| *of == variant.manifest.digest);
            indexes.extend(back.map(|(index, _)| index.digest.clone()));
            let built = place
                .built
                .iter()
                .filter(|(of, _)| *of == variant.manifest.digest);
            indexes.extend(built.map(|(_, index)| index.digest.clone()));
            if let Some(remote) = &place.remote {
                let referring = remote.indexes(&variant.manifest.digest).await?;
                indexes.extend(referring.into_iter().map(|index| index.digest));
            }
            let mut seen = HashSet::new();
            for digest in indexes.into_iter().filter(|d| seen.insert(d.clone())) {
                let content = Content::new(media_types::MANIFEST, digest, 0);
                let Some(json) = source.read(&content).await? else {
                    search.dangling(&variant.manifest, content.digest.as_ref(), "is not there");
                    continue;
                };
                let manifest = parse(&content, &json)?;
                search.found.push(Found {
                    content,
                    json,
                    manifest,
                    image: Some((variant.manifest.clone(), variant.json.clone())),
                });
            }
        }
        Ok(search)
    }

    async fn alone(
        &mut self,
        source: &dyn Source,
        content: Content,
        json: Bytes,
        manifest: Manifest,
    ) -> Result<(), Error> {
        let mut image = None;
        if let Some(subject) = &manifest.subject {
            let subject = Content::from_descriptor(subject)?;
            match source.read(&subject).await? {
                Some(json) => image = Some((subject, json)),
                None => self.dangling(
                    &content,
                    subject.digest.as_ref(),
                    "(the image) is not there",
                ),
            }
        }
        self.found.push(Found {
            content,
            json,
            manifest,
            image,
        });
        Ok(())
    }

    fn dangling(&mut self, from: &Content, to: &str, what: &str) {
        self.findings.push(Finding {
            severity: Severity::Error,
            code: "index-missing",
            subject: from.digest.to_string(),
            text: format!("it refers to {to}, which {what}: snapshotters pull the image normally"),
        });
    }
}

fn is_soci(manifest: &Manifest) -> bool {
    let kind = manifest.config.media_type.as_str();
    [media_types::INDEX_V1, media_types::INDEX_V2].contains(&kind)
}

/// SOCI indexes that an image lists, and the digests of the image manifests they name.
async fn tied(source: &dyn Source, image: &Image) -> Result<Vec<(Content, Digest)>, Error> {
    let mut tied = Vec::new();
    if !image.root.is_index() || !image.listed.listed().any(|l| *l.role == Role::SociIndex) {
        return Ok(tied);
    }
    let json = read(source, &image.root).await?;
    let index: Index = serde_json::from_slice(&json).map_err(Error::json(image.name.as_str()))?;
    for listed in &index.manifests {
        let of = listed.annotations.get(annotations::IMAGE_MANIFEST_DIGEST);
        if let Some(Ok(of)) = of.map(|of| of.parse()) {
            tied.push((Content::from_descriptor(listed)?, of));
        }
    }
    Ok(tied)
}
