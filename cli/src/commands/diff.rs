//! `diff`: two SOCI indexes, and the zTOCs of the layers they share.

use oci_spec::image::Digest;
use serde::Serialize;
use soci::diff::{self, Difference};
use soci::{annotations, media_types};

use super::indexes::{Found, Search};
use super::places::{self, Place};
use crate::args::{Diff, Global};
use crate::content::Content;
use crate::error::Error;
use crate::image::Selection;
use crate::output::Output;
use crate::store::source::read;

#[derive(Serialize)]
struct Report {
    old: String,
    new: String,
    differences: Vec<Difference>,
}

pub(super) async fn run(global: &Global, output: Output, args: Diff) -> Result<(), Error> {
    let selection = args.platforms.selection(Selection::All)?;
    let names = [args.old.as_str(), args.new.as_str()];
    let places = places::open_each(&names, &args.registry, global).await?;
    let [left, right] = places.as_slice() else {
        return Err(Error::Task("opening the images"));
    };
    let old = only(left, &args.old, &selection).await?;
    let new = only(right, &args.new, &selection).await?;
    let mut differences =
        diff::indexes(&old.json, &new.json).map_err(Error::format("SOCI indexes"))?;
    for (layer, before) in ztocs(&old)? {
        let Some((_, after)) = ztocs(&new)?.into_iter().find(|(other, _)| *other == layer) else {
            continue;
        };
        if before.digest == after.digest {
            continue;
        }
        let before = read(&*left.source, &before).await?;
        let after = read(&*right.source, &after).await?;
        let found = diff::ztocs(&before, &after)
            .map_err(Error::format(format!("zTOCs of layer {layer}")))?;
        differences.extend(found.into_iter().map(|found| Difference {
            subject: format!("{layer} {}", found.subject),
            text: found.text,
        }));
    }
    for difference in &differences {
        output.result(&format!("{}: {}", difference.subject, difference.text))?;
    }
    let report = Report {
        old: old.content.digest.to_string(),
        new: new.content.digest.to_string(),
        differences,
    };
    output.document(&report)?;
    match report.differences.is_empty() {
        true => Ok(()),
        false => Err(Error::Different {
            left: args.old,
            right: args.new,
        }),
    }
}

async fn only(place: &Place, name: &str, selection: &Selection) -> Result<Found, Error> {
    let mut found = Search::of(place, name, selection).await?.found;
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (found, more) => Err(Error::usage(format!(
            "{name} has {} SOCI indexes; choose one by its digest, or its --platform",
            more + usize::from(found.is_some())
        ))),
    }
}

fn ztocs(index: &Found) -> Result<Vec<(Digest, Content)>, Error> {
    let mut found = Vec::new();
    for blob in index.manifest.layers.iter().flatten() {
        let layer = blob.annotations.get(annotations::LAYER_DIGEST);
        if let Some(Ok(layer)) = layer
            .filter(|_| blob.media_type == media_types::ZTOC)
            .map(|layer| layer.parse())
        {
            found.push((layer, Content::from_descriptor(blob)?));
        }
    }
    Ok(found)
}
