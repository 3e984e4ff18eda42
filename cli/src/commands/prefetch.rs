//! `prefetch list|info`: artifacts built on this machine.

use std::ops::Range;
use std::time::SystemTime;

use oci_spec::image::Digest;
use serde::Serialize;
use soci::prefetch;
use soci::profile::FirstRead;

use super::{local, profiles};
use crate::args::{Global, PrefetchCommand};
use crate::catalog::{Artifact, Catalog, Kind};
use crate::content::Content;
use crate::error::Error;
use crate::output::{Output, Row};
use crate::profile;
use crate::store::Source;
use crate::time;

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    artifact: Artifact,
    /// Unknown where the artifact is gone or damaged.
    total_spans: Option<u64>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    artifact: Artifact,
    spans: Vec<Span>,
    /// In the order of a start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reads: Vec<Read>,
}

/// A range of the tar.
#[derive(Serialize)]
struct Read {
    start: u64,
    end: u64,
    at_ms: u32,
}

impl Read {
    fn new(read: &FirstRead) -> Self {
        Read {
            start: read.tar.start,
            end: read.tar.end,
            at_ms: read.at_ms,
        }
    }
}

#[derive(Serialize)]
struct Span {
    start_span: u32,
    end_span: u32,
}

pub(super) async fn run(
    global: &Global,
    output: Output,
    command: PrefetchCommand,
) -> Result<(), Error> {
    match command {
        PrefetchCommand::List(_) => list(global, output).await,
        PrefetchCommand::Info(args) => match profile::digest(&args.what) {
            Some(digest) => info(global, output, digest).await,
            None => profiles::info(output, args.what.as_ref()),
        },
        PrefetchCommand::Recorded(_) => profiles::recorded(global, output),
        PrefetchCommand::Export(args) => profiles::export(global, output, args).await,
        PrefetchCommand::Merge(args) => profiles::merge(output, &args),
    }
}

async fn list(global: &Global, output: Output) -> Result<(), Error> {
    let mut artifacts = Catalog::new(&global.root).read()?;
    artifacts.retain(|artifact| artifact.kind == Kind::Prefetch);
    artifacts.reverse();
    let store = match artifacts.is_empty() {
        true => None,
        false => Some(local::artifacts(global).await?),
    };
    let now = SystemTime::now();
    let mut rows = Vec::new();
    for artifact in artifacts {
        let spans = match &store {
            Some(store) => parsed(&**store, &artifact).await.ok(),
            None => None,
        };
        let total_spans = spans.map(|parsed| parsed.spans.iter().map(length).sum::<u64>());
        rows.push(Row {
            cells: vec![
                artifact.digest.to_string(),
                artifact.subject.to_string(),
                total_spans.map_or("N/A".to_owned(), |spans| spans.to_string()),
                time::ago(artifact.created(), now),
            ],
            record: Listed {
                artifact,
                total_spans,
            },
        });
    }
    output.listing(&["DIGEST", "LAYER DIGEST", "SPANS", "CREATED"], &rows)
}

async fn info(global: &Global, output: Output, digest: Digest) -> Result<(), Error> {
    let catalog = Catalog::new(&global.root).read()?;
    let artifact = catalog.into_iter().find(|a| a.digest == digest);
    let artifact = artifact.ok_or_else(|| Error::NotListed(digest.clone()))?;
    if artifact.kind != Kind::Prefetch {
        return Err(Error::usage(format!("{digest} is no prefetch artifact")));
    }
    let store = local::artifacts(global).await?;
    let parsed = parsed(&*store, &artifact).await?;
    let ranges = parsed.spans;
    if output.json {
        let spans = ranges.iter().map(|range| Span {
            start_span: range.start,
            end_span: range.end.saturating_sub(1),
        });
        return output.document(&Shown {
            artifact,
            spans: spans.collect(),
            reads: parsed.reads.iter().map(Read::new).collect(),
        });
    }
    let facts = [
        ("Digest", artifact.digest.to_string()),
        ("Version", "1.0".to_owned()),
        ("Span Ranges", ranges.len().to_string()),
        ("Layer Digest", artifact.subject.to_string()),
        ("Size", format!("{} bytes", artifact.size)),
        ("Created", time::rfc3339(artifact.created())),
    ];
    for (name, value) in facts {
        output.result(&format!("{:<15}{value}", format!("{name}:")))?;
    }
    output.result("\nPrefetch Spans:")?;
    for (number, range) in ranges.iter().enumerate() {
        output.result(&format!(
            "  [{number}] StartSpan: {}, EndSpan: {} (covers {} spans)",
            range.start,
            range.end.saturating_sub(1),
            length(range)
        ))?;
    }
    let total: u64 = ranges.iter().map(length).sum();
    output.result(&format!("\nTotal spans to prefetch: {total}"))?;
    if parsed.reads.is_empty() {
        return Ok(());
    }
    let bytes: u64 = parsed.reads.iter().map(|r| r.tar.end - r.tar.start).sum();
    output.result(&format!(
        "Reads of a start:        {} ranges, {bytes} bytes of the tar",
        parsed.reads.len()
    ))
}

fn length(range: &Range<u32>) -> u64 {
    u64::from(range.end.saturating_sub(range.start))
}

async fn parsed(store: &dyn Source, artifact: &Artifact) -> Result<prefetch::Artifact, Error> {
    let content = Content::new(&artifact.media_type, artifact.digest.clone(), artifact.size);
    let json = crate::store::source::read(store, &content).await?;
    // How many spans the layer has is not known here; a reader checks that.
    let what = format!("prefetch artifact {}", artifact.digest);
    prefetch::parse(&json, u32::MAX).map_err(Error::format(what))
}
