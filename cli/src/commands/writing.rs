//! Stores what was built: indexes, and images with their indexes built in.

use std::collections::HashMap;

use bytes::Bytes;
use oci_spec::image::Digest;
use soci::convert::{Indexed, Role};
use soci::media_types;

use crate::content::Content;
use crate::error::Error;
use crate::image::{Image, layers, parse};
use crate::labels;
use crate::pipeline::{Index, IndexedVariant};
use crate::store::{Labels, Sink, Source, Written};

/// The config and the manifest of an index; its blobs are there.
pub(super) async fn index(sink: &dyn Sink, index: &Index) -> Result<Written, Error> {
    sink.write(&index.config, Index::config_bytes(), Labels::new())
        .await?;
    let labels = labels::soci_index(&index.config, &index.blobs());
    sink.write(&index.content, index.json.clone(), labels).await
}

/// An image whose conversion is computed and not stored.
pub(super) struct Converted {
    pub(super) root: Content,
    json: Bytes,
    /// Image manifests and what else is listed; the SOCI indexes are apart.
    manifests: Vec<(Content, Bytes)>,
    listed: Vec<Content>,
    /// From the digest of an image manifest to what it became.
    pub(super) originals: HashMap<Digest, Digest>,
}

/// Needs the listed manifests; those that the source lacks stay as they are.
pub(super) async fn convert(
    source: &dyn Source,
    image: &Image,
    built: &[IndexedVariant],
) -> Result<Converted, Error> {
    let mut at_hand: HashMap<Digest, Vec<u8>> = HashMap::new();
    let mut kept = HashMap::new();
    for listed in image.listed.listed() {
        let content = Content::new(listed.media_type, listed.digest.clone(), listed.size);
        if let Some(json) = source.read(&content).await? {
            at_hand.insert(content.digest.clone(), json.to_vec());
            if *listed.role != Role::SociIndex {
                kept.insert(content.digest.clone(), (content, json));
            }
        }
    }
    let indexed = built.iter().filter_map(|built| {
        let index = built.index.as_ref()?;
        Some(Indexed {
            manifest: built.variant.manifest.digest.clone(),
            platform: built.variant.platform.clone(),
            index: index.content.digest.clone(),
            index_size: index.content.size,
        })
    });
    let indexed: Vec<_> = indexed.collect();
    let converted = image
        .listed
        .convert(&at_hand, &indexed)
        .map_err(Error::format(image.name.as_str()))?;
    let mut manifests = Vec::new();
    let mut originals = HashMap::new();
    for rewritten in converted.manifests {
        kept.remove(&rewritten.original);
        let content = Content::new(
            media_types::MANIFEST,
            rewritten.digest,
            rewritten.json.len() as u64,
        );
        originals.insert(rewritten.original, content.digest.clone());
        manifests.push((content, Bytes::from(rewritten.json)));
    }
    let index: soci::canonical::Index =
        serde_json::from_slice(&converted.json).map_err(Error::json("converted image index"))?;
    let listed = index.manifests.iter().map(Content::from_descriptor);
    let listed: Vec<_> = listed.collect::<Result<_, _>>()?;
    let still_listed = |content: &Content| listed.iter().any(|l| l.digest == content.digest);
    manifests.extend(
        kept.into_values()
            .filter(|(content, _)| still_listed(content)),
    );
    Ok(Converted {
        root: Content::new(
            media_types::IMAGE_INDEX,
            converted.digest,
            converted.json.len() as u64,
        ),
        json: converted.json.into(),
        manifests,
        listed,
        originals,
    })
}

impl Converted {
    /// What is referred to comes first, and the name last: an image that can be seen is whole.
    pub(super) async fn store(
        &self,
        sink: &dyn Sink,
        built: &[IndexedVariant],
    ) -> Result<Written, Error> {
        for built in built.iter().filter_map(|built| built.index.as_ref()) {
            index(sink, built).await?;
        }
        for (content, json) in &self.manifests {
            let labels = if content.is_index() {
                Labels::new()
            } else {
                let parsed = parse(content, json)?;
                let config = Content::from_descriptor(&parsed.config)?;
                labels::manifest(&config, &layers(&parsed)?)
            };
            sink.write(content, json.clone(), labels).await?;
        }
        let labels = labels::image_index(&self.listed);
        sink.name(&self.root, self.json.clone(), labels).await
    }

    /// For stores that do not hold the image: what the manifests refer to.
    pub(super) async fn copy_blobs(&self, copying: &crate::graph::Copying) -> Result<(), Error> {
        for (content, json) in &self.manifests {
            if content.is_index() {
                copying.graph(content).await?;
            } else {
                copying.below(content, json).await?;
            }
        }
        Ok(())
    }
}
