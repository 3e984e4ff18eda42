//! `verify`: everything an index says, compared with the image.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Digest;
use serde::Serialize;
use soci::canonical::Descriptor;
use soci::check::{LayerCheck, LayerFacts, check_image_index, check_index, check_prefetch};
use soci::finding::{Finding, Severity};
use soci::ztoc::{Limits, Ztoc};
use soci::{annotations, media_types};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::indexes::{Found, Search};
use super::places;
use crate::args::{Global, Verify, jobs};
use crate::content::{Content, MAX_BLOB};
use crate::error::Error;
use crate::image::{Selection, layers, parse};
use crate::output::Output;
use crate::progress::Progress;
use crate::store::Source;
use crate::store::source::read;

const QUEUE: usize = 8;

#[derive(Serialize)]
struct Report {
    image: String,
    indexes: Vec<String>,
    layers: usize,
    findings: Vec<Finding>,
}

pub(super) async fn run(global: &Global, output: Output, args: Verify) -> Result<(), Error> {
    let places = places::open_each(&[&args.image], &args.registry, global).await?;
    let [place] = places.as_slice() else {
        return Err(Error::Task("opening the image"));
    };
    let selection = args.platforms.selection(Selection::All)?;
    let search = Search::of(place, &args.image, &selection).await?;
    if search.found.is_empty() && search.findings.is_empty() {
        return Err(Error::Malformed {
            what: args.image,
            reason: "it has no SOCI index that could be checked".to_owned(),
        });
    }
    let mut findings = search.findings;
    findings.extend(image(&*place.source).await?);
    let mut checks = Vec::new();
    let mut seen = HashSet::new();
    for index in &search.found {
        let manifest = index.image.as_ref().map(|(_, json)| &**json);
        findings.extend(check_index(&index.json, manifest));
        for check in blobs(index)? {
            if seen.insert((check.layer.digest.clone(), check.blob.digest.clone())) {
                checks.push(check);
            }
        }
    }
    let progress = Progress::new(output.quiet || output.json);
    let layers = checks.len();
    let found: Vec<Vec<Finding>> = stream::iter(checks)
        .map(|check| check.run(place.source.clone(), args.skip_layers, progress.clone()))
        .buffered(jobs(args.jobs))
        .try_collect()
        .await?;
    findings.extend(found.into_iter().flatten());
    findings.sort_by_key(|finding| finding.severity);
    let indexes = search.found.iter().map(|f| f.content.digest.to_string());
    report(
        output,
        Report {
            image: args.image,
            indexes: indexes.collect(),
            layers,
            findings,
        },
    )
}

fn report(output: Output, report: Report) -> Result<(), Error> {
    let count = |severity| {
        let findings = report.findings.iter();
        findings.filter(|f| f.severity == severity).count()
    };
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        output.result(&format!(
            "{severity}: {} [{}] {}",
            finding.subject, finding.code, finding.text
        ))?;
    }
    let errors = count(Severity::Error);
    output.line(&format!(
        "checked {} index(es) and {} layer(s): {errors} error(s), {} warning(s), {} note(s)",
        report.indexes.len(),
        report.layers,
        count(Severity::Warning),
        count(Severity::Note)
    ))?;
    output.document(&report)?;
    match errors {
        0 => Ok(()),
        errors => Err(Error::Findings {
            image: report.image,
            errors,
        }),
    }
}

/// How an image that lists its indexes ties them together.
async fn image(source: &dyn Source) -> Result<Vec<Finding>, Error> {
    let root = source.root().await?;
    if !root.is_index() {
        return Ok(Vec::new());
    }
    let json = read(source, &root).await?;
    let index: soci::canonical::Index = serde_json::from_slice(&json)
        .map_err(Error::json(format!("image index {}", root.digest)))?;
    let mut manifests: HashMap<Digest, Vec<u8>> = HashMap::new();
    for listed in &index.manifests {
        let content = Content::from_descriptor(listed)?;
        if let Some(json) = source.read(&content).await? {
            manifests.insert(content.digest, json.to_vec());
        }
    }
    Ok(check_image_index(&json, &manifests))
}

/// One blob of an index, and the layer it is about.
struct Check {
    layer: Content,
    /// A zTOC.
    blob: Content,
    span_size: Option<u64>,
    disable_xattrs: bool,
    prefetch: Vec<Content>,
}

