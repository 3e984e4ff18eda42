//! Writing SOCI index manifests, byte for byte as the reference tool does.

use oci_spec::image::Digest;

use crate::annotations;
use crate::canonical::{self, Descriptor, Manifest};
use crate::error::Error;
use crate::index::IndexVersion;
use crate::media_types;

/// The config blob of every SOCI index.
pub const CONFIG: &[u8] = b"{}";
pub const CONFIG_DIGEST: &str =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// What a SOCI index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// In the order of the image's layers; layers without a zTOC are left out.
    pub ztocs: Vec<ZtocEntry>,
    /// In the order of the image's layers.
    pub prefetch: Vec<PrefetchEntry>,
    /// The image manifest of a v1 index; a v2 index has none.
    pub subject: Option<Subject>,
    pub build_tool: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZtocEntry {
    pub digest: Digest,
    pub size: u64,
    /// Digest of the compressed layer.
    pub layer: Digest,
    /// As in the image manifest.
    pub layer_media_type: String,
    pub span_size: u64,
    /// The layer has no extended attributes and no opaque directories.
    pub disable_xattrs: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefetchEntry {
    pub digest: Digest,
    pub size: u64,
    /// Digest of the compressed layer.
    pub layer: Digest,
}

/// The image manifest that a v1 index refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
}

impl IndexSpec {
    pub fn version(&self) -> IndexVersion {
        match self.subject {
            Some(_) => IndexVersion::V1,
            None => IndexVersion::V2,
        }
    }

    /// The manifest. An index without any zTOC is refused.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        if self.ztocs.is_empty() {
            return Err(Error::EmptyIndex);
        }
        let ztocs = self.ztocs.iter().map(ZtocEntry::descriptor);
        let prefetch = self.prefetch.iter().map(PrefetchEntry::descriptor);
        let subject = self.subject.as_ref();
        canonical::to_vec(&Manifest {
            schema_version: 2,
            media_type: media_types::MANIFEST.to_owned(),
            // Must be absent: the reference's reader would lose it, and with it the digest.
            artifact_type: String::new(),
            config: Descriptor {
                media_type: self.version().config_media_type().to_owned(),
                digest: CONFIG_DIGEST.to_owned(),
                size: CONFIG.len() as u64,
                ..Descriptor::default()
            },
            layers: Some(ztocs.chain(prefetch).collect()),
            subject: subject.map(Subject::descriptor),
            annotations: [(annotations::BUILD_TOOL.to_owned(), self.build_tool.clone())].into(),
        })
    }
}

impl ZtocEntry {
    fn descriptor(&self) -> Descriptor {
        let mut annotations = vec![
            (annotations::LAYER_DIGEST, self.layer.to_string()),
            (annotations::LAYER_MEDIA_TYPE, self.layer_media_type.clone()),
            (annotations::SPAN_SIZE, self.span_size.to_string()),
        ];
        if self.disable_xattrs {
            annotations.push((annotations::DISABLE_XATTRS, "true".to_owned()));
        }
        descriptor(media_types::ZTOC, &self.digest, self.size, annotations)
    }
}

impl PrefetchEntry {
    fn descriptor(&self) -> Descriptor {
        let annotations = vec![(annotations::LAYER_DIGEST, self.layer.to_string())];
        descriptor(media_types::PREFETCH, &self.digest, self.size, annotations)
    }
}

impl Subject {
    fn descriptor(&self) -> Descriptor {
        descriptor(&self.media_type, &self.digest, self.size, Vec::new())
    }
}

fn descriptor(
    media_type: &str,
    digest: &Digest,
    size: u64,
    annotations: Vec<(&str, String)>,
) -> Descriptor {
    let annotations = annotations.into_iter();
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size,
        annotations: annotations
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        ..Descriptor::default()
    }
}
