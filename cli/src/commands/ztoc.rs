//! `ztoc list|info|get-file`.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream::TryStreamExt;
use oci_spec::image::Digest;
use serde::Serialize;
use soci::spans::SpanId;
use soci::toc::{Entry, Kind as EntryKind};
use soci::ztoc::{Limits, Ztoc};

use super::local::{self, Local};
use crate::args::{Global, ZtocCommand, ZtocGetFile, ZtocInfo, ZtocList};
use crate::catalog::{Artifact, Catalog, Kind};
use crate::content::Content;
use crate::error::Error;
use crate::image::Selection;
use crate::output::{self, Output, Row};
use crate::store::Source;
use crate::store::source::read;

pub(super) async fn run(
    global: &Global,
    output: Output,
    command: ZtocCommand,
) -> Result<(), Error> {
    match command {
        ZtocCommand::List(args) => list(global, output, args).await,
        ZtocCommand::Info(args) => info(global, args).await,
        ZtocCommand::GetFile(args) => get_file(global, args).await,
    }
}

async fn list(global: &Global, output: Output, args: ZtocList) -> Result<(), Error> {
    let artifacts = Catalog::new(&global.root).read()?;
    let of_image = match &args.image_ref {
        Some(image) => Some(listed_by(global, image, &artifacts).await?),
        None => None,
    };
    let wanted = |artifact: &&Artifact| {
        artifact.kind == Kind::Ztoc
            && args
                .ztoc_digest
                .as_ref()
                .is_none_or(|d| *d == artifact.digest)
            && of_image
                .as_ref()
                .is_none_or(|of| of.contains(&artifact.digest))
    };
    let rows: Vec<_> = artifacts
        .iter()
        .filter(wanted)
        .map(|artifact| Row {
            cells: vec![
                artifact.digest.to_string(),
                artifact.size.to_string(),
                artifact.subject.to_string(),
            ],
            record: artifact.clone(),
        })
        .collect();
    if let (Some(digest), Some(image), true) = (&args.ztoc_digest, &args.image_ref, rows.is_empty())
    {
        return Err(Error::Malformed {
            what: digest.to_string(),
            reason: format!("no such zTOC belongs to {image}"),
        });
    }
    output.listing(&["DIGEST", "SIZE", "LAYER DIGEST"], &rows)
}

/// What the indexes of an image list.
async fn listed_by(
    global: &Global,
    image: &str,
    artifacts: &[Artifact],
) -> Result<HashSet<Digest>, Error> {
    let local = Local::reading(global).await?;
    let (_, image) = local::image(&local, image).await?;
    let platforms = image.platforms(&Selection::All)?;
    let manifests: HashSet<_> = platforms
        .iter()
        .filter_map(|platform| image.listed.find(platform))
        .map(|listed| listed.digest)
        .collect();
    let indexes = artifacts
        .iter()
        .filter(|artifact| manifests.contains(&artifact.subject));
    let blobs = indexes.flat_map(|index| index.index.iter().flat_map(|facts| &facts.blobs));
    Ok(blobs.cloned().collect())
}

#[derive(Serialize)]
struct Info {
    version: String,
    build_tool: String,
    size: u64,
    span_size: u64,
    num_spans: u32,
    num_files: u32,
    num_multi_span_files: usize,
    files: Vec<FileInfo>,
}

#[derive(Serialize)]
struct FileInfo {
    filename: String,
    offset: u64,
    size: u64,
    r#type: &'static str,
    start_span: u32,
    end_span: u32,
}

async fn info(global: &Global, args: ZtocInfo) -> Result<(), Error> {
    let (artifact, blob) = find(global, &args.digest).await?;
    let ztoc = parse(&args.digest, &blob)?;
    let files: Vec<_> = ztoc
        .toc
        .iter()
        .map(|(_, entry)| {
            let spans = spans(&ztoc, &entry);
            FileInfo {
                filename: String::from_utf8_lossy(entry.name()).into_owned(),
                offset: entry.offset(),
                size: entry.size(),
                r#type: kind(entry.kind()),
                start_span: spans.start,
                end_span: spans.end.saturating_sub(1).max(spans.start),
            }
        })
        .collect();
    output::pretty(&Info {
        version: ztoc.version.clone(),
        build_tool: ztoc.build_tool.clone(),
        size: artifact.size,
        span_size: artifact.span_size.unwrap_or_default(),
        num_spans: ztoc.spans.len(),
        num_files: ztoc.toc.len(),
        num_multi_span_files: files.iter().filter(|f| f.start_span != f.end_span).count(),
        files,
    })
}

