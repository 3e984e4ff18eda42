//! `convert`: an image in containerd becomes another one with its indexes built in.

use std::sync::Arc;

use super::build::Building;
use super::local::{self, Local};
use super::report::{self, Report};
use super::writing;
use crate::args::{ContentStore, Convert, Global};
use crate::error::Error;
use crate::image::Selection;
use crate::output::Output;
use crate::store::{Sink, Source, Written};

pub(super) async fn run(global: &Global, output: Output, args: Convert) -> Result<(), Error> {
    check_name(&args.destination)?;
    let selection = args.platforms.selection(Selection::Host)?;
    let local = Local::writing(global).await?;
    let (source, image) = local::image(&local, &args.source).await?;
    let known = local.known(&args.build).await?;
    let sink: Arc<dyn Sink> = Arc::new(local.containerd.named(&args.destination));
    let building = Building {
        flags: &args.build,
        source: source.clone(),
        sink: Some(sink.clone()),
        known,
        output,
        with_subject: false,
        every_platform: false,
    };
    let built = building.run(&image, &selection).await?;
    let converted = writing::convert(&*source, &image, &built).await?;
    let written = converted.store(&*sink, &built).await?;
    if global.content_store == ContentStore::Soci {
        // The image needs its indexes where it is pushed from; the other store gets copies.
        let artifacts = local.sink().await?;
        let from: Arc<dyn Source> = Arc::new(local.containerd.named(&args.destination));
        for index in built.iter().filter_map(|built| built.index.as_ref()) {
            for blob in index.blobs() {
                artifacts.copy(&blob, &from).await?;
            }
            writing::index(&*artifacts, index).await?;
        }
    }
    let digest = converted.root.digest.clone();
    let records = local::records(&built, &digest, |built| {
        let original = &built.variant.manifest.digest;
        converted
            .originals
            .get(original)
            .unwrap_or(original)
            .clone()
    });
    local.catalog.add(records)?;
    local.release().await?;

    output.document(&Report {
        image: args.destination,
        platforms: report::platforms(&built),
        digest: Some(digest.to_string()),
        already_there: written == Written::Present,
    })?;
    output.result(digest.as_ref())
}

/// The new image has a digest that nobody knows yet, and must not take the name of another content.
fn check_name(name: &str) -> Result<(), Error> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    if name.contains('@') || tag.is_none_or(str::is_empty) {
        return Err(Error::usage(format!(
            "the destination image must be a tagged ref of the form \"registry/repository:tag\", not {name:?}"
        )));
    }
    Ok(())
}
