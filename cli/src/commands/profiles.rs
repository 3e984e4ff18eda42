//! `prefetch recorded|export|merge`, and `prefetch info` of a file: start-up profiles.

use std::path::Path;
use std::time::SystemTime;

use oci_spec::image::Digest;
use serde::Serialize;
use soci::profile::Profile;

use super::places;
use crate::args::{Global, PrefetchExport, PrefetchMerge};
use crate::error::Error;
use crate::image::{Image, Selection};
use crate::output::{Output, Row};
use crate::profile::{self, Recorded};
use crate::time;

#[derive(Serialize)]
struct Listed {
    manifest: String,
    #[serde(flatten)]
    profile: Shown,
}

#[derive(Serialize)]
struct Shown {
    /// Starts it stands for.
    runs: u32,
    layers: Vec<LayerShown>,
}

#[derive(Serialize)]
struct LayerShown {
    layer: String,
    ranges: usize,
    /// Of the tar.
    bytes: u64,
    /// From the first read of the start to that of the last range.
    last_ms: u32,
}

impl Shown {
    fn new(profile: &Profile) -> Self {
        let layers = profile.layers().map(|(layer, reads)| LayerShown {
            layer: layer.to_string(),
            ranges: reads.reads().len(),
            bytes: reads.bytes(),
            last_ms: reads.reads().last().map_or(0, |read| read.at_ms),
        });
        Shown {
            runs: profile.runs(),
            layers: layers.collect(),
        }
    }
}

pub(super) fn recorded(global: &Global, output: Output) -> Result<(), Error> {
    let now = SystemTime::now();
    let records = Recorded::below(&global.root).all()?.into_iter();
    let rows = records.map(|record| {
        let profile = Shown::new(&record.profile);
        let bytes: u64 = profile.layers.iter().map(|layer| layer.bytes).sum();
        let manifest = record.manifest.to_string();
        let layers = profile.layers.len();
        Row {
            cells: vec![
                manifest.clone(),
                profile.runs.to_string(),
                layers.to_string(),
                bytes.to_string(),
                time::ago(record.changed, now),
            ],
            record: Listed { manifest, profile },
        }
    });
    let rows: Vec<_> = rows.collect();
    output.listing(
        &["IMAGE MANIFEST", "STARTS", "LAYERS", "BYTES", "CHANGED"],
        &rows,
    )
}

pub(super) async fn export(
    global: &Global,
    output: Output,
    args: PrefetchExport,
) -> Result<(), Error> {
    let recorded = Recorded::below(&global.root);
    let mut found: Option<Profile> = None;
    for manifest in manifests(global, &args).await? {
        let Some(profile) = recorded.find(&manifest)? else {
            continue;
        };
        match &mut found {
            Some(found) => found.merge(&profile),
            None => found = Some(profile),
        }
    }
    let profile = found.ok_or_else(|| Error::NotRecorded {
        image: args.image.clone(),
        directory: recorded.directory().to_owned(),
    })?;
    written(output, &profile, args.output.as_deref())
}

pub(super) fn merge(output: Output, args: &PrefetchMerge) -> Result<(), Error> {
    let mut files = args.files.iter();
    let mut profile = files
        .next()
        .map_or(Ok(Profile::new()), |file| profile::read(file))?;
    for file in files {
        profile.merge(&profile::read(file)?);
    }
    written(output, &profile, args.output.as_deref())
}

fn written(output: Output, profile: &Profile, to: Option<&Path>) -> Result<(), Error> {
    profile::write(profile, to)?;
    let Some(path) = to else { return Ok(()) };
    let shown = Shown::new(profile);
    output.document(&shown)?;
    let bytes: u64 = shown.layers.iter().map(|layer| layer.bytes).sum();
    output.line(&format!(
        "{}: {} start(s), {} layer(s), {bytes} bytes",
        path.display(),
        shown.runs,
        shown.layers.len()
    ))
}

/// The manifests that an image may have been run by.
async fn manifests(global: &Global, args: &PrefetchExport) -> Result<Vec<Digest>, Error> {
    if let Some(digest) = profile::digest(&args.image) {
        return Ok(vec![digest]);
    }
    let places = places::open_each(&[&args.image], &args.registry, global).await?;
    let mut digests = Vec::new();
    for place in places {
        let image = Image::load(&*place.source, &args.image).await?;
        let selection = args.platforms.selection(Selection::Host)?;
        for platform in image.platforms(&selection)? {
            let variant = image.variant(&*place.source, &platform).await?;
            digests.push(variant.manifest.digest);
        }
    }
    Ok(digests)
}

pub(super) fn info(output: Output, path: &Path) -> Result<(), Error> {
    let shown = Shown::new(&profile::read(path)?);
    if output.json {
        return output.document(&shown);
    }
    let starts = format!("{} start(s) recorded", shown.runs);
    output.line(&starts)?;
    let rows: Vec<_> = shown
        .layers
        .into_iter()
        .map(|layer| Row {
            cells: vec![
                layer.layer.clone(),
                layer.ranges.to_string(),
                layer.bytes.to_string(),
                layer.last_ms.to_string(),
            ],
            record: layer,
        })
        .collect();
    output.listing(&["LAYER", "RANGES", "BYTES", "LAST READ AT MS"], &rows)
}
