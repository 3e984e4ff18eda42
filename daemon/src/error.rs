//! What can go wrong with a snapshot, said so that an operator knows what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::filter;
use crate::layers::Unavailable;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("snapshot {0:?} does not exist")]
    NotFound(String),
    #[error("parent snapshot {0:?} does not exist")]
    ParentNotFound(String),
    #[error("snapshot {0:?} already exists")]
    Exists(String),
    #[error("target snapshot {0:?} already exists")]
    TargetExists(String),
    #[error("parent snapshot {0:?} is not committed; only a committed snapshot can be a parent")]
    ParentNotCommitted(String),
    #[error("snapshot {0:?} is not committed yet, so nothing can be committed onto it")]
    BaseNotCommitted(String),
    #[error("snapshot {key:?} was prepared on {parent:?} and cannot be committed onto {other:?}")]
    ParentFixed {
        key: String,
        parent: String,
        other: String,
    },
    #[error("snapshot {0:?} is not active; only an active snapshot can be committed")]
    NotActive(String),
    #[error("snapshot {0:?} is committed; only active snapshots and views have mounts")]
    NotMountable(String),
    #[error("snapshot {0:?} has children; remove them first")]
    HasChildren(String),
    #[error("field {field:?} of snapshot {key:?} cannot be changed; labels and labels.KEY can")]
    Immutable { field: String, key: String },
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Filter(#[from] filter::ParseError),
    #[error("a layer can only be prepared in a namespace; set the containerd-namespace metadata")]
    NoNamespace,
    #[error(
        "snapshot {0:?} asks for mapped user or group IDs, which this snapshotter cannot do; run the container without a user namespace or with another snapshotter"
    )]
    IdMapping(String),
    #[error("a layer below {key:?} cannot be read now: {source}")]
    Unavailable { key: String, source: Unavailable },
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("snapshot database {}: {source}", path.display())]
    Database {
        path: PathBuf,
        source: Box<redb::Error>,
    },
    #[error(
        "snapshot database {} has schema {found}, this version knows {known}; run the version that wrote it", path.display()
    )]
    Schema {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("the record of snapshot {key:?} is damaged: {reason}")]
    Damaged { key: String, reason: String },
    #[error("an operation on snapshots was cut off: {0}")]
    Interrupted(String),
}

impl Error {
    /// Names the file and what was tried, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}
