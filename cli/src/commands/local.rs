//! This machine's stores: containerd for images, containerd or a layout below --root for artifacts.

use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::image::Digest;
use soci::media_types;

use crate::args::{Build, ContentStore, Global};
use crate::catalog::{self, Artifact, Catalog, IndexFacts, Kind};
use crate::content::Content;
use crate::error::Error;
use crate::image::Image;
use crate::pipeline::{IndexedVariant, Known};
use crate::platform;
use crate::store::containerd::Lease;
use crate::store::{Containerd, Directory, Layout, Sink, Source};

pub(super) struct Local {
    pub(super) containerd: Containerd,
    lease: Option<Lease>,
    /// The layout of `--content-store soci`.
    layout: Option<PathBuf>,
    pub(super) catalog: Catalog,
}

impl Local {
    /// For commands that write: nothing of theirs is collected before it is referred to.
    pub(super) async fn writing(global: &Global) -> Result<Self, Error> {
        let mut local = Self::reading(global).await?;
        let (leased, lease) = local.containerd.leased().await?;
        local.containerd = leased;
        local.lease = Some(lease);
        Ok(local)
    }

    pub(super) async fn reading(global: &Global) -> Result<Self, Error> {
        let containerd = Containerd::connect(&global.address, &global.namespace).await?;
        Ok(Local {
            containerd,
            lease: None,
            layout: layout(global),
            catalog: Catalog::new(&global.root),
        })
    }

    /// Where artifacts are read from.
    pub(super) async fn artifacts(&self) -> Result<Arc<dyn Source>, Error> {
        Ok(match &self.layout {
            Some(path) => Arc::new(Layout::contents(path).await?),
            None => Arc::new(self.containerd.named("")),
        })
    }

    /// Where artifacts are written to.
    pub(super) async fn sink(&self) -> Result<Arc<dyn Sink>, Error> {
        Ok(match &self.layout {
            Some(path) => Arc::new(Directory::create(path).await?),
            None => Arc::new(self.containerd.named("")),
        })
    }

    /// Only once everything written is referred to.
    pub(super) async fn release(self) -> Result<(), Error> {
        match self.lease {
            Some(lease) => lease.release().await,
            None => Ok(()),
        }
    }

    /// zTOCs from earlier runs that serve again; none when they are to be built anew.
    pub(super) async fn known(&self, flags: &Build) -> Result<Known, Error> {
        let is_empty = match &self.layout {
            Some(path) => !path.exists(),
            None => false,
        };
        if flags.force || is_empty {
            return Ok(Known::default());
        }
        let mut known = Known::new(self.artifacts().await?, flags.reused_span_size());
        for artifact in self.catalog.read()? {
            if let (Kind::Ztoc, Some(span_size)) = (artifact.kind, artifact.span_size) {
                let ztoc = Content::new(media_types::ZTOC, artifact.digest, artifact.size);
                known.add(artifact.subject, ztoc, span_size);
            }
        }
        Ok(known)
    }
}

/// Needs no containerd.
pub(super) async fn artifacts(global: &Global) -> Result<Arc<dyn Source>, Error> {
    if let Some(path) = layout(global) {
        return Ok(Arc::new(Layout::contents(&path).await?));
    }
    let containerd = Containerd::connect(&global.address, &global.namespace).await?;
    Ok(Arc::new(containerd.named("")))
}

fn layout(global: &Global) -> Option<PathBuf> {
    match global.content_store {
        ContentStore::Containerd => None,
        ContentStore::Soci => Some(global.root.join("content")),
    }
}

/// Records of what was built for an image. `image` is what its name points to, `manifest` the image
/// manifest that an index is about.
pub(super) fn records(
    built: &[IndexedVariant],
    image: &Digest,
    manifest: impl Fn(&IndexedVariant) -> Digest,
) -> Vec<Artifact> {
    let mut records = Vec::new();
    for variant in built {
        let Some(index) = &variant.index else {
            continue;
        };
        let span_sizes = index.span_sizes.iter().copied().map(Some);
        let ztocs = index.ztocs.iter().zip(span_sizes);
        let ztocs = ztocs.map(|(ztoc, span_size)| (Kind::Ztoc, ztoc, span_size));
        let prefetch = index.prefetch.iter();
        let prefetch = prefetch.map(|artifact| (Kind::Prefetch, artifact, None));
        for (kind, (layer, content), span_size) in ztocs.chain(prefetch) {
            records.push(Artifact {
                kind,
                digest: content.digest.clone(),
                size: content.size,
                subject: layer.clone(),
                media_type: content.media_type.clone(),
                index: None,
                span_size,
                created_at: catalog::now(),
            });
        }
        let blobs = index.blobs().into_iter().map(|blob| blob.digest);
        records.push(Artifact {
            kind: Kind::Index,
            digest: index.content.digest.clone(),
            size: index.content.size,
            subject: manifest(variant),
            media_type: index.content.media_type.clone(),
            index: Some(IndexFacts {
                image: image.clone(),
                platform: platform::text(&variant.variant.platform),
                artifact_type: index.config.media_type.clone(),
                blobs: blobs.collect(),
            }),
            span_size: None,
            created_at: catalog::now(),
        });
    }
    records
}

/// An image of containerd.
pub(super) async fn image(local: &Local, name: &str) -> Result<(Arc<dyn Source>, Image), Error> {
    let source: Arc<dyn Source> = Arc::new(local.containerd.named(name));
    let image = Image::load(&*source, name).await?;
    Ok((source, image))
}
