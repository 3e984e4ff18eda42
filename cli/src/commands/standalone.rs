//! `convert --standalone`: from a layout or an archive to another one.

use std::path::Path;
use std::sync::Arc;

use super::build::Building;
use super::report::{self, Report};
use super::writing;
use crate::args::{Convert, Format};
use crate::error::Error;
use crate::graph::{Copying, Silent};
use crate::image::{Image, Selection};
use crate::location::Location;
use crate::output::Output;
use crate::pipeline::Known;
use crate::store::{Archive, Directory, Layout, Sink, Source};

pub(super) async fn run(output: Output, args: Convert) -> Result<(), Error> {
    let selection = args.platforms.selection(Selection::Host)?;
    let location = match Location::parse(&args.source) {
        Ok(files @ Location::Files { .. }) => files,
        _ => Location::files(&args.source),
    };
    let Location::Files { path, image } = location else {
        return Err(Error::usage("--standalone reads files"));
    };
    let source: Arc<dyn Source> = Arc::new(Layout::open(&path, image.as_deref()).await?);
    let destination = Path::new(&args.destination);
    let sink: Arc<dyn Sink> = match args.format {
        Format::OciArchive => Arc::new(Archive::create(destination).await?),
        Format::OciDir => Arc::new(Directory::create(destination).await?),
    };
    let image = Image::load(&*source, &args.source).await?;
    let building = Building {
        flags: &args.build,
        source: source.clone(),
        sink: Some(sink.clone()),
        known: Known::default(),
        output,
        with_subject: false,
        every_platform: false,
    };
    let built = building.run(&image, &selection).await?;
    let converted = writing::convert(&*source, &image, &built).await?;
    let copying = Copying {
        from: source,
        to: sink.clone(),
        width: args.build.jobs(),
        observer: Arc::new(Silent),
    };
    converted.copy_blobs(&copying).await?;
    converted.store(&*sink, &built).await?;

    let digest = converted.root.digest.to_string();
    output.document(&Report {
        image: args.destination,
        platforms: report::platforms(&built),
        digest: Some(digest.clone()),
        already_there: false,
    })?;
    output.result(&digest)
}
