//! `create`: v1 indexes of an image in containerd.

use super::build::Building;
use super::local::{self, Local};
use super::report::{self, Report};
use super::writing;
use crate::args::{Create, Global};
use crate::error::Error;
use crate::image::Selection;
use crate::labels;
use crate::output::Output;
use crate::pipeline::Index;
use crate::store::Written;

pub(super) async fn run(global: &Global, output: Output, args: Create) -> Result<(), Error> {
    let selection = args.platforms.selection(Selection::Host)?;
    let local = Local::writing(global).await?;
    let (source, image) = local::image(&local, &args.image).await?;
    let sink = local.sink().await?;
    let known = local.known(&args.build).await?;
    let building = Building {
        flags: &args.build,
        source,
        sink: Some(sink.clone()),
        known,
        output,
        with_subject: true,
        every_platform: true,
    };
    let built = building.run(&image, &selection).await?;

    let mut already_there = true;
    let mut indexes: Vec<&Index> = Vec::new();
    for index in built.iter().filter_map(|variant| variant.index.as_ref()) {
        already_there &= writing::index(&*sink, index).await? == Written::Present;
        indexes.push(index);
    }
    if global.content_store == crate::args::ContentStore::Containerd {
        let labels = labels::image(indexes.iter().map(|index| &index.content));
        local
            .containerd
            .label_image(&args.image, &image.root, &labels)
            .await?;
    }
    let records = local::records(&built, &image.root.digest, |built| {
        built.variant.manifest.digest.clone()
    });
    local.catalog.add(records)?;
    local.release().await?;

    if output.quiet {
        for index in &indexes {
            output.result(index.content.digest.as_ref())?;
        }
    }
    output.document(&Report {
        image: args.image,
        platforms: report::platforms(&built),
        digest: None,
        already_there,
    })
}
