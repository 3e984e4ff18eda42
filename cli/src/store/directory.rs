//! Writes OCI layouts into directories.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Digest;
use soci::canonical::{self, Index};
use soci::media_types;
use tokio::io::AsyncWriteExt;

use super::apart::blob;
use super::sink::{Labels, Sink, Written};
use super::source::Source;
use crate::content::{Chunks, Content};
use crate::digest;
use crate::error::Error;

pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A directory that is, or becomes, an OCI layout.
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Files that belong to something else are left alone: the directory must be new, empty or a layout.
    pub(crate) async fn create(path: &Path) -> Result<Self, Error> {
        let is_layout = path.join("oci-layout").is_file();
        let is_free = match std::fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(Error::file(path)(error)),
        };
        if !is_layout && !is_free {
            return Err(Error::usage(format!(
                "{} holds other files and no OCI layout; choose a new or empty directory",
                path.display()
            )));
        }
        let directory = Directory {
            path: path.to_owned(),
        };
        let blobs = path.join("blobs/sha256");
        tokio::fs::create_dir_all(&blobs)
            .await
            .map_err(Error::file(&blobs))?;
        directory.replace("oci-layout", LAYOUT.into()).await?;
        Ok(directory)
    }

    /// Removes a blob; one that is not there is no error.
    pub(crate) async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path.join(blob(digest));
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path)(error)),
            _ => Ok(()),
        }
    }

    async fn put(&self, content: &Content, bytes: Chunks) -> Result<Written, Error> {
        let name = blob(&content.digest);
        let path = self.path.join(&name);
        let held = tokio::fs::metadata(&path).await;
        if held.is_ok_and(|file| file.len() == content.size) {
            return Ok(Written::Present);
        }
        let place = self.place();
        self.stream_into(&path, digest::checked(bytes, content, place))
            .await?;
        Ok(Written::New)
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<(), Error> {
        let chunks = stream::iter([Ok(bytes)]).boxed();
        self.stream_into(&self.path.join(name), chunks).await
    }

    /// A reader sees the old file or the whole new one.
    async fn stream_into(&self, path: &Path, mut chunks: Chunks) -> Result<(), Error> {
        let parent = path.parent().unwrap_or(&self.path);
        let temporary = tempfile::NamedTempFile::new_in(parent).map_err(Error::file(path))?;
        let file = temporary.reopen().map_err(Error::file(path))?;
        let mut file = tokio::fs::File::from_std(file);
        while let Some(chunk) = chunks.try_next().await? {
            file.write_all(&chunk).await.map_err(Error::file(path))?;
        }
        file.flush().await.map_err(Error::file(path))?;
        let path = path.to_owned();
        let persisted = tokio::task::spawn_blocking(move || {
            readable(temporary.as_file())?;
            temporary.persist(&path).map_err(|error| error.error)?;
            Ok(())
        });
        let persisted = persisted.await.map_err(|_| Error::Task("writing a file"))?;
        persisted.map_err(Error::file(&self.path))
    }
}

/// Temporary files are private; layouts are not.
#[cfg(unix)]
pub(super) fn readable(file: &std::fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
pub(super) fn readable(_file: &std::fs::File) -> io::Result<()> {
    Ok(())
}

/// `index.json` of a layout with one image.
pub(super) fn index_json(root: &Content) -> Result<Bytes, Error> {
    let index = Index {
        schema_version: 2,
        media_type: media_types::IMAGE_INDEX.to_owned(),
        manifests: vec![root.to_descriptor()],
        ..Index::default()
    };
    let json = canonical::to_vec(&index).map_err(Error::format("index.json"))?;
    Ok(json.into())
}

impl Sink for Directory {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn write<'a>(
        &'a self,
        content: &'a Content,
        bytes: Bytes,
        _labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        let chunks = stream::iter([Ok(bytes)]).boxed();
        self.put(content, chunks).boxed()
    }

    fn copy<'a>(
        &'a self,
        content: &'a Content,
        from: &'a Arc<dyn Source>,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            let chunks = from.stream(content, 0).await?;
            self.put(content, chunks).await
        }
        .boxed()
    }

    fn name<'a>(
        &'a self,
        root: &'a Content,
        bytes: Bytes,
        _labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            let chunks = stream::iter([Ok(bytes)]).boxed();
            let written = self.put(root, chunks).await?;
            self.replace("index.json", index_json(root)?).await?;
            Ok(written)
        }
        .boxed()
    }
}
