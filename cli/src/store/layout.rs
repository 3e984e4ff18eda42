//! Images in OCI layouts and docker archives, in a directory or a tar.

use std::path::Path;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt};
use soci::canonical::{self, Index, MAX_LEN};
use soci::media_types;

use super::apart::{Apart, blob};
use super::docker;
use super::extent::Extent;
use super::files::Files;
use super::source::Source;
use crate::content::{Chunks, Content};
use crate::error::Error;

/// One image of a layout.
pub(crate) struct Layout {
    files: Files,
    root: Content,
    /// What the layout does not hold as a file named by its digest.
    apart: Apart,
}

impl Layout {
    /// `image` chooses one of several by its name or digest.
    pub(crate) async fn open(path: &Path, image: Option<&str>) -> Result<Self, Error> {
        let files = Files::open(path).await?;
        let mut apart = Apart::default();
        let root = match files.read("index.json", MAX_LEN).await? {
            Some(json) => root(&files, &json, image, &mut apart).await?,
            None => docker::root(&files, image, &mut apart).await?,
        };
        Ok(Layout { files, root, apart })
    }

    /// A layout in which contents are only looked up.
    pub(crate) async fn contents(path: &Path) -> Result<Self, Error> {
        Ok(Layout {
            files: Files::open(path).await?,
            root: Content::of(media_types::IMAGE_INDEX, b"")?,
            apart: Apart::default(),
        })
    }

    fn name(&self, content: &Content) -> String {
        let apart = self.apart.files.get(&content.digest);
        apart.cloned().unwrap_or_else(|| blob(&content.digest))
    }
}

/// The manifest or index that `index.json` stands for. Listed manifests that the layout does not hold are
/// left out, since a partial copy of an image is an image of its platforms.
async fn root(
    files: &Files,
    json: &[u8],
    image: Option<&str>,
    apart: &mut Apart,
) -> Result<Content, Error> {
    let what = || format!("index.json of {}", files.path().display());
    let mut top: Index = serde_json::from_slice(json).map_err(Error::json(what()))?;
    if let Some(image) = image {
        top.manifests.retain(|manifest| {
            let names = [
                "org.opencontainers.image.ref.name",
                "io.containerd.image.name",
            ];
            let named = |key: &&str| manifest.annotations.get(*key).is_some_and(|n| n == image);
            manifest.digest == image || names.iter().any(named)
        });
    }
    let mut list = top;
    let mut whole = None;
    if let [only] = list.manifests.as_slice() {
        let content = Content::from_descriptor(only)?;
        if !content.is_index() {
            return Ok(content);
        }
        let nested = files.read(&blob(&content.digest), MAX_LEN).await?;
        let nested = nested.ok_or_else(|| Error::NoContent {
            digest: content.digest.clone(),
            place: files.path().display().to_string(),
        })?;
        let nested = content.check(nested, &files.path().display().to_string())?;
        list = serde_json::from_slice(&nested).map_err(Error::json(what()))?;
        whole = Some(content);
    }
    let all = list.manifests.len();
    let mut held = Vec::new();
    for manifest in list.manifests {
        let content = Content::from_descriptor(&manifest)?;
        if files.size(&blob(&content.digest)).await?.is_some() {
            held.push(manifest);
        }
    }
    match (held.as_slice(), whole) {
        ([], _) => Err(Error::NoImage {
            name: image.unwrap_or("any image").to_owned(),
            place: files.path().display().to_string(),
        }),
        ([only], _) if Content::from_descriptor(only)?.is_manifest() => {
            Content::from_descriptor(only)
        }
        (_, Some(whole)) if held.len() == all => Ok(whole),
        _ => {
            let list = Index {
                schema_version: 2,
                media_type: media_types::IMAGE_INDEX.to_owned(),
                manifests: held,
                ..list_without_manifests(list.annotations)
            };
            let json = canonical::to_vec(&list).map_err(Error::format(what()))?;
            let content = Content::of(media_types::IMAGE_INDEX, &json)?;
            apart.bytes.insert(content.digest.clone(), json.into());
            Ok(content)
        }
    }
}

fn list_without_manifests(annotations: canonical::Annotations) -> Index {
    Index {
        annotations,
        ..Index::default()
    }
}

impl Source for Layout {
    fn place(&self) -> String {
        self.files.path().display().to_string()
    }

    fn root(&self) -> BoxFuture<'_, Result<Content, Error>> {
        std::future::ready(Ok(self.root.clone())).boxed()
    }

    fn read<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        async move {
            if let Some(bytes) = self.apart.bytes.get(&content.digest) {
                return Ok(Some(bytes.clone()));
            }
            let name = self.name(content);
            let bytes = self.files.read(&name, content.limit()).await?;
            bytes
                .map(|bytes| content.check(bytes, &self.place()))
                .transpose()
        }
        .boxed()
    }

    fn holds<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            let apart = self.apart.bytes.contains_key(&content.digest);
            Ok(apart || self.files.size(&self.name(content)).await?.is_some())
        }
        .boxed()
    }

    fn stream<'a>(
        &'a self,
        content: &'a Content,
        offset: u64,
    ) -> BoxFuture<'a, Result<Chunks, Error>> {
        async move {
            if let Some(bytes) = self.apart.bytes.get(&content.digest) {
                let start = usize::try_from(offset).map_or(bytes.len(), |n| n.min(bytes.len()));
                let rest = bytes.slice(start..);
                return Ok(stream::iter([Ok(rest)]).boxed());
            }
            let name = self.name(content);
            if self.files.size(&name).await?.is_none() {
                return Err(Error::NoContent {
                    digest: content.digest.clone(),
                    place: self.place(),
                });
            }
            self.files.stream(&name, offset).await
        }
        .boxed()
    }
    fn extent<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<Option<Extent>, Error>> {
        async move {
            match self.apart.bytes.contains_key(&content.digest) {
                true => Ok(None),
                false => self.files.extent(&self.name(content)).await,
            }
        }
        .boxed()
    }
}
