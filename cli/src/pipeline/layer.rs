//! One layer: streamed once through the builder, its zTOC handed on.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::TryStreamExt;
use soci::build::{BuildError, BuildOptions, Builder, Built, Cuts};
use soci::spans::{Compression, SpanTable};
use soci::toc::Toc;
use soci::ztoc::{Limits, Ztoc};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::Settings;
use super::fate::{Fate, Indexed};
use super::known::{Known, KnownZtoc};
use crate::content::Content;
use crate::digest::{checked, delivered};
use crate::error::Error;
use crate::progress::Progress;
use crate::store::{Labels, Sink, Source};

/// Pieces between the store and the builder: enough to keep both busy.
const QUEUE: usize = 8;

pub(super) struct Job {
    pub(super) image: String,
    pub(super) layer: Content,
    pub(super) compression: Compression,
    pub(super) source: Arc<dyn Source>,
    pub(super) sink: Option<Arc<dyn Sink>>,
    pub(super) known: Known,
    pub(super) settings: Settings,
    pub(super) progress: Progress,
}

impl Job {
    pub(super) async fn run(&self) -> Result<Fate, Error> {
        let (layer, settings) = (&self.layer.digest, &self.settings);
        let cuts = settings.starts.cuts(layer, settings.span_size);
        // What was built before was cut otherwise.
        if cuts.is_none()
            && let Some((ztoc, store)) = self.known.find(layer).await?
            && let Some(indexed) = self.reuse(ztoc, &store).await?
        {
            return Ok(Fate::Indexed(indexed));
        }
        let cuts = cuts.unwrap_or_else(|| Cuts::every(settings.span_size));
        let built = match self.build(cuts).await {
            Ok(built) => built,
            Err(Error::Layer {
                image,
                layer,
                source,
            }) => {
                // The builder stopped early: what it saw may not have been the layer.
                self.read_again().await?;
                if is_unsupported(&source) {
                    return Ok(Fate::Skipped(source.to_string()));
                }
                return Err(Error::Layer {
                    image,
                    layer,
                    source,
                });
            }
            Err(error) => return Err(error),
        };
        let ztoc = Content::new(
            soci::media_types::ZTOC,
            built.digest,
            built.ztoc.len() as u64,
        );
        let bytes = Bytes::from_owner(built.ztoc);
        let contents = self.contents(&bytes)?;
        if let Some(sink) = &self.sink {
            sink.write(&ztoc, bytes, Labels::new()).await?;
        }
        let plain = !built.has_xattrs && !built.has_opaque;
        Ok(Fate::Indexed(Indexed {
            ztoc,
            span_size: built.span_size,
            reused: false,
            disable_xattrs: self.settings.disable_xattrs && plain,
            contents,
        }))
    }

    /// `None` where the zTOC cannot be used after all.
    async fn reuse(
        &self,
        known: KnownZtoc,
        store: &Arc<dyn Source>,
    ) -> Result<Option<Indexed>, Error> {
        let (ztoc, span_size) = (known.content, known.span_size);
        let must_read = self.settings.disable_xattrs || self.is_searched();
        let mut disable_xattrs = false;
        let mut contents = None;
        if must_read {
            let Some(bytes) = store.read(&ztoc).await? else {
                return Ok(None);
            };
            let Ok(parsed) = Ztoc::parse(&bytes, &Limits::default()) else {
                return Ok(None);
            };
            disable_xattrs = self.settings.disable_xattrs && is_plain(&parsed.toc);
            contents = Some(Arc::new((parsed.toc, parsed.spans)));
        }
        if let Some(sink) = &self.sink {
            sink.copy(&ztoc, store).await?;
        }
        Ok(Some(Indexed {
            ztoc,
            span_size,
            reused: true,
            disable_xattrs,
            contents,
        }))
    }

    fn contents(&self, ztoc: &[u8]) -> Result<Option<Arc<(Toc, SpanTable)>>, Error> {
        if !self.is_searched() {
            return Ok(None);
        }
        let what = || format!("zTOC of layer {}", self.layer.digest);
        let parsed = Ztoc::parse(ztoc, &Limits::default()).map_err(Error::format(what()))?;
        Ok(Some(Arc::new((parsed.toc, parsed.spans))))
    }

    /// Somebody asks which spans hold something.
    fn is_searched(&self) -> bool {
        let settings = &self.settings;
        !settings.prefetch.is_empty() || settings.starts.first(&self.layer.digest).is_some()
    }

    async fn build(&self, cuts: Cuts) -> Result<Built, Error> {
        let options = BuildOptions {
            cuts,
            build_tool: self.settings.build_tool.clone(),
            compression: self.compression,
        };
        let extent = self.source.extent(&self.layer).await?;
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
        // Cancelled by dropping the sender: the builder then finds the layer cut off.
        let builder = spawn_blocking(move || {
            let mut builder = Builder::new(&options)?;
            while let Some(bytes) = receiver.blocking_recv() {
                builder.push(&bytes)?;
            }
            builder.finish()
        });
        let fed = self.feed(sender).await;
        let built = builder.await.map_err(|_| Error::Task("the zTOC builder"))?;
        // A broken stream explains a builder that is not content, not the other way round.
        fed?;
        let built = built.map_err(|source| Error::Layer {
            image: self.image.clone(),
            layer: self.layer.digest.to_string(),
            source: Box::new(source),
        })?;
        self.compare(&built)?;
        if let (Some(sink), Some(extent)) = (&self.sink, extent) {
            sink.verified(&self.layer, extent).await;
        }
        Ok(built)
    }

    /// Ends early when the builder gives up.
    async fn feed(&self, sender: mpsc::Sender<Bytes>) -> Result<(), Error> {
        let bar = self.progress.layer(&self.layer);
        let mut chunks = self.source.stream(&self.layer, 0).await?;
        let mut left = self.layer.size;
        while let Some(chunk) = chunks.try_next().await? {
            bar.advance(chunk.len());
            let rest = left.checked_sub(chunk.len() as u64);
            left = rest.ok_or_else(|| {
                let expected = format!("{} bytes", self.layer.size);
                self.delivered("size", expected, "more".to_owned())
            })?;
            if sender.send(chunk).await.is_err() {
                return Ok(());
            }
        }
        if left > 0 {
            let expected = format!("{} bytes", self.layer.size);
            let actual = format!("{} bytes", self.layer.size - left);
            return Err(self.delivered("size", expected, actual));
        }
        Ok(())
    }

    /// An error unless the store has the layer that the image names.
    async fn read_again(&self) -> Result<(), Error> {
        let chunks = self.source.stream(&self.layer, 0).await?;
        let mut chunks = checked(chunks, &self.layer, self.source.place());
        while chunks.try_next().await?.is_some() {}
        Ok(())
    }

    fn compare(&self, built: &Built) -> Result<(), Error> {
        if built.layer_digest == self.layer.digest {
            return Ok(());
        }
        let expected = self.layer.digest.to_string();
        let actual = built.layer_digest.to_string();
        Err(self.delivered("digest", expected, actual))
    }

    fn delivered(&self, what: &'static str, expected: String, actual: String) -> Error {
        delivered(&self.layer, self.source.place(), what, expected, actual)
    }
}

/// No entry has extended attributes, nor will one get the one that hides a lower directory.
fn is_plain(toc: &Toc) -> bool {
    toc.iter().all(|(_, entry)| {
        entry.xattrs().next().is_none() && !entry.name().ends_with(b".wh..wh..opq")
    })
}

/// The layer is sound, and works without an index.
fn is_unsupported(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::Unsupported { .. } | BuildError::Limit { .. }
    )
}
