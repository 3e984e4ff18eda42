//! One image of a registry.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::distribution::Reference;
use oci_spec::image::Digest;
use registry::{BlobBody, BlobStream, Pushed, Registry, Repository};

use super::sink::{Labels, Sink, Written};
use super::source::Source;
use crate::content::{Chunks, Content};
use crate::digest;
use crate::error::Error;

#[derive(Clone)]
pub(crate) struct Remote {
    repository: Repository,
    reference: Reference,
    /// Another repository of the same registry, where blobs may be taken from.
    mount: Option<String>,
}

impl Remote {
    pub(crate) fn new(registry: &Registry, reference: Reference) -> Self {
        Remote {
            repository: registry.repository(&reference),
            reference,
            mount: None,
        }
    }

    /// Blobs that `other` has are mounted instead of copied.
    pub(crate) fn mounting_from(mut self, other: &Remote) -> Self {
        let (here, there) = (&self.reference, &other.reference);
        let is_near = here.resolve_registry() == there.resolve_registry();
        if is_near && here.repository() != there.repository() {
            self.mount = Some(there.repository().to_owned());
        }
        self
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    async fn push(&self, content: &Content, bytes: Bytes, name: &str) -> Result<Written, Error> {
        let bytes = content.check(bytes, &Source::place(self))?;
        let repository = &self.repository;
        let pushed = repository
            .push_manifest(name, &content.media_type, &bytes)
            .await?;
        if let Some(referrer) = pushed.unlisted {
            repository
                .add_referrer(&referrer.subject, referrer.descriptor)
                .await?;
        }
        Ok(written(pushed.pushed))
    }
}

fn written(pushed: Pushed) -> Written {
    match pushed {
        Pushed::Uploaded => Written::New,
        // Mounted costs one request and no bytes.
        Pushed::Present | Pushed::Mounted => Written::Present,
    }
}

fn is_manifest(content: &Content) -> bool {
    content.is_index() || content.is_manifest()
}

impl Source for Remote {
    fn place(&self) -> String {
        format!(
            "{}/{}",
            self.reference.registry(),
            self.reference.repository()
        )
    }

    fn root(&self) -> BoxFuture<'_, Result<Content, Error>> {
        async {
            let name = self.reference.digest().or(self.reference.tag());
            let (descriptor, _) = self
                .repository
                .resolve(name.unwrap_or("latest"))
                .await
                .map_err(|error| match error.is_not_found() {
                    true => Error::NoImage {
                        name: self.reference.to_string(),
                        place: self.reference.registry().to_owned(),
                    },
                    false => Error::Registry(error),
                })?;
            let media_type = descriptor.media_type().to_string();
            let digest = descriptor.digest().clone();
            Ok(Content::new(&media_type, digest, descriptor.size()))
        }
        .boxed()
    }

    fn read<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        async move {
            let read = if is_manifest(content) {
                let manifest = self.repository.manifest(&content.digest).await;
                manifest.map(|manifest| manifest.bytes)
            } else {
                let limit = content.size.min(content.limit());
                self.repository.blob(&content.digest, limit).await
            };
            match read {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn holds<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            Ok(if is_manifest(content) {
                let held = self.repository.has_manifest(&content.digest).await?;
                held.is_some()
            } else {
                self.repository.has_blob(&content.digest).await?.is_some()
            })
        }
        .boxed()
    }

    fn stream<'a>(
        &'a self,
        content: &'a Content,
        offset: u64,
    ) -> BoxFuture<'a, Result<Chunks, Error>> {
        async move {
            let blob = self.repository.stream(&content.digest).await?;
            let chunks = stream::try_unfold((blob, offset), |(mut blob, skip)| async move {
                let Some(chunk) = next(&mut blob).await? else {
                    return Ok(None);
                };
                // Only an upload that broke and goes on asks for a later part.
                let drop = usize::try_from(skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
                let rest = chunk.slice(drop..);
                Ok(Some((rest, (blob, skip.saturating_sub(drop as u64)))))
            });
            Ok(chunks.boxed())
        }
        .boxed()
    }
}

async fn next(blob: &mut BlobStream) -> Result<Option<Bytes>, Error> {
    blob.next().await.transpose().map_err(Error::Registry)
}

/// A content of another store as the body of an upload.
fn body(from: Arc<dyn Source>, content: Content, offset: u64) -> BlobBody {
    let opened = async move {
        let chunks = from.stream(&content, offset).await?;
        // The registry checks the digest; the size must not be passed unnoticed.
        Ok::<_, Error>(match offset {
            0 => digest::checked(chunks, &content, from.place()),
            _ => chunks,
        })
    };
    stream::once(opened)
        .try_flatten()
        .map_err(io::Error::other)
        .boxed()
}

impl Sink for Remote {
    fn place(&self) -> String {
        Source::place(self)
    }

    fn write<'a>(
        &'a self,
        content: &'a Content,
        bytes: Bytes,
        _labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            if is_manifest(content) {
                let name = content.digest.to_string();
                return self.push(content, bytes, &name).await;
            }
            let pushed = self
                .repository
                .push_blob(&content.digest, content.size, None, |offset| {
                    let start = usize::try_from(offset).unwrap_or(usize::MAX);
                    let rest = bytes.slice(start.min(bytes.len())..);
                    stream::iter([Ok(rest)]).boxed()
                })
                .await?;
            Ok(written(pushed))
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        content: &'a Content,
        from: &'a Arc<dyn Source>,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            let mount = self.mount.as_deref();
            let pushed = self
                .repository
                .push_blob(&content.digest, content.size, mount, |offset| {
                    body(from.clone(), content.clone(), offset)
                })
                .await?;
            Ok(written(pushed))
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
            let digest = root.digest.to_string();
            let name = self.reference.tag().unwrap_or(&digest);
            self.push(root, bytes, name).await
        }
        .boxed()
    }
}

/// A v1 index is asked for by the manifest it is about.
impl Remote {
    pub(crate) async fn indexes(&self, manifest: &Digest) -> Result<Vec<Content>, Error> {
        let kind = soci::media_types::INDEX_V1;
        let found = self.repository.referrers(manifest, kind).await?;
        Ok(found
            .into_iter()
            .map(|found| {
                Content::new(
                    found.media_type().as_ref(),
                    found.digest().clone(),
                    found.size(),
                )
            })
            .collect())
    }
}
