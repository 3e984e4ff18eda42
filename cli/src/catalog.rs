//! What was built on this machine: one JSON file, replaced as a whole.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Another `soci` changes the file within moments.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Index,
    Ztoc,
    Prefetch,
}

/// One artifact in the content store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Artifact {
    pub kind: Kind,
    pub digest: Digest,
    pub size: u64,
    /// What it is about: an image manifest or a layer.
    pub subject: Digest,
    pub media_type: String,
    /// Of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexFacts>,
    /// Of a zTOC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_size: Option<u64>,
    /// Seconds since 1970.
    pub created_at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexFacts {
    /// What the image's name pointed to.
    pub image: Digest,
    pub platform: String,
    /// Tells v1 from v2.
    pub artifact_type: String,
    pub blobs: Vec<Digest>,
}

impl Artifact {
    pub(crate) fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.created_at)
    }
}

pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    artifacts: Vec<Artifact>,
}

pub(crate) struct Catalog {
    root: PathBuf,
}

impl Catalog {
    pub(crate) fn new(root: &Path) -> Self {
        Catalog {
            root: root.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        self.root.join("artifacts.json")
    }

    /// All of it, oldest first; nothing where nothing was built yet.
    pub(crate) fn read(&self) -> Result<Vec<Artifact>, Error> {
        let path = self.path();
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file(path)(error)),
        };
        let what = format!("{} (`soci rebuild-db` writes it anew)", path.display());
        let document: Document = serde_json::from_slice(&json).map_err(Error::json(what))?;
        Ok(document.artifacts)
    }

    /// Adds artifacts; one that is known already is replaced, and counts as new.
    pub(crate) fn add(&self, artifacts: Vec<Artifact>) -> Result<(), Error> {
        self.change(|known| {
            let new: HashSet<_> = artifacts.iter().map(|a| a.digest.clone()).collect();
            known.retain(|known| !new.contains(&known.digest));
            known.extend(artifacts);
        })
    }

    pub(crate) fn remove(&self, digests: &[Digest]) -> Result<(), Error> {
        self.change(|known| known.retain(|known| !digests.contains(&known.digest)))
    }

    pub(crate) fn replace(&self, artifacts: Vec<Artifact>) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.write(artifacts)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Artifact>)) -> Result<(), Error> {
        let _lock = self.lock()?;
        let mut artifacts = self.read()?;
        change(&mut artifacts);
        self.write(artifacts)
    }

    fn write(&self, artifacts: Vec<Artifact>) -> Result<(), Error> {
        let path = self.path();
        let json = serde_json::to_vec_pretty(&Document { artifacts })
            .map_err(Error::json("list of artifacts"))?;
        let written = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
            file.write_all(&json)?;
            file.as_file().sync_data()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        written().map_err(Error::file(&path))
    }

    /// Held until dropped, or until the process ends.
    fn lock(&self) -> Result<File, Error> {
        std::fs::create_dir_all(&self.root).map_err(Error::file(&self.root))?;
        let path = self.root.join("artifacts.lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(Error::file(&path))?;
        let since = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(Error::file(path)(error)),
                Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => {
                    let waited = PATIENCE;
                    return Err(Error::Locked { path, waited });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }
}
