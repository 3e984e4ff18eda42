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

/// A layer to be pulled.
pub(super) struct Whole<'a> {
    pub(super) repository: &'a Repository,
    pub(super) layer: &'a Digest,
    pub(super) cache: &'a Arc<Cache>,
    pub(super) limits: &'a Limits,
}

impl Whole<'_> {
    /// Streams the blob through hash, inflate, tar scan and disk at once; memory stays bounded. Which tar it has to
    /// be is asked for meanwhile.
    pub(super) async fn pull(
        self,
        diff_id: impl Future<Output = Result<Digest, String>>,
    ) -> Result<Toc, String> {
        let pulling = async { self.fetch().await.map_err(|error| error.to_string()) };
        let (pulled, diff_id) = tokio::try_join!(pulling, diff_id)?;
        let kept = tokio::task::spawn_blocking(move || pulled.keep(&diff_id)).await;
        kept.map_err(|_| PullError::Interrupted)
            .flatten()
            .map_err(|error| error.to_string())
    }

    async fn fetch(&self) -> Result<Pulled, PullError> {
        let mut stream = self.repository.stream(self.layer).await?;
        let (cache, layer) = (Arc::clone(self.cache), self.layer.clone());
        let scanner = Scanner::new(self.limits);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let work = tokio::task::spawn_blocking(move || {
            let sink = Sink {
                failed: None,
                diff_id: Sha256::new(),
                scanner,
                writer: cache.local_writer(&layer).map_err(PullError::Cache)?,
            };
            consume(receiver, sink, &layer)
        });
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
}

/// A layer that is all here and has its digest.
struct Pulled {
    toc: Toc,
    diff_id: String,
    writer: LocalWriter,
}

impl Pulled {
    /// Only if it is the tar that the image configuration names. Blocks.
    fn keep(self, expected: &Digest) -> Result<Toc, PullError> {
        if self.diff_id != expected.as_ref() {
            return Err(PullError::DiffId {
                expected: expected.clone(),
                found: self.diff_id,
            });
        }
        self.writer.commit().map_err(PullError::Cache)?;
        Ok(self.toc)
    }
}

fn consume(
    mut chunks: mpsc::Receiver<Option<Bytes>>,
    sink: Sink,
    expected: &Digest,
) -> Result<Pulled, PullError> {
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
    if found != expected.as_ref() {
        return Err(PullError::Digest {
            expected: expected.clone(),
            found,
        });
    }
    Ok(Pulled {
        diff_id: digest_text(sink.diff_id),
        toc: sink.scanner.finish()?,
        writer: sink.writer,
    })
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use layer::CacheOptions;

    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../soci/tests/fixtures");
        std::fs::read(dir.join(name)).unwrap()
    }

    fn digest(bytes: &[u8]) -> Digest {
        digest_text(Sha256::new_with_prefix(bytes)).parse().unwrap()
    }

    struct Outcome {
        pulled: Result<Toc, PullError>,
        kept: bool,
    }

    /// As the manifest and the image configuration say.
    struct Expected {
        layer: Digest,
        diff_id: Digest,
    }

    /// Feeds `blob` in pieces of `chunk` bytes; `whole`: the stream ended as it should.
    fn check(blob: &[u8], expected: Expected, chunk: usize, whole: bool) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), CacheOptions::default()).unwrap();
        let writer = cache.local_writer(&expected.layer).unwrap();
        let limits = Limits::default();
        let sink = Sink {
            failed: None,
            diff_id: Sha256::new(),
            scanner: Scanner::new(&limits),
            writer,
        };
        let (sender, receiver) = mpsc::channel(blob.len() / chunk + 2);
        for piece in blob.chunks(chunk) {
            sender
                .try_send(Some(Bytes::copy_from_slice(piece)))
                .unwrap();
        }
        if whole {
            sender.try_send(None).unwrap();
        }
        drop(sender);
        let pulled = consume(receiver, sink, &expected.layer)
            .and_then(|pulled| pulled.keep(&expected.diff_id));
        let kept = cache
            .scan_local(&expected.layer, &limits)
            .unwrap()
            .is_some();
        Outcome { pulled, kept }
    }

    fn expected(blob: &[u8], tar: &[u8]) -> Expected {
        Expected {
            layer: digest(blob),
            diff_id: digest(tar),
        }
    }

    #[test]
    fn a_layer_is_kept_whatever_its_compression_and_however_it_arrives() {
        let tar = fixture("pax.tar");
        let gzip = fixture("pax.tar.gz");
        for (blob, chunk) in [(&gzip, 1 << 16), (&gzip, 7), (&tar, 1 << 16), (&tar, 3)] {
            let outcome = check(blob, expected(blob, &tar), chunk, true);
            assert!(outcome.pulled.unwrap().len() > 10);
            assert!(outcome.kept);
        }
    }

    #[test]
    fn nothing_is_kept_of_a_layer_that_is_not_what_the_manifest_says() {
        let (blob, tar) = (fixture("pax.tar.gz"), fixture("pax.tar"));
        let other = digest(b"other");
        let wrong = Expected {
            layer: other.clone(),
            diff_id: digest(&tar),
        };
        let outcome = check(&blob, wrong, 4096, true);
        assert!(matches!(outcome.pulled, Err(PullError::Digest { .. })));
        assert!(!outcome.kept);
        let wrong = Expected {
            layer: digest(&blob),
            diff_id: other,
        };
        let outcome = check(&blob, wrong, 4096, true);
        assert!(matches!(outcome.pulled, Err(PullError::DiffId { .. })));
        assert!(!outcome.kept);
    }

    #[test]
    fn nothing_is_kept_of_a_layer_that_breaks_off() {
        let (blob, tar) = (fixture("pax.tar.gz"), fixture("pax.tar"));
        let outcome = check(&blob[..blob.len() / 2], expected(&blob, &tar), 4096, false);
        assert!(matches!(outcome.pulled, Err(PullError::Interrupted)));
        assert!(!outcome.kept);
        let cut = &blob[..blob.len() - 9];
        let outcome = check(cut, expected(cut, &tar), 4096, true);
        assert!(
            matches!(outcome.pulled, Err(PullError::Inflate(_))),
            "{:?}",
            outcome.pulled.err()
        );
        assert!(!outcome.kept);
    }

    #[test]
    fn what_only_containerd_can_unpack_is_said_so() {
        let mut zstd = ZSTD_MAGIC.to_vec();
        zstd.extend_from_slice(&[0; 64]);
        let outcome = check(&zstd, expected(&zstd, b""), 1, true);
        assert!(matches!(outcome.pulled, Err(PullError::Zstd)));
        let global = fixture("neg-pax-global.tar.gz");
        let outcome = check(&global, expected(&global, b""), 4096, true);
        assert!(
            matches!(outcome.pulled, Err(PullError::Tar(_))),
            "{:?}",
            outcome.pulled.err()
        );
    }
}
