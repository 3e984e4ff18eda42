//! What all building commands have in common: an image in, its indexes out.

use std::sync::Arc;

use crate::args::{self, Build};
use crate::error::Error;
use crate::image::{Image, Selection};
use crate::output::Output;
use crate::pipeline::{IndexedVariant, Known, Pipeline, Settings};
use crate::progress::Progress;
use crate::store::{Sink, Source};

pub(super) struct Building<'a> {
    pub(super) flags: &'a Build,
    pub(super) source: Arc<dyn Source>,
    pub(super) sink: Option<Arc<dyn Sink>>,
    pub(super) known: Known,
    pub(super) output: Output,
    pub(super) with_subject: bool,
    /// A platform without anything to index fails the command, not only all of them.
    pub(super) every_platform: bool,
}

impl Building<'_> {
    /// Prints the lines about the layers.
    pub(super) async fn run(
        self,
        image: &Image,
        selection: &Selection,
    ) -> Result<Vec<IndexedVariant>, Error> {
        let mut variants = Vec::new();
        for platform in image.platforms(selection)? {
            variants.push(image.variant(&*self.source, &platform).await?);
        }
        let starts = self.flags.starts()?;
        let foreign = starts.foreign(&image.name, &variants)?;
        let pipeline = Pipeline {
            source: self.source,
            sink: self.sink,
            known: self.known,
            settings: Settings {
                span_size: self.flags.span_size,
                min_layer_size: self.flags.min_layer_size,
                build_tool: args::BUILD_TOOL.to_owned(),
                disable_xattrs: self.flags.disable_xattrs(),
                prefetch: self.flags.prefetch()?,
                starts: starts.clone(),
                with_subject: self.with_subject,
            },
            jobs: self.flags.jobs(),
            progress: Progress::new(self.output.quiet || self.output.json),
        };
        let built = pipeline.run(&image.name, variants).await?;
        super::report::lines(self.output, &built)?;
        super::report::foreign(self.output, &foreign)?;
        let empty = |variant: &IndexedVariant| variant.index.is_none();
        let fails = if self.every_platform {
            built.iter().any(empty)
        } else {
            built.iter().all(empty)
        };
        if fails {
            return Err(Error::NothingToIndex {
                image: image.name.clone(),
                min_layer_size: self.flags.min_layer_size,
            });
        }
        Ok(built)
    }
}
