//! One layer against its zTOC, as the layer streams by.

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::gunzip::{Fault, Gunzip};
use super::members::Members;
use super::spans::Spans;
use super::stored::Stored;
use crate::error::Error;
use crate::finding::{Finding, Findings, quote};
use crate::limits::Limits;
use crate::sha256;
use crate::spans::{Compression, SpanId, SpanTable};
use crate::ztoc::Ztoc;

/// What is said about a layer and its zTOC elsewhere: in the image manifest and the SOCI index.
#[derive(Clone, Debug)]
pub struct LayerFacts {
    pub layer: Digest,
    pub size: u64,
    pub ztoc: Digest,
    pub ztoc_size: u64,
    /// Of the annotation; `None` where there is none.
    pub span_size: Option<u64>,
    pub disable_xattrs: bool,
}

/// Checks one layer against its zTOC as the layer streams by. Holds a span at a time and a hash per entry.
pub struct LayerCheck<'a> {
    facts: LayerFacts,
    findings: Findings,
    digest: Sha256,
    size: u64,
    decoder: Decoder,
    /// `None` where the zTOC was refused.
    spans: Option<Spans<'a>>,
    members: Members<'a>,
}

enum Decoder {
    /// Not known before the first byte, for want of a zTOC that says it.
    Unknown,
    Gzip(Box<Gunzip>),
    Tar,
    /// Nothing that follows is inflated.
    Done,
    Failed,
}

impl<'a> LayerCheck<'a> {
    pub fn new(ztoc: &'a [u8], facts: LayerFacts, limits: &Limits) -> Self {
        let mut findings = Findings::new(facts.layer.to_string());
        if ztoc.len() as u64 != facts.ztoc_size {
            let (real, told) = (ztoc.len(), facts.ztoc_size);
            let text = format!("the zTOC has {real} bytes, its descriptor says {told}");
            findings.error("ztoc-size", text);
        }
        let real = sha256::text(&sha256::sum(ztoc));
        if real != facts.ztoc.as_ref() {
            let text = format!(
                "the digest of the zTOC is {real}, its descriptor says {}",
                facts.ztoc
            );
            findings.error("ztoc-digest", text);
        }
        let table = match Ztoc::parse(ztoc, limits) {
            Ok(ztoc) => Some(ztoc.spans),
            Err(error) => {
                findings.error(refused(&error), error.to_string());
                None
            }
        };
        // Another finding about the same damage would say nothing new.
        let stored = Stored::read(ztoc, limits.entries).ok();
        if let (Some(table), Some(stored)) = (&table, &stored) {
            ztoc_facts(table, stored, &facts, &mut findings);
        }
        let decoder = match table.as_ref().map(SpanTable::compression) {
            Some(Compression::Gzip) => Decoder::Gzip(Box::new(Gunzip::new())),
            Some(Compression::Tar) => Decoder::Tar,
            None => Decoder::Unknown,
        };
        let mut spans = table.map(|table| Spans::new(ztoc, table));
        if let Some(spans) = &mut spans {
            // Where there is no header the first span starts before the first byte.
            spans.compressed(&[], true, &mut findings);
        }
        Self {
            facts,
            findings,
            digest: Sha256::new(),
            size: 0,
            decoder,
            spans,
            members: Members::new(stored, limits.entries),
        }
    }

