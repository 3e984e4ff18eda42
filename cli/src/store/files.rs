//! The files of an image layout, whether they lie in a directory or in a tar.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::task::spawn_blocking;

use super::extent::Extent;
use super::tar::{self, Place};
use crate::content::Chunks;
use crate::error::Error;

/// Read at once from a file.
const CHUNK: usize = 256 << 10;

#[derive(Clone)]
pub(super) enum Files {
    Directory(PathBuf),
    Archive(Arc<Archive>),
}

pub(super) struct Archive {
    path: PathBuf,
    places: HashMap<String, Place>,
}

impl Files {
    /// Of an archive, all headers are read now.
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let opened = spawn_blocking(move || {
            let file = File::open(&path).map_err(Error::file(&path))?;
            let metadata = file.metadata().map_err(Error::file(&path))?;
            if metadata.is_dir() {
                return Ok(Files::Directory(path));
            }
            let places = tar::places(file, &path)?;
            Ok(Files::Archive(Arc::new(Archive { path, places })))
        });
        opened
            .await
            .map_err(|_| Error::Task("reading an archive"))?
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Files::Directory(path) => path,
            Files::Archive(archive) => &archive.path,
        }
    }

    pub(super) async fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        match self {
            Files::Archive(archive) => Ok(archive.places.get(name).map(|place| place.size)),
            Files::Directory(path) => {
                let path = inside(path, name);
                match tokio::fs::metadata(&path).await {
                    Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
                    Ok(_) => Ok(None),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::file(path)(error)),
                }
            }
        }
    }

    /// A whole small file.
    pub(super) async fn read(&self, name: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        let Some(size) = self.size(name).await? else {
            return Ok(None);
        };
        if size > limit {
            return Err(Error::Malformed {
                what: format!("{name} of {}", self.path().display()),
                reason: format!("{size} bytes, at most {limit} are read"),
            });
        }
        let (files, name) = (self.clone(), name.to_owned());
        let read = spawn_blocking(move || {
            let mut bytes = Vec::new();
            let (file, size) = files.file(&name, 0)?;
            let read = file.take(size).read_to_end(&mut bytes);
            read.map_err(Error::file(files.path()))?;
            Ok(Some(Bytes::from(bytes)))
        });
        read.await.map_err(|_| Error::Task("reading a file"))?
    }

    pub(super) async fn stream(&self, name: &str, offset: u64) -> Result<Chunks, Error> {
        let (files, name) = (self.clone(), name.to_owned());
        let path = self.path().to_owned();
        let opened = spawn_blocking(move || files.file(&name, offset));
        let opened = opened.await.map_err(|_| Error::Task("opening a file"))??;
        let chunks = stream::try_unfold(opened, move |(file, left)| {
            let path = path.clone();
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let read = spawn_blocking(move || {
                    let len = usize::try_from(left).map_or(CHUNK, |n| n.min(CHUNK));
                    let mut chunk = Vec::with_capacity(len);
                    (&file).take(len as u64).read_to_end(&mut chunk)?;
                    Ok((Bytes::from(chunk), file))
                });
                let read = read.await.map_err(|_| Error::Task("reading a file"))?;
                let (chunk, file) = read.map_err(Error::file(path))?;
                if chunk.is_empty() {
                    return Ok(None);
                }
                let left = left.saturating_sub(chunk.len() as u64);
                Ok(Some((chunk, (file, left))))
            }
        });
        Ok(chunks.boxed())
    }

    pub(super) async fn extent(&self, name: &str) -> Result<Option<Extent>, Error> {
        if self.size(name).await?.is_none() {
            return Ok(None);
        }
        let (files, name) = (self.clone(), name.to_owned());
        let opened = spawn_blocking(move || {
            let (mut file, size) = files.file(&name, 0)?;
            let extent = file
                .stream_position()
                .and_then(|offset| Extent::new(file, offset, size));
            extent.map(Some).map_err(Error::file(files.path()))
        });
        opened.await.map_err(|_| Error::Task("opening a file"))?
    }

    /// The file behind a name, at an offset into it, and how much of it follows.
    fn file(&self, name: &str, offset: u64) -> Result<(File, u64), Error> {
        let (path, place) = match self {
            Files::Archive(archive) => (archive.path.clone(), archive.places.get(name).copied()),
            Files::Directory(path) => (inside(path, name), None),
        };
        let mut file = File::open(&path).map_err(Error::file(&path))?;
        let place = match place {
            Some(place) => place,
            None => Place {
                offset: 0,
                size: file.metadata().map_err(Error::file(&path))?.len(),
            },
        };
        let start = place.offset.saturating_add(offset);
        file.seek(SeekFrom::Start(start))
            .map_err(Error::file(&path))?;
        Ok((file, place.size.saturating_sub(offset)))
    }
}

/// A name that would lead out of the directory leads nowhere.
fn inside(directory: &Path, name: &str) -> PathBuf {
    let plain = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    directory.join(if plain { name } else { ".absent" })
}
