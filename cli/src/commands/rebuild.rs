//! `rebuild-db`: finds the artifacts of a content store again.

use std::collections::HashMap;

use oci_spec::image::Digest;
use soci::canonical::Manifest;
use soci::{annotations, media_types};

use super::local::Local;
use crate::args::{ContentStore, Global};
use crate::catalog::{self, Artifact, IndexFacts, Kind};
use crate::content::Content;
use crate::error::Error;
use crate::image::parse;
use crate::output::Output;
use crate::platform;
use crate::store::Source;

pub(super) async fn run(global: &Global, output: Output) -> Result<(), Error> {
    let local = Local::reading(global).await?;
    let store = local.artifacts().await?;
    let contents = match global.content_store {
        ContentStore::Containerd => local.containerd.list().await?,
        ContentStore::Soci => blobs(&global.root.join("content"))?,
    };
    // Keeps what cannot be found out again.
    let mut known: HashMap<Digest, Artifact> = HashMap::new();
    for artifact in local.catalog.read()? {
        known.insert(artifact.digest.clone(), artifact);
    }
    let images = local.containerd.named("");
    let mut found: Vec<Artifact> = Vec::new();
    for (digest, size) in contents {
        // Manifests are small; nothing else needs to be read.
        if size > soci::canonical::MAX_LEN {
            continue;
        }
        let content = Content::new(media_types::MANIFEST, digest, size);
        let Ok(Some(json)) = store.read(&content).await else {
            continue;
        };
        let Ok(manifest) = parse(&content, &json) else {
            continue;
        };
        let config = manifest.config.media_type.as_str();
        if ![media_types::INDEX_V1, media_types::INDEX_V2].contains(&config) {
            continue;
        }
        if let Some(record) = index(&images, &content, &manifest, &known).await? {
            found.extend(blobs_of(&manifest)?);
            found.push(record);
        }
    }
    for artifact in &mut found {
        if let Some(known) = known.get(&artifact.digest) {
            artifact.created_at = known.created_at;
        }
    }
    found.sort_by(|a, b| {
        let by_age = a.created_at.cmp(&b.created_at);
        by_age.then_with(|| a.digest.as_ref().cmp(b.digest.as_ref()))
    });
    found.dedup_by(|a, b| a.digest == b.digest);
    output.document(&found)?;
    local.catalog.replace(found)
}

/// A v2 index does not say which image it belongs to; only what was known of it before is kept.
async fn index(
    images: &dyn Source,
    content: &Content,
    manifest: &Manifest,
    known: &HashMap<Digest, Artifact>,
) -> Result<Option<Artifact>, Error> {
    let Some(subject) = &manifest.subject else {
        return Ok(known.get(&content.digest).cloned());
    };
    let subject = Content::from_descriptor(subject)?;
    let mut platform = String::new();
    if let Some(json) = images.read(&subject).await? {
        let config = Content::from_descriptor(&parse(&subject, &json)?.config)?;
        if let Some(config) = images.read(&config).await? {
            let parsed = soci::canonical::Platform::from_config(&config);
            platform = parsed.map(|p| platform::text(&p)).unwrap_or_default();
        }
    }
    let earlier = known.get(&content.digest).and_then(|a| a.index.as_ref());
    let blobs = manifest.layers.iter().flatten();
    let blobs = blobs.filter_map(|blob| blob.digest.parse().ok());
    Ok(Some(Artifact {
        kind: Kind::Index,
        digest: content.digest.clone(),
        size: content.size,
        subject: subject.digest.clone(),
        media_type: content.media_type.clone(),
        index: Some(IndexFacts {
            image: earlier.map_or(subject.digest, |facts| facts.image.clone()),
            platform,
            artifact_type: manifest.config.media_type.clone(),
            blobs: blobs.collect(),
        }),
        span_size: None,
        created_at: catalog::now(),
    }))
}

fn blobs_of(manifest: &Manifest) -> Result<Vec<Artifact>, Error> {
    let mut found = Vec::new();
    for blob in manifest.layers.iter().flatten() {
        let kind = match blob.media_type.as_str() {
            media_types::ZTOC => Kind::Ztoc,
            media_types::PREFETCH => Kind::Prefetch,
            _ => continue,
        };
        let annotation = |key| blob.annotations.get(key);
        let Some(Ok(layer)) = annotation(annotations::LAYER_DIGEST).map(|l| l.parse()) else {
            continue;
        };
        let content = Content::from_descriptor(blob)?;
        found.push(Artifact {
            kind,
            digest: content.digest,
            size: content.size,
            subject: layer,
            media_type: content.media_type,
            index: None,
            span_size: annotation(annotations::SPAN_SIZE).and_then(|size| size.parse().ok()),
            created_at: catalog::now(),
        });
    }
    Ok(found)
}

/// What lies in a layout, whether or not its index lists it.
fn blobs(layout: &std::path::Path) -> Result<Vec<(Digest, u64)>, Error> {
    let directory = layout.join("blobs/sha256");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file(directory)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file(&directory))?;
        let name = entry.file_name();
        let size = entry.metadata().map_err(Error::file(&directory))?.len();
        if let Ok(digest) = format!("sha256:{}", name.to_string_lossy()).parse() {
            found.push((digest, size));
        }
    }
    Ok(found)
}
