//! Images as `docker save` writes them: layers by path, and no manifest.

use futures_util::stream::TryStreamExt;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use soci::canonical::{self, Descriptor, MAX_LEN, Manifest};
use soci::media_types;

use super::apart::Apart;
use super::files::Files;
use crate::content::Content;
use crate::digest;
use crate::error::Error;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Makes the manifest that the archive lacks.
pub(super) async fn root(
    files: &Files,
    image: Option<&str>,
    apart: &mut Apart,
) -> Result<Content, Error> {
    let place = files.path().display().to_string();
    let malformed = |reason: String| Error::Malformed {
        what: place.clone(),
        reason,
    };
    let Some(json) = files.read("manifest.json", MAX_LEN).await? else {
        let reason = "it holds neither index.json (OCI layout) nor manifest.json (docker save)";
        return Err(malformed(reason.to_owned()));
    };
    let mut saved: Vec<Saved> =
        serde_json::from_slice(&json).map_err(Error::json(format!("manifest.json of {place}")))?;
    if let Some(image) = image {
        saved.retain(|saved| saved.repo_tags.iter().flatten().any(|tag| tag == image));
    }
    let [saved] = saved.as_slice() else {
        let tags: Vec<_> = saved.iter().flat_map(|s| s.repo_tags.iter()).collect();
        return Err(malformed(format!(
            "it holds {} images ({tags:?}); choose one with FILE@NAME",
            saved.len()
        )));
    };
    let config = files.read(&saved.config, MAX_LEN).await?;
    let config = config.ok_or_else(|| malformed(format!("{} is missing", saved.config)))?;
    let diff_ids = serde_json::from_slice::<Config>(&config)
        .map_err(Error::json(format!("{} of {place}", saved.config)))?
        .rootfs
        .diff_ids;
    if diff_ids.len() != saved.layers.len() {
        return Err(malformed(format!(
            "{} layers, but its config names {}",
            saved.layers.len(),
            diff_ids.len()
        )));
    }
    let mut layers = Vec::new();
    for (path, diff_id) in saved.layers.iter().zip(diff_ids) {
        let layer = layer(files, path, diff_id).await?;
        let content = Content::from_descriptor(&layer)?;
        apart.files.insert(content.digest, path.clone());
        layers.push(layer);
    }
    let content = Content::of(media_types::IMAGE_CONFIG, &config)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_types::MANIFEST.to_owned(),
        config: content.to_descriptor(),
        layers: Some(layers),
        ..Manifest::default()
    };
    apart.bytes.insert(content.digest, config);
    let manifest = canonical::to_vec(&manifest).map_err(Error::format(place))?;
    let content = Content::of(media_types::MANIFEST, &manifest)?;
    apart.bytes.insert(content.digest.clone(), manifest.into());
    Ok(content)
}

/// Its digest is in the config, unless somebody compressed it on the way.
async fn layer(files: &Files, path: &str, diff_id: String) -> Result<Descriptor, Error> {
    let place = files.path().display();
    let size = files.size(path).await?;
    let size = size.ok_or_else(|| Error::Malformed {
        what: place.to_string(),
        reason: format!("{path} is missing"),
    })?;
    let mut chunks = files.stream(path, 0).await?;
    let first = chunks.try_next().await?.unwrap_or_default();
    let (media_type, digest) = if first.starts_with(&[0x1f, 0x8b]) {
        let mut hash = Sha256::new_with_prefix(&first);
        while let Some(chunk) = chunks.try_next().await? {
            hash.update(&chunk);
        }
        (GZIP_LAYER, digest::text(&hash.finalize()))
    } else {
        (LAYER, diff_id)
    };
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        ..Descriptor::default()
    })
}
