//! Opens the stores that locations name.

use std::sync::Arc;

use oci_spec::distribution::Reference;
use oci_spec::image::Digest;

use crate::args::{Global, RegistryFlags};
use crate::catalog::{Catalog, Kind};
use crate::content::Content;
use crate::error::Error;
use crate::location::Location;
use crate::reach::Reach;
use crate::store::{Containerd, Layout, Remote, Source};

/// Where an image is; of one in a registry also what else can be asked of it.
pub(super) struct Place {
    pub(super) source: Arc<dyn Source>,
    pub(super) remote: Option<Remote>,
    /// Indexes built on this machine, by the image manifest they are about; nothing else ties a v1 index to
    /// an image in containerd.
    pub(super) built: Vec<(Digest, Content)>,
}

pub(super) fn reference(location: &Location) -> Option<&Reference> {
    match location {
        Location::Registry(reference) => Some(reference),
        _ => None,
    }
}

pub(super) async fn open(
    location: &Location,
    reach: &Reach,
    global: Option<&Global>,
) -> Result<Place, Error> {
    let mut built = Vec::new();
    let source: Arc<dyn Source> = match location {
        Location::Registry(reference) => {
            let remote = reach.image(reference)?;
            return Ok(Place {
                source: Arc::new(remote.clone()),
                remote: Some(remote),
                built: Vec::new(),
            });
        }
        Location::Files { path, image } => Arc::new(Layout::open(path, image.as_deref()).await?),
        Location::Containerd(name) => {
            let Some(global) = global else {
                return Err(Error::usage(
                    "images in containerd are indexed by `soci create` and `soci convert`",
                ));
            };
            let artifacts = Catalog::new(&global.root).read()?;
            let indexes = artifacts.into_iter().filter(|a| a.kind == Kind::Index);
            built.extend(indexes.map(|index| {
                let content = Content::new(&index.media_type, index.digest, index.size);
                (index.subject, content)
            }));
            let containerd = Containerd::connect(&global.address, &global.namespace).await?;
            Arc::new(containerd.named(name))
        }
    };
    Ok(Place {
        source,
        remote: None,
        built,
    })
}

/// For commands that only read.
pub(super) async fn open_each(
    names: &[&str],
    flags: &RegistryFlags,
    global: &Global,
) -> Result<Vec<Place>, Error> {
    let locations: Vec<_> = names.iter().map(|name| Location::parse(name)).collect();
    let locations = locations.into_iter().collect::<Result<Vec<_>, _>>()?;
    let references: Vec<_> = locations.iter().filter_map(reference).collect();
    let reach = Reach::new(flags, &references)?;
    let mut places = Vec::new();
    for location in &locations {
        places.push(open(location, &reach, Some(global)).await?);
    }
    Ok(places)
}
