//! Who makes the root filesystem, and what it knows beforehand.

use std::path::{Path, PathBuf};

/// What an earlier start of an image taught, kept while everything else was wiped.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// Of the image manifest.
    pub(crate) manifest: String,
    pub(crate) json: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// containerd downloads and unpacks.
    Overlayfs,
    /// The original, or another snapshotter with its command line.
    Peer { name: String, binary: PathBuf },
    /// The snapshotter of this project, with a line of configuration more.
    Ours { config: &'static str },
    /// The same, with the profile of an earlier start.
    Learned(Profile),
    /// The same, on an image whose index was cut by that profile and carries it.
    Cut,
}

impl Mode {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Overlayfs => "overlayfs",
            Self::Peer { name, .. } => name,
            Self::Ours { .. } => "soci-rs",
            Self::Learned(_) => "soci-rs, learned",
            Self::Cut => "soci-rs, own index",
        }
    }

    pub(crate) fn snapshotter(&self) -> &'static str {
        match self {
            Self::Overlayfs => "overlayfs",
            _ => "soci",
        }
    }

    pub(crate) fn binary(&self) -> Option<&Path> {
        match self {
            Self::Peer { binary, .. } => Some(binary),
            _ => None,
        }
    }

    /// The repository where its image is.
    pub(crate) fn repository(&self, image: &str) -> String {
        match self {
            Self::Cut => format!("{image}-cut"),
            _ => image.to_owned(),
        }
    }

    pub(crate) fn profile(&self) -> Option<(&str, &[u8])> {
        match self {
            Self::Learned(profile) => Some((&profile.manifest, &profile.json)),
            _ => None,
        }
    }

    /// Everybody has their defaults.
    pub(crate) fn config(&self) -> &'static str {
        match self {
            Self::Ours { config } => config,
            _ => "",
        }
    }
}

/// `NAME=BINARY`.
pub(crate) fn peer(text: &str) -> Result<Mode, String> {
    match text.split_once('=') {
        Some((name, binary)) if !name.is_empty() && Path::new(binary).is_file() => Ok(Mode::Peer {
            name: name.to_owned(),
            binary: binary.into(),
        }),
        Some((_, binary)) if !Path::new(binary).is_file() => {
            Err(format!("there is no file {binary}"))
        }
        _ => Err("a name and a path are needed: NAME=BINARY".to_owned()),
    }
}
