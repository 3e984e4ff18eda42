//! SOCI index manifests: which zTOC belongs to which layer.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, Digest};
use serde::Deserialize;

use crate::annotations;
use crate::canonical::parse_digest;
use crate::error::Error;
use crate::media_types;

/// Longest manifest that is read.
const MAX_LEN: u64 = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexVersion {
    /// Refers to its image, and is found as a referrer of it.
    V1,
    /// Named by an annotation of its image.
    V2,
}

impl IndexVersion {
    /// Also the artifact type of the index wherever one is asked for.
    pub fn config_media_type(self) -> &'static str {
        match self {
            Self::V1 => media_types::INDEX_V1,
            Self::V2 => media_types::INDEX_V2,
        }
    }
}

/// Where the zTOC of one layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZtocDescriptor {
    pub digest: Digest,
    pub size: u64,
    /// Digest of the compressed layer.
    pub layer: Digest,
    /// The layer has no extended attributes at all.
    pub disable_xattrs: bool,
}

#[derive(Clone, Debug)]
pub struct SociIndex {
    pub version: IndexVersion,
    ztocs: HashMap<Digest, ZtocDescriptor>,
    prefetch: HashMap<Digest, Descriptor>,
}

/// Of a manifest only what is used: another one's other members are none of our business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Config,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

impl SociIndex {
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let what = "SOCI index";
        let value = json.len() as u64;
        if value > MAX_LEN {
            let (what, limit) = ("bytes of a SOCI index", MAX_LEN);
            return Err(Error::Limit { what, value, limit });
        }
        let manifest: Manifest = serde_json::from_slice(json).map_err(|error| Error::Json {
            what,
            reason: error.to_string(),
        })?;
        let version = match manifest.config.media_type.as_str() {
            media_types::INDEX_V1 => IndexVersion::V1,
            media_types::INDEX_V2 => IndexVersion::V2,
            _ => return Err(Error::IndexType(manifest.config.media_type)),
        };
        let mut index = Self {
            version,
            ztocs: HashMap::new(),
            prefetch: HashMap::new(),
        };
        for descriptor in manifest.layers.unwrap_or_default() {
            index.add(descriptor)?;
        }
        Ok(index)
    }

    /// The zTOC of the layer with this compressed digest.
    pub fn ztoc(&self, layer: &Digest) -> Option<&ZtocDescriptor> {
        self.ztocs.get(layer)
    }

    /// One for each indexed layer, in no order.
    pub fn ztocs(&self) -> impl Iterator<Item = &ZtocDescriptor> {
        self.ztocs.values()
    }

    /// The prefetch artifact of a layer.
    pub fn prefetch(&self, layer: &Digest) -> Option<&Descriptor> {
        self.prefetch.get(layer)
    }

    /// Of several zTOCs for a layer the last counts, of several prefetch artifacts the first. Blobs of
    /// other kinds, or for no layer, are left alone.
    fn add(&mut self, descriptor: Descriptor) -> Result<(), Error> {
        let media_type = descriptor.media_type().to_string();
        let is_ztoc = media_type == media_types::ZTOC;
        if !is_ztoc && media_type != media_types::PREFETCH {
            return Ok(());
        }
        let annotation = |key| descriptor.annotations().as_ref()?.get(key);
        let Some(layer) = annotation(annotations::LAYER_DIGEST) else {
            return Ok(());
        };
        let layer = parse_digest("annotated layer digest", layer)?;
        let digest = parse_digest("digest of a SOCI artifact", descriptor.digest().as_ref())?;
        if !is_ztoc {
            self.prefetch.entry(layer).or_insert(descriptor);
            return Ok(());
        }
        let disable_xattrs = annotation(annotations::DISABLE_XATTRS);
        let ztoc = ZtocDescriptor {
            digest,
            size: descriptor.size(),
            layer: layer.clone(),
            disable_xattrs: disable_xattrs.is_some_and(|value| is_true(value)),
        };
        self.ztocs.insert(layer, ztoc);
        Ok(())
    }
}

/// As Go's `strconv.ParseBool` reads it; what it refuses is not true either.
fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True")
}
