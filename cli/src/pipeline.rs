//! From the layers of an image to its SOCI indexes.

mod fate;
mod index;
mod known;
mod layer;
mod prefetch;
mod starts;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Digest;
use soci::plan::{self, LayerPlan};
use soci::spans::Compression;

use crate::content::Content;
use crate::error::Error;
use crate::image::Variant;
use crate::progress::Progress;
use crate::store::{Sink, Source};

pub(crate) use fate::Fate;
pub(crate) use index::{Index, IndexedVariant};
pub(crate) use known::Known;
use layer::Job;
pub(crate) use prefetch::First;
pub(crate) use starts::Starts;

/// What shows in the result.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub span_size: u64,
    pub min_layer_size: u64,
    pub build_tool: String,
    /// Tell readers which layers have no extended attributes.
    pub disable_xattrs: bool,
    /// Paths whose spans are to be loaded first.
    pub prefetch: Vec<String>,
    /// What starts read: how spans are cut, and what is to be loaded first.
    pub starts: Starts,
    /// A v1 index names its image.
    pub with_subject: bool,
}

pub(crate) struct Pipeline {
    pub source: Arc<dyn Source>,
    /// Where zTOCs go as soon as they are built; `None` builds without keeping.
    pub sink: Option<Arc<dyn Sink>>,
    /// zTOCs that need not be built again.
    pub known: Known,
    pub settings: Settings,
    /// Layers at once.
    pub jobs: usize,
    pub progress: Progress,
}

impl Pipeline {
    /// One result per variant, in their order, whatever `jobs` is. A layer that several have is read once.
    pub(crate) async fn run(
        &self,
        image: &str,
        variants: Vec<Variant>,
    ) -> Result<Vec<IndexedVariant>, Error> {
        let mut fates = HashMap::new();
        let mut wanted: HashMap<Digest, Job> = HashMap::new();
        for layer in variants.iter().flat_map(|variant| &variant.layers) {
            match plan::layer(&layer.media_type, layer.size, self.settings.min_layer_size) {
                LayerPlan::Index(compression) => {
                    let job = self.job(image, layer, compression);
                    wanted.entry(layer.digest.clone()).or_insert(job);
                }
                LayerPlan::Skip(reason) => {
                    fates.insert(layer.digest.clone(), Fate::Skipped(reason.to_string()));
                }
                LayerPlan::NotALayer => {
                    return Err(Error::NotALayer {
                        image: image.to_owned(),
                        layer: layer.digest.to_string(),
                        media_type: layer.media_type.clone(),
                    });
                }
            }
        }
        let mut jobs: Vec<_> = wanted.into_values().collect();
        // The largest first, so that none is left alone at the end.
        jobs.sort_by(|a, b| {
            let by_size = b.layer.size.cmp(&a.layer.size);
            by_size.then_with(|| a.layer.digest.as_ref().cmp(b.layer.digest.as_ref()))
        });
        let built: Vec<_> = stream::iter(jobs)
            .map(|job| async move {
                let fate = job.run().await?;
                Ok::<_, Error>((job.layer.digest.clone(), fate))
            })
            .buffer_unordered(self.jobs.max(1))
            .try_collect()
            .await?;
        fates.extend(built);
        self.assemble(image, variants, &fates).await
    }

    fn job(&self, image: &str, layer: &Content, compression: Compression) -> Job {
        Job {
            image: image.to_owned(),
            layer: layer.clone(),
            compression,
            source: self.source.clone(),
            sink: self.sink.clone(),
            known: self.known.clone(),
            settings: self.settings.clone(),
            progress: self.progress.clone(),
        }
    }

    async fn assemble(
        &self,
        image: &str,
        variants: Vec<Variant>,
        fates: &HashMap<Digest, Fate>,
    ) -> Result<Vec<IndexedVariant>, Error> {
        let prefetch = prefetch::choose(image, &self.settings, &variants, fates)?;
        let mut results = Vec::new();
        for (variant, prefetch) in variants.into_iter().zip(prefetch) {
            for artifact in &prefetch {
                if let Some(sink) = &self.sink {
                    let labels = Default::default();
                    sink.write(&artifact.content, artifact.json.clone(), labels)
                        .await?;
                }
            }
            let index = index::build(&self.settings, &variant, fates, prefetch)?;
            let layers = variant.layers.iter();
            let fates = layers.filter_map(|layer| fates.get(&layer.digest).cloned());
            results.push(IndexedVariant {
                fates: fates.collect(),
                variant,
                index,
            });
        }
        Ok(results)
    }
}