    /// Takes the next bytes of the layer as the registry stores it.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let len = self
                .spans
                .as_ref()
                .map_or(usize::MAX, Spans::until_boundary);
            let (piece, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            self.inflate(piece);
            let inflates = self.inflates();
            if let Some(spans) = &mut self.spans {
                spans.compressed(piece, inflates, &mut self.findings);
            }
            bytes = rest;
        }
    }

    pub fn finish(mut self) -> Vec<Finding> {
        self.end_of_stream();
        let inflates = self.inflates();
        let findings = &mut self.findings;
        let facts = &self.facts;
        let digest = sha256::text(&self.digest.finalize().into());
        if digest != facts.layer.as_ref() {
            let text = format!("the layer's digest is {digest}");
            findings.error("layer-digest", text);
        }
        if self.size != facts.size {
            let (real, told) = (self.size, facts.size);
            let text = format!("the layer has {real} bytes, its descriptor says {told}");
            findings.error("layer-size", text);
        }
        let mut tar_size = None;
        if let Some(spans) = self.spans {
            let told = spans.table().compressed_size();
            if told != self.size {
                let text = format!("the layer has {} bytes, its zTOC says {told}", self.size);
                findings.error("layer-size", text);
            }
            tar_size = Some(spans.table().uncompressed_size());
            spans.finish(inflates, findings);
        }
        let members = self.members.finish(findings);
        if let (Some(real), Some(told)) = (members.end, tar_size)
            && real != told
        {
            let text = format!("the tar ends at {real}, the zTOC says {told}");
            if told > real {
                findings.error("tar-size", text);
            } else {
                findings.warning("tar-size", text);
            }
        }
        if facts.disable_xattrs && (members.has_xattrs || members.has_opaque) {
            findings.error(
                "disable-xattrs",
                "the index says the layer has no extended attributes and no opaque directories, but it has: \
                 they will not be shown",
            );
        }
        self.findings.finish()
    }

    fn inflate(&mut self, bytes: &[u8]) {
        if let (Decoder::Unknown, Some(first)) = (&self.decoder, bytes.first()) {
            self.decoder = if *first == 0x1f {
                Decoder::Gzip(Box::new(Gunzip::new()))
            } else {
                Decoder::Tar
            };
        }
        let Self {
            findings,
            decoder,
            spans,
            members,
            ..
        } = self;
        let mut output = |bytes: &[u8]| {
            if let Some(spans) = spans {
                spans.inflated(bytes, findings);
            }
            members.push(bytes, findings);
        };
        let inflated = match decoder {
            Decoder::Gzip(gunzip) => gunzip.push(bytes, output),
            Decoder::Tar => {
                output(bytes);
                Ok(())
            }
            Decoder::Unknown | Decoder::Done | Decoder::Failed => Ok(()),
        };
        if let Err(fault) = inflated {
            self.stream_fault(fault);
        }
    }

    fn end_of_stream(&mut self) {
        let Decoder::Gzip(gunzip) = &self.decoder else {
            return;
        };
        let members = gunzip.members();
        if members > 1 {
            self.findings.warning(
                "multi-member-gzip",
                format!(
                    "the layer consists of {members} gzip members: readers before v0.14.0 cannot read it \
                     lazily"
                ),
            );
        }
        if let Err(fault) = gunzip.finish() {
            self.stream_fault(fault);
        }
    }

    fn stream_fault(&mut self, fault: Fault) {
        let text = match fault {
            Fault::Trailing => {
                // All of the tar is there.
                self.findings.warning(
                    "trailing-bytes",
                    "bytes that are not gzip follow the layer's last member: other builders refuse it",
                );
                self.decoder = Decoder::Done;
                return;
            }
            Fault::Header(reason) => format!("the layer is not gzip: {reason}"),
            Fault::Deflate => "the layer holds invalid deflate data".to_owned(),
            Fault::Checksum => "a gzip member of the layer does not match its checksum".to_owned(),
            Fault::CutShort => "the layer's gzip stream is cut short".to_owned(),
        };
        self.findings.error("layer-corrupt", text);
        self.decoder = Decoder::Failed;
    }

    /// Whether all of the layer could be inflated so far.
    fn inflates(&self) -> bool {
        !matches!(self.decoder, Decoder::Failed)
    }
}

/// What can be said about a zTOC without its layer, beyond what readers refuse.
fn ztoc_facts(table: &SpanTable, stored: &Stored<'_>, facts: &LayerFacts, findings: &mut Findings) {
    if stored.version != b"0.9" {
        let version = quote(stored.version);
        let text = format!("the zTOC has version {version}; known is \"0.9\", readers do not look");
        findings.warning("ztoc-version", text);
    }
    if stored.is_checkpoint_v1 {
        findings.note(
            "checkpoint-v1",
            "the zTOC leaves out the first checkpoint, as builders before v0.1.0 did",
        );
    }
    if stored.has_first_window {
        findings.warning(
            "first-window",
            "the zTOC says that something precedes the tar; no reader uses it",
        );
    }
    let told = stored.span_size.and_then(|size| u64::try_from(size).ok());
    if let Some(annotated) = facts.span_size
        && told != Some(annotated)
    {
        let told = stored.span_size.unwrap_or_default();
        let text = format!("the index says the span size is {annotated}, the zTOC says {told}");
        findings.warning("span-size", text);
    }
    let all_but_last = 0..table.len().saturating_sub(1);
    let mut lengths = all_but_last.filter_map(|span| table.uncompressed(SpanId(span)));
    if table.compression() == Compression::Gzip
        && let Some(told) = told
        && lengths.any(|span| span.end - span.start <= told)
    {
        let text = format!("the zTOC has spans no longer than its span size of {told}");
        findings.warning("span-size", text);
    }
}

fn refused(error: &Error) -> &'static str {
    match error {
        Error::Limit { .. } => "size-limit",
        Error::Buffer { .. }
        | Error::Missing(_)
        | Error::Aliased { .. }
        | Error::Negative { .. } => "ztoc-damaged",
        Error::Entry { .. } => "entry-refused",
        Error::SpanCount { .. } | Error::Digest { .. } => "span-digests",
        _ => "checkpoint-refused",
    }
}
