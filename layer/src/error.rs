//! Why a layer could not be opened or read; cheap to clone because every waiter of a span gets the same one.

use crate::inode::Inode;
use crate::source::{SourceError, SourceFailure};
use crate::tree::TreeError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("{layer}: no inode {inode}")]
    NoEntry { layer: Arc<str>, inode: Inode },
    #[error("{layer}: inode {inode} is not a regular file")]
    NotAFile { layer: Arc<str>, inode: Inode },
    #[error("{layer}: its source cannot be reached now, reads are tried again: {source}")]
    Unreachable {
        layer: Arc<str>,
        source: SourceError,
    },
    #[error("{layer}: access denied, check the registry credentials of this image: {source}")]
    Denied {
        layer: Arc<str>,
        source: SourceError,
    },
    #[error("{layer}: the registry no longer has this blob: {source}")]
    Missing {
        layer: Arc<str>,
        source: SourceError,
    },
    #[error("{layer}: the registry cannot serve it in ranges: {source}")]
    Refused {
        layer: Arc<str>,
        source: SourceError,
    },
    #[error("{layer}: {what}; these bytes are not served")]
    Corrupt { layer: Arc<str>, what: Arc<str> },
    #[error("{layer}: cannot be shown as unpacking would show it, pull it normally: {reason}")]
    Unfit { layer: Arc<str>, reason: TreeError },
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        what: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },
    #[error("{layer}: reading stopped because the process is shutting down")]
    Stopped { layer: Arc<str> },
}

impl Error {
    /// Whether the same read may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Stopped { .. })
    }

    pub(crate) fn corrupt(layer: &Arc<str>, what: impl std::fmt::Display) -> Error {
        Error::Corrupt {
            layer: Arc::clone(layer),
            what: what.to_string().into(),
        }
    }

    pub(crate) fn from_source(layer: &Arc<str>, source: SourceError) -> Error {
        let layer = Arc::clone(layer);
        match source.failure {
            SourceFailure::Transient => Error::Unreachable { layer, source },
            SourceFailure::Denied => Error::Denied { layer, source },
            SourceFailure::NotFound => Error::Missing { layer, source },
            SourceFailure::Refused => Error::Refused { layer, source },
        }
    }

    pub(crate) fn disk(what: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Disk {
            what,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}
