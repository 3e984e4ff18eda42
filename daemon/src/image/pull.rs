//! Pulling one layer whole: its tar goes into one file of the cache, nothing is unpacked.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use layer::{Cache, LocalWriter};
use oci_spec::image::Digest;
use registry::Repository;
use sha2::{Digest as _, Sha256};
use soci::tar::Scanner;
use soci::toc::Toc;
use soci::ztoc::Limits;
use tokio::sync::mpsc;

/// Chunks between the socket and the inflating thread.
const QUEUE: usize = 16;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("{0}")]
    Registry(#[from] registry::Error),
    #[error("the layer is compressed with zstd, which only containerd unpacks")]
    Zstd,
    #[error("the layer cannot be decompressed: {0}")]
    Inflate(io::Error),
    #[error("the layer is not a tar that can be mounted: {0}")]
    Tar(#[from] soci::Error),
    #[error("the layer's bytes have the digest {found} instead of {expected}")]
    Digest { expected: Digest, found: String },
    #[error("the layer's tar has the digest {found}; the image configuration says {expected}")]
    DiffId { expected: Digest, found: String },
    #[error("the layer cannot be kept on disk: {0}")]
    Cache(layer::Error),
    #[error("the pull was interrupted")]
    Interrupted,
}

/// A layer as it has to turn out.
pub(super) struct Expected {
    pub(super) layer: Digest,
    pub(super) diff_id: Digest,
}

/// Streams the blob through hash, inflate, tar scan and disk at once; memory stays bounded.
pub(super) async fn pull(
    repository: &Repository,
    expected: Expected,
    cache: &Arc<Cache>,
    limits: &Limits,
) -> Result<Toc, PullError> {
    let mut stream = repository.stream(&expected.layer).await?;
    let writer = cache
        .local_writer(&expected.layer)
        .map_err(PullError::Cache)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let sink = Sink {
        failed: None,
        diff_id: Sha256::new(),
        scanner: Scanner::new(limits),
        writer,
    };
    let work = tokio::task::spawn_blocking(move || consume(receiver, sink, &expected));
    let mut broken = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                // The consumer went away with an error of its own, which is the one to report.
                if sender.send(Some(chunk)).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    if broken.is_none() {
        // Without this mark an interrupted stream would look like a whole one.
        let _ = sender.send(None).await;
    }
    drop(sender);
    let result = work.await.map_err(|_| PullError::Interrupted)?;
    match broken {
        Some(error) => Err(error.into()),
        None => result,
    }
}

fn consume(
    mut chunks: mpsc::Receiver<Option<Bytes>>,
    sink: Sink,
    expected: &Expected,
) -> Result<Toc, PullError> {
    let mut compressed = Sha256::new();
    let mut decoder = Decoder::Unknown {
        start: Vec::new(),
        sink,
    };
    loop {
        match chunks.blocking_recv() {
            None => return Err(PullError::Interrupted),
            Some(None) => break,
            Some(Some(chunk)) => {
                compressed.update(&chunk);
                decoder = decoder.push(&chunk)?;
            }
        }
    }
    let sink = decoder.finish()?;
    let found = digest_text(compressed);
    if found != expected.layer.as_ref() {
        return Err(PullError::Digest {
            expected: expected.layer.clone(),
            found,
        });
    }
    let found = digest_text(sink.diff_id);
    if found != expected.diff_id.as_ref() {
        return Err(PullError::DiffId {
            expected: expected.diff_id.clone(),
            found,
        });
    }
    let toc = sink.scanner.finish()?;
    sink.writer.commit().map_err(PullError::Cache)?;
    Ok(toc)
}

fn digest_text(hasher: Sha256) -> String {
    use std::fmt::Write as _;
    hasher
        .finalize()
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The first bytes tell the compression: media types are known to be wrong.
enum Decoder {
    Unknown { start: Vec<u8>, sink: Sink },
    Gzip(Box<MultiGzDecoder<Sink>>),
    Plain(Sink),
}

impl Decoder {
    fn push(self, chunk: &[u8]) -> Result<Self, PullError> {
        match self {
            Decoder::Unknown { mut start, sink } => {
                start.extend_from_slice(chunk);
                if start.len() < ZSTD_MAGIC.len() {
                    return Ok(Decoder::Unknown { start, sink });
                }
                Self::choose(&start, sink)?.push(&start)
            }
            Decoder::Gzip(mut decoder) => match decoder.write_all(chunk) {
                Ok(()) => Ok(Decoder::Gzip(decoder)),
                Err(error) => Err(decoder.get_mut().reason(error)),
            },
            Decoder::Plain(mut sink) => match sink.write_all(chunk) {
                Ok(()) => Ok(Decoder::Plain(sink)),
                Err(error) => Err(sink.reason(error)),
            },
        }
    }

    fn choose(start: &[u8], sink: Sink) -> Result<Self, PullError> {
        if start.starts_with(&ZSTD_MAGIC) {
            return Err(PullError::Zstd);
        }
        Ok(if start.starts_with(&GZIP_MAGIC) {
            Decoder::Gzip(Box::new(MultiGzDecoder::new(sink)))
        } else {
            Decoder::Plain(sink)
        })
    }

    fn finish(self) -> Result<Sink, PullError> {
        match self {
            Decoder::Unknown { start, sink } => Decoder::Plain(sink).push(&start)?.finish(),
            Decoder::Plain(sink) => Ok(sink),
            Decoder::Gzip(mut decoder) => match decoder.try_finish() {
                Ok(()) => decoder.finish().map_err(PullError::Inflate),
                Err(error) => Err(decoder.get_mut().reason(error)),
            },
        }
    }
}

/// Where the tar goes. The decoder only passes `io::Error` on, so the precise one waits here.
struct Sink {
    failed: Option<PullError>,
    diff_id: Sha256,
    scanner: Scanner,
    writer: LocalWriter,
}

impl Sink {
    fn reason(&mut self, error: io::Error) -> PullError {
        self.failed.take().unwrap_or(PullError::Inflate(error))
    }

    fn take(&mut self, tar: &[u8]) -> Result<(), PullError> {
        self.diff_id.update(tar);
        self.scanner.push(tar)?;
        self.writer.write(tar).map_err(PullError::Cache)
    }
}

impl Write for Sink {
    fn write(&mut self, tar: &[u8]) -> io::Result<usize> {
        match self.take(tar) {
            Ok(()) => Ok(tar.len()),
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("see the sink"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
