//! Builds the zTOC of a layer in one pass over its blob.
//!
//! Everything is found out while the bytes go by: digests of the blob and of its spans, places where
//! inflating can resume, and the members of the tar. What AWS's builder makes of the same layer
//! is the same to the byte, where it makes something usable (it needs `TZ=UTC`).
//!
//! Memory: what the zTOC takes, its checkpoints once more, and less than 8 MiB besides. A zTOC takes 32 KiB for each
//! span and some 150 bytes and its name for each file, never more than [`crate::ztoc::Limits`] allow: 38 MB are needed
//! for 200 000 files, less than 64 MiB for 2 GiB and 100 000 files at 4 MiB a span, 196 MB for a million files.
//! With a profile, checkpoints of all ways to cut are held until the layer ends: up to five times 32 KiB a span.

mod budget;
mod contents;
mod cuts;
mod error;
mod files;
mod fill;
mod gunzip;
mod gzip_header;
mod inflater;
mod inflating;
mod serialize;
mod spans;
mod tree;

use oci_spec::image::Digest;

use crate::limits::Limits;
use crate::sha256::{self, Sha256Bytes};
use crate::ztoc;
use budget::Budget;
use contents::{Contents, Tar};
use gunzip::Gunzip;
use spans::{GzipSpans, Spans, TarSpans};

pub use crate::spans::Compression;
pub use cuts::Cuts;
pub use error::BuildError;
pub use inflating::Inflating;
pub use serialize::ZtocBytes;

/// What a zTOC takes besides files and spans, vtables of all shapes included.
const STORED_REST: u64 = 64 << 10;

/// How a zTOC is built; all of it shows in the zTOC's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    pub cuts: Cuts,
    /// Free text that names the tool.
    pub build_tool: String,
    pub compression: Compression,
}

/// Takes a layer's blob in pieces of any size, which do not show in the result.
pub struct Builder {
    build_tool: String,
    layer: Layer,
    contents: Contents,
    budget: Budget,
    failed: Option<BuildError>,
}

/// The blob as the registry stores it.
enum Layer {
    Gzip {
        gunzip: Box<Gunzip>,
        spans: Box<GzipSpans>,
    },
    /// Its length is that of its contents.
    Tar { spans: Box<TarSpans> },
}

/// A zTOC, and what its building found out about the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub ztoc: ZtocBytes,
    /// Of the zTOC.
    pub digest: Digest,
    /// Of the blob, as the registry stores it.
    pub layer_digest: Digest,
    pub layer_size: u64,
    pub spans: u32,
    /// All spans but the last are longer; those of a plain tar are that long.
    pub span_size: u64,
    pub files: u32,
    /// Whether a member has extended attributes.
    pub has_xattrs: bool,
    /// Whether the layer hides what a directory of a lower one holds.
    pub has_opaque: bool,
}

impl Builder {
    pub fn new(options: &BuildOptions) -> Result<Self, BuildError> {
        let limits = Limits::default();
        let span_size = options.cuts.span_size;
        if i64::try_from(span_size).is_err() {
            return Err(BuildError::SpanSize(span_size));
        }
        let layer = match options.compression {
            Compression::Gzip => Layer::Gzip {
                gunzip: Box::new(Gunzip::new()),
                spans: Box::new(GzipSpans::new(&options.cuts, &limits)),
            },
            Compression::Tar => Layer::Tar {
                spans: Box::new(TarSpans::new(span_size, &limits)?),
            },
        };
        let mut budget = Budget::new(&limits);
        budget.take(STORED_REST + options.build_tool.len() as u64)?;
        Ok(Self {
            build_tool: options.build_tool.clone(),
            layer,
            contents: Contents::new(&limits),
            budget,
            failed: None,
        })
    }

    /// Takes the next bytes of the blob. After an error every further call is the same one.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let pushed = self.layer.push(bytes, &mut self.contents, &mut self.budget);
        if let Err(error) = &pushed {
            self.failed = Some(error.clone());
        }
        pushed
    }

    /// The zTOC, once all of the blob was pushed. Readers of this crate accept it, and layers mount with it.
    pub fn finish(self) -> Result<Built, BuildError> {
        let Self {
            build_tool,
            layer,
            contents,
            mut budget,
            failed,
        } = self;
        if let Some(error) = failed {
            return Err(error);
        }
        let tar_len = contents.len();
        layer.check_end()?;
        let tar = contents.finish()?;
        tree::check(tar.files.iter())?;
        let (layer_digest, layer_size, spans) = layer.finish(&tar, tar_len, &mut budget)?;
        let mut built = Built {
            ztoc: ZtocBytes::default(),
            digest: digest(&layer_digest)?,
            layer_digest: digest(&layer_digest)?,
            layer_size,
            spans: spans.len(),
            span_size: spans.span_size,
            files: tar.files.len(),
            has_xattrs: tar.files.has_xattrs(),
            has_opaque: tar.files.has_opaque(),
        };
        let facts = serialize::Layer {
            build_tool: &build_tool,
            compressed_size: layer_size,
            uncompressed_size: tar.end,
        };
        let capacity = usize::try_from(budget.used()).unwrap_or(0);
        built.ztoc = serialize::ztoc(&facts, tar.files, spans, capacity);
        built.digest = digest(&sha256::sum(&built.ztoc))?;
        ztoc::spans(&built.ztoc, &Limits::default())?;
        Ok(built)
    }
}

impl Layer {
    fn push(
        &mut self,
        bytes: &[u8],
        contents: &mut Contents,
        budget: &mut Budget,
    ) -> Result<(), BuildError> {
        match self {
            Self::Tar { spans } => {
                spans.consume(bytes, budget)?;
                contents.push(bytes, budget)
            }
            Self::Gzip { gunzip, spans } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let step = gunzip.step(rest)?;
                    let (consumed, tail) = rest.split_at_checked(step.consumed).unwrap_or_default();
                    rest = tail;
                    spans.consume(consumed);
                    contents.push(gunzip.output(), budget)?;
                    let at = contents.len();
                    if let Some(bits) = step.boundary.filter(|_| spans.is_due(at)) {
                        spans.boundary(bits, at, gunzip.window(), budget)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether the blob may end here.
    fn check_end(&self) -> Result<(), BuildError> {
        match self {
            Self::Gzip { gunzip, .. } => gunzip.finish(),
            Self::Tar { .. } => Ok(()),
        }
    }

    /// Digest and length of the blob, and its spans.
    fn finish(
        self,
        tar: &Tar,
        tar_len: u64,
        budget: &mut Budget,
    ) -> Result<(Sha256Bytes, u64, Spans), BuildError> {
        match self {
            Self::Gzip { spans, .. } => {
                let len = spans.consumed();
                let (digest, spans) = spans.finish(tar.end)?;
                Ok((digest, len, spans))
            }
            Self::Tar { spans } => {
                let (digest, spans) = spans.finish(budget)?;
                Ok((digest, tar_len, spans))
            }
        }
    }
}

fn digest(sum: &Sha256Bytes) -> Result<Digest, BuildError> {
    let text = sha256::text(sum);
    Digest::try_from(text.as_str()).map_err(|error| BuildError::malformed(error.to_string()))
}