/// The spans of an entry's data; of an entry without data where it would be.
fn spans(ztoc: &Ztoc, entry: &Entry<'_>) -> Range<u32> {
    let start = entry.offset();
    let end = start.saturating_add(entry.size().max(1));
    match ztoc.spans.covering(start..end) {
        spans if spans.is_empty() => {
            let last = ztoc.spans.len().saturating_sub(1);
            last..last.saturating_add(1)
        }
        spans => spans,
    }
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Hardlink => "hardlink",
        EntryKind::Symlink => "symlink",
        EntryKind::Dir => "dir",
        EntryKind::Reg => "reg",
        EntryKind::Char => "char",
        EntryKind::Block => "block",
        EntryKind::Fifo => "fifo",
    }
}

async fn get_file(global: &Global, args: ZtocGetFile) -> Result<(), Error> {
    let (artifact, blob) = find(global, &args.digest).await?;
    let ztoc = parse(&args.digest, &blob)?;
    let what = || format!("{} in layer {}", args.file, artifact.subject);
    let wanted = clean(args.file.as_bytes());
    let entry = ztoc
        .toc
        .iter()
        .map(|(_, entry)| entry)
        .filter(|entry| entry.kind() == EntryKind::Reg && clean(entry.name()) == wanted)
        .last();
    let entry = entry.ok_or_else(|| Error::Malformed {
        what: what(),
        reason: "no such regular file".to_owned(),
    })?;
    let local = Local::reading(global).await?;
    let layers = local.containerd.named("");
    let layer = Content::new("", artifact.subject.clone(), ztoc.spans.compressed_size());
    let tar = entry.offset()..entry.offset().saturating_add(entry.size());
    let mut out = Sink::open(args.output.as_deref())?;
    for span in ztoc.spans.covering(tar.clone()) {
        let span = SpanId(span);
        let bytes =
            inflate(&ztoc, &blob, span, &layers, &layer)
                .await
                .map_err(|error| match error {
                    Error::Format { source, .. } => Error::format(what())(source),
                    error => error,
                })?;
        let Some(range) = ztoc.spans.uncompressed(span) else {
            continue;
        };
        let start = tar.start.saturating_sub(range.start);
        let end = tar.end.min(range.end).saturating_sub(range.start);
        let bounds = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let part = bounds.and_then(|(start, end)| bytes.get(start..end));
        out.write(part.unwrap_or_default())?;
    }
    Ok(())
}

/// One span of the layer, fetched alone and checked.
async fn inflate(
    ztoc: &Ztoc,
    blob: &Bytes,
    span: SpanId,
    layers: &dyn Source,
    layer: &Content,
) -> Result<Vec<u8>, Error> {
    let range = ztoc.spans.compressed(span).unwrap_or_default();
    let mut chunks = layers.stream(layer, range.start).await?;
    let mut left = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or_default();
    let mut compressed = Vec::new();
    while left > 0 {
        let Some(chunk) = chunks.try_next().await? else {
            break;
        };
        let part = chunk.slice(..chunk.len().min(left));
        left -= part.len();
        compressed.extend_from_slice(&part);
    }
    let window = match ztoc.spans.window(span) {
        Some(window) => {
            let bounds = usize::try_from(window.blob.start)
                .ok()
                .zip(usize::try_from(window.blob.end).ok());
            let bytes = bounds.and_then(|(start, end)| blob.get(start..end));
            bytes.unwrap_or_default()
        }
        None => &[],
    };
    let verified = ztoc.spans.verify(span, &compressed);
    verified
        .and_then(|()| ztoc.spans.inflate(span, &compressed, window))
        .map_err(Error::format("span"))
}

/// Names in a tar may begin with `./` or `/`.
fn clean(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

enum Sink {
    Stdout,
    File(std::fs::File, std::path::PathBuf),
}

impl Sink {
    fn open(path: Option<&Path>) -> Result<Self, Error> {
        match path {
            None => Ok(Sink::Stdout),
            Some(path) => {
                let file = std::fs::File::create(path).map_err(Error::file(path))?;
                Ok(Sink::File(file, path.to_owned()))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Sink::Stdout => output::raw(bytes),
            Sink::File(file, path) => {
                std::io::Write::write_all(file, bytes).map_err(Error::file(path.as_path()))
            }
        }
    }
}

async fn find(global: &Global, digest: &Digest) -> Result<(Artifact, Bytes), Error> {
    let catalog = Catalog::new(&global.root).read()?;
    let artifact = catalog.into_iter().find(|known| known.digest == *digest);
    let artifact = artifact.ok_or_else(|| Error::NotListed(digest.clone()))?;
    if artifact.kind != Kind::Ztoc {
        return Err(Error::usage(format!(
            "{digest} is no zTOC; see `soci index info` and `soci prefetch info`"
        )));
    }
    let store = local::artifacts(global).await?;
    let content = Content::new(&artifact.media_type, digest.clone(), artifact.size);
    let blob = read(&*store, &content).await?;
    Ok((artifact, blob))
}

fn parse(digest: &Digest, blob: &[u8]) -> Result<Ztoc, Error> {
    Ztoc::parse(blob, &Limits::default()).map_err(Error::format(format!("zTOC {digest}")))
}
