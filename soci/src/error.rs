//! Everything that can be wrong with a SOCI artifact or with bytes checked against one.

/// Why an artifact or a piece of a layer is refused. The caller knows which layer it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{what}: {value} exceeds the limit of {limit}")]
    Limit {
        what: &'static str,
        value: u64,
        limit: u64,
    },
    #[error("zTOC is damaged: {what} at byte {at} lies outside the buffer")]
    Buffer { what: &'static str, at: usize },
    #[error("zTOC has no {0}")]
    Missing(&'static str),
    #[error("zTOC repeats data: its entries refer to {value} {what}, its length allows {limit}")]
    Aliased {
        what: &'static str,
        value: u64,
        limit: u64,
    },
    #[error("{what} is negative ({value})")]
    Negative { what: &'static str, value: i64 },
    #[error("zTOC entry at tar offset {offset}: {fault}")]
    Entry { offset: u64, fault: EntryFault },

    #[error("zTOC names compression {0}, known are 1 (gzip) and 2 (uncompressed)")]
    Compression(i8),
    #[error("checkpoint blob of {len} bytes does not hold the {have} checkpoints it announces")]
    CheckpointLength { have: i32, len: u64 },
    #[error("checkpoint {index}: {fault}")]
    Checkpoint { index: u32, fault: &'static str },
    #[error("zTOC has {spans} spans but its {what} says {value}")]
    SpanCount {
        what: &'static str,
        spans: u64,
        value: i64,
    },
    #[error("checkpoints describe a layer of {checkpoints} bytes, the zTOC one of {ztoc}")]
    LayerSize { checkpoints: i64, ztoc: u64 },
    #[error(
        "span {span} cannot inflate from {compressed} to {uncompressed} bytes: deflate yields at most 1032 to 1"
    )]
    SpanRatio {
        span: u32,
        compressed: u64,
        uncompressed: u64,
    },
    #[error("{what} is not a sha256 digest: {text:?}")]
    Digest { what: &'static str, text: String },

    #[error("no span {span}: the layer has {spans}")]
    NoSpan { span: u32, spans: u32 },
    #[error("span {span} has {actual} compressed bytes, expected {expected}")]
    SpanLength {
        span: u32,
        expected: u64,
        actual: u64,
    },
    #[error("span {span} does not match its digest: the layer served is not the one indexed")]
    SpanDigest { span: u32 },
    #[error("span {span} needs a window of {expected} bytes, got {actual}")]
    WindowLength {
        span: u32,
        expected: usize,
        actual: usize,
    },
    #[error("window does not match the zTOC it was read from: the stored zTOC has changed")]
    WindowDigest,
    #[error("span {span} does not inflate: {reason}")]
    Inflate { span: u32, reason: &'static str },
    #[error("span {span} ends after {actual} of {expected} bytes")]
    SpanShort {
        span: u32,
        expected: u64,
        actual: u64,
    },
    #[error("not a gzip member header: {0}")]
    GzipHeader(&'static str),

    #[error("malformed tar header: {0}")]
    Tar(&'static str),
    #[error("tar ends in the middle of a {0}")]
    TarTruncated(&'static str),
    #[error("{what} cannot be served from an index; pull the layer normally")]
    Unsupported { what: String },
    #[error("tar header does not match the zTOC entry: {0} differs")]
    Mismatch(&'static str),

    #[error("{what} is not valid JSON of its kind: {reason}")]
    Json { what: &'static str, reason: String },
    #[error("not a SOCI index: config media type is {0:?}")]
    IndexType(String),
    #[error("nothing of the image can be indexed: the SOCI index would be empty")]
    EmptyIndex,
    #[error("manifest {0} is not at hand: fetch it before the conversion")]
    MissingManifest(String),
    #[error("{digest} cannot be converted: {reason}")]
    NotAnImage { digest: String, reason: String },
    #[error("prefetch path {path:?}: {reason}")]
    PrefetchPath { path: String, reason: &'static str },
    #[error("prefetch artifact has version {0:?}, known is \"1.0\"")]
    PrefetchVersion(String),
    #[error("prefetch artifact lists no spans")]
    PrefetchEmpty,
    #[error("prefetch range {start}..={end} is not within the {spans} spans of the layer")]
    PrefetchRange { start: i64, end: i64, spans: u32 },
    #[error("start-up profile has version {0:?}, known is \"1.0\"")]
    ProfileVersion(String),
    #[error("start-up profile lists layer {0} twice")]
    ProfileLayer(String),
    #[error("start-up profile names bytes {start} to {end} of a tar: no tar has such a range")]
    ProfileRange { start: u64, end: u64 },
}

/// What is wrong with one entry of a table of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    #[error("its tar header would start at {0}, leaving no room for a header")]
    NoHeader(u64),
    #[error("its offset is not a multiple of 512")]
    Unaligned,
    #[error("its data ends beyond the archive")]
    BeyondArchive,
    #[error("its name, link name or attribute name holds a NUL byte")]
    Nul,
    #[error("its name has a component longer than 255 bytes")]
    LongComponent,
    #[error("an attribute has no name")]
    UnnamedAttribute,
    #[error("its device number does not fit 32 bits")]
    Device,
}
