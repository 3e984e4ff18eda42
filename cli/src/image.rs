//! An image as its manifests describe it.

use bytes::Bytes;
use soci::canonical::{Manifest, Platform};
use soci::convert::{self, Role};

use crate::content::Content;
use crate::error::Error;
use crate::platform;
use crate::store::Source;
use crate::store::source::read;

pub(crate) struct Image {
    /// As the user named it, for messages.
    pub name: String,
    pub root: Content,
    pub listed: convert::Image,
    /// The root is a manifest, not a list of manifests.
    single: Option<Platform>,
}

/// The image of one platform.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub platform: Platform,
    pub manifest: Content,
    pub json: Bytes,
    pub layers: Vec<Content>,
}

/// Which platforms of an image are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    All,
    /// This machine's.
    Host,
    Some(Vec<Platform>),
}

impl Image {
    pub(crate) async fn load(source: &dyn Source, name: &str) -> Result<Self, Error> {
        let root = source.root().await?;
        let json = read(source, &root).await?;
        let (listed, single) = if root.is_index() {
            let listed = convert::Image::from_index(&json).map_err(Error::format(name))?;
            (listed, None)
        } else if root.is_manifest() {
            let config = parse(&root, &json)?.config;
            let config = read(source, &Content::from_descriptor(&config)?).await?;
            let platform = Platform::from_config(&config).map_err(Error::format(name))?;
            let listed = convert::Image::from_manifest(&root.media_type, &json, platform.clone())
                .map_err(Error::format(name))?;
            (listed, Some(platform))
        } else {
            return Err(Error::Malformed {
                what: name.to_owned(),
                reason: format!("media type {} is no image", root.media_type),
            });
        };
        Ok(Image {
            name: name.to_owned(),
            root,
            listed,
            single,
        })
    }

    /// The platforms meant, each once. An image of a single platform is that whatever the host is.
    pub(crate) fn platforms(&self, selection: &Selection) -> Result<Vec<Platform>, Error> {
        let mut chosen: Vec<Platform> = Vec::new();
        let wanted = match (selection, &self.single) {
            (Selection::Host, Some(only)) => vec![only.clone()],
            (Selection::Host, None) => vec![platform::host()],
            (Selection::All, _) => self.available(),
            (Selection::Some(platforms), _) => platforms.clone(),
        };
        for platform in wanted {
            if !chosen.iter().any(|known| known.is_same(&platform)) {
                chosen.push(platform);
            }
        }
        if chosen.is_empty() {
            return Err(Error::Malformed {
                what: self.name.clone(),
                reason: "it lists no image manifest".to_owned(),
            });
        }
        Ok(chosen)
    }

    fn available(&self) -> Vec<Platform> {
        let images = self.listed.listed().filter(|l| *l.role == Role::Image);
        images.filter_map(|l| l.platform.cloned()).collect()
    }

    pub(crate) async fn variant(
        &self,
        source: &dyn Source,
        platform: &Platform,
    ) -> Result<Variant, Error> {
        let Some(listed) = self.listed.find(platform) else {
            let available: Vec<_> = self.available().iter().map(platform::text).collect();
            return Err(Error::NoPlatform {
                image: self.name.clone(),
                platform: platform::text(platform),
                available: available.join(", "),
            });
        };
        let manifest = Content::new(listed.media_type, listed.digest.clone(), listed.size);
        let json = read(source, &manifest).await?;
        let parsed = parse(&manifest, &json)?;
        Ok(Variant {
            platform: platform.clone(),
            layers: layers(&parsed)?,
            manifest,
            json,
        })
    }
}

pub(crate) fn parse(content: &Content, json: &[u8]) -> Result<Manifest, Error> {
    serde_json::from_slice(json).map_err(Error::json(format!("manifest {}", content.digest)))
}

/// The layers of an image, or the blobs of an artifact.
pub(crate) fn layers(manifest: &Manifest) -> Result<Vec<Content>, Error> {
    let layers = manifest.layers.iter().flatten();
    layers.map(Content::from_descriptor).collect()
}
