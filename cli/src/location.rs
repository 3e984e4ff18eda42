//! Where an image is, as users write it.

use std::path::PathBuf;

use oci_spec::distribution::Reference;

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Registry(Reference),
    /// A layout or an archive; which, its content tells.
    Files {
        path: PathBuf,
        /// One of several images.
        image: Option<String>,
    },
    Containerd(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Registry(Reference),
    Directory(PathBuf),
    Archive(PathBuf),
}

impl Location {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if let Some(name) = text.strip_prefix("containerd:") {
            return Ok(Location::Containerd(name.to_owned()));
        }
        let prefixes = ["oci:", "oci-archive:", "docker-archive:"];
        let prefixed = prefixes.iter().find_map(|p| text.strip_prefix(p));
        if let Some(path) = prefixed.or_else(|| is_path(text).then_some(text)) {
            return Ok(Location::files(path));
        }
        reference(text).map(Location::Registry)
    }

    /// A path, with `@NAME` where there are several images.
    pub(crate) fn files(text: &str) -> Self {
        // A file may have such a name.
        let (path, image) = match text.rsplit_once('@') {
            Some((path, image)) if !path.is_empty() && !std::path::Path::new(text).exists() => {
                (path, Some(image.to_owned()))
            }
            _ => (text, None),
        };
        Location::Files {
            path: path.into(),
            image,
        }
    }
}

impl Destination {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("oci:") {
            return Ok(Destination::Directory(path.into()));
        }
        if let Some(path) = text.strip_prefix("oci-archive:") {
            return Ok(Destination::Archive(path.into()));
        }
        if is_path(text) {
            return Err(Error::usage(format!(
                "say what to write: oci:{text} (directory) or oci-archive:{text} (tar)"
            )));
        }
        let reference = reference(text)?;
        if reference.tag().is_none() || reference.digest().is_some() {
            return Err(Error::usage(format!(
                "{text} must have a tag and no digest: the new image has another digest"
            )));
        }
        Ok(Destination::Registry(reference))
    }
}

fn is_path(text: &str) -> bool {
    ["/", "./", "../"].iter().any(|p| text.starts_with(p)) || text == "."
}

pub(crate) fn reference(text: &str) -> Result<Reference, Error> {
    let text = text.strip_prefix("docker://").unwrap_or(text);
    text.parse().map_err(|error| {
        Error::usage(format!(
            "{text:?} is no image reference ({error}); write registry/repository:tag, or oci:DIR, oci-archive:FILE, docker-archive:FILE"
        ))
    })
}
