//! Copies manifests with all they refer to, what is referred to first.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, TryStreamExt};
use soci::canonical::Index;

use crate::content::Content;
use crate::error::Error;
use crate::image::{layers, parse};
use crate::store::source::read;
use crate::store::{Labels, Sink, Source, Written};

/// From one store to another.
#[derive(Clone)]
pub(crate) struct Copying {
    pub from: Arc<dyn Source>,
    pub to: Arc<dyn Sink>,
    /// How many blobs are on their way at once.
    pub width: usize,
    pub observer: Arc<dyn Observer>,
}

/// Is told of every content, in no particular order.
pub(crate) trait Observer: Send + Sync {
    fn done(&self, _content: &Content, _written: Written) {}
}

pub(crate) struct Silent;

impl Observer for Silent {}

impl Copying {
    /// A manifest or an index and everything below it; what the source lacks of an index is left out.
    pub(crate) fn graph<'a>(&'a self, root: &'a Content) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let json = read(&*self.from, root).await?;
            if root.is_index() {
                let index: Index = serde_json::from_slice(&json)
                    .map_err(Error::json(format!("index {}", root.digest)))?;
                for listed in &index.manifests {
                    let listed = Content::from_descriptor(listed)?;
                    if self.from.holds(&listed).await? {
                        self.graph(&listed).await?;
                    }
                }
            } else {
                self.below(root, &json).await?;
            }
            let written = self.to.write(root, json, Labels::new()).await?;
            self.observer.done(root, written);
            Ok(())
        }
        .boxed()
    }

    /// The config and the layers of a manifest.
    pub(crate) async fn below(&self, manifest: &Content, json: &[u8]) -> Result<(), Error> {
        let parsed = parse(manifest, json)?;
        let mut blobs = layers(&parsed)?;
        blobs.push(Content::from_descriptor(&parsed.config)?);
        // Layers that only their publisher may pass on are fetched from there.
        blobs.retain(|blob| !blob.media_type.contains("nondistributable") && !is_foreign(blob));
        let mut seen = std::collections::HashSet::new();
        blobs.retain(|blob| seen.insert(blob.digest.clone()));
        stream::iter(blobs.iter().map(Ok))
            .try_for_each_concurrent(self.width.max(1), |blob| async move {
                let written = self.to.copy(blob, &self.from).await?;
                self.observer.done(blob, written);
                Ok(())
            })
            .await
    }
}

fn is_foreign(blob: &Content) -> bool {
    blob.media_type.contains(".foreign.")
}