fn blobs(index: &Found) -> Result<Vec<Check>, Error> {
    let image = match &index.image {
        Some((content, json)) => layers(&parse(content, json)?)?,
        None => Vec::new(),
    };
    let about = |blob: &Descriptor| -> Option<Digest> {
        blob.annotations
            .get(annotations::LAYER_DIGEST)?
            .parse()
            .ok()
    };
    let blobs: Vec<_> = index.manifest.layers.iter().flatten().collect();
    let mut checks = Vec::new();
    for blob in &blobs {
        // What else is wrong with a descriptor, check_index says.
        let Some(layer) = about(blob).filter(|_| blob.media_type == media_types::ZTOC) else {
            continue;
        };
        let annotation = |key| blob.annotations.get(key);
        let known = image.iter().find(|known| known.digest == layer).cloned();
        let prefetch = blobs
            .iter()
            .filter(|b| b.media_type == media_types::PREFETCH && about(b).as_ref() == Some(&layer));
        checks.push(Check {
            span_size: annotation(annotations::SPAN_SIZE).and_then(|size| size.parse().ok()),
            disable_xattrs: annotation(annotations::DISABLE_XATTRS).is_some_and(|value| {
                matches!(value.as_str(), "1" | "t" | "T" | "TRUE" | "true" | "True")
            }),
            prefetch: prefetch
                .map(|blob| Content::from_descriptor(blob))
                .collect::<Result<_, _>>()?,
            blob: Content::from_descriptor(blob)?,
            layer: known.unwrap_or_else(|| Content::new("", layer, 0)),
        });
    }
    Ok(checks)
}

impl Check {
    async fn run(
        self,
        source: Arc<dyn Source>,
        skip_layer: bool,
        progress: Progress,
    ) -> Result<Vec<Finding>, Error> {
        if self.blob.size > MAX_BLOB {
            let text = format!("a zTOC of {} bytes is not read", self.blob.size);
            return Ok(vec![self.finding("ztoc-too-large", text)]);
        }
        let ztoc = match source.read(&self.blob).await {
            Ok(Some(ztoc)) => ztoc,
            Ok(None) => {
                let text = format!("its zTOC {} is not there", self.blob.digest);
                return Ok(vec![self.finding("ztoc-missing", text)]);
            }
            Err(Error::Registry(
                error @ (registry::Error::Digest { .. } | registry::Error::TooLarge { .. }),
            )) => return Ok(vec![self.finding("ztoc-digest", error.to_string())]),
            Err(error @ Error::Malformed { .. }) => {
                return Ok(vec![self.finding("ztoc-digest", error.to_string())]);
            }
            Err(error) => return Err(error),
        };
        let mut findings = Vec::new();
        let parsed = Ztoc::parse(&ztoc, &Limits::default());
        let size = parsed.as_ref().map(|ztoc| ztoc.spans.compressed_size());
        for artifact in &self.prefetch {
            let spans = parsed.as_ref().map_or(0, |ztoc| ztoc.spans.len());
            match source.read(artifact).await? {
                Some(json) => findings.extend(check_prefetch(&json, &self.layer.digest, spans)),
                None => {
                    let text = format!("its prefetch artifact {} is not there", artifact.digest);
                    findings.push(self.finding("prefetch-missing", text));
                }
            }
        }
        let mut layer = self.layer.clone();
        if layer.size == 0 {
            layer.size = size.as_ref().map_or(0, |size| *size);
        }
        if skip_layer {
            if let Err(error) = parsed {
                findings.push(self.finding("ztoc-refused", error.to_string()));
            }
            return Ok(findings);
        }
        drop(parsed);
        if !source.holds(&layer).await? {
            findings.push(self.finding("layer-missing", "the layer is not there".to_owned()));
            return Ok(findings);
        }
        findings.extend(self.layer(&*source, layer, ztoc, progress).await?);
        Ok(findings)
    }

    async fn layer(
        &self,
        source: &dyn Source,
        layer: Content,
        ztoc: Bytes,
        progress: Progress,
    ) -> Result<Vec<Finding>, Error> {
        let facts = LayerFacts {
            layer: layer.digest.clone(),
            size: layer.size,
            ztoc: self.blob.digest.clone(),
            ztoc_size: self.blob.size,
            span_size: self.span_size,
            disable_xattrs: self.disable_xattrs,
        };
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
        let check = spawn_blocking(move || {
            let mut check = LayerCheck::new(&ztoc, facts, &Limits::default());
            while let Some(bytes) = receiver.blocking_recv() {
                check.push(&bytes);
            }
            check.finish()
        });
        let bar = progress.layer(&layer);
        let mut chunks = source.stream(&layer, 0).await?;
        while let Some(chunk) = chunks.try_next().await? {
            bar.advance(chunk.len());
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        drop(sender);
        check.await.map_err(|_| Error::Task("the check of a layer"))
    }

    fn finding(&self, code: &'static str, text: String) -> Finding {
        Finding {
            severity: Severity::Error,
            code,
            subject: self.layer.digest.to_string(),
            text,
        }
    }
}
