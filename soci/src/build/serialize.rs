//! Writes zTOCs: the same objects in the same order as AWS's builder, hence the same bytes.

use std::fmt;
use std::ops::Deref;

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

use super::files::{File, Files};
use super::spans::{Checkpoints, Spans};
use crate::sha256;
use crate::toc::Kind;

/// The only version there is; no reader looks at it.
const VERSION: &[u8] = b"0.9";
/// Of a plain tar's checkpoint blob.
const TAR_CHECKPOINTS_VERSION: i32 = 2;
const ALGORITHM_GZIP: i8 = 1;
const ALGORITHM_TAR: i8 = 2;

/// The vtable offset of a field.
const fn slot(id: u16) -> u16 {
    4 + 2 * id
}

type Bytes<'b> = WIPOffset<&'b [u8]>;
/// A table that is complete; of what kind, its user knows.
type Table = WIPOffset<UnionWIPOffset>;

/// A zTOC where it was written: at the end of a buffer whose front was never touched and takes no memory.
#[derive(Clone, Default)]
pub struct ZtocBytes {
    buffer: Vec<u8>,
    start: usize,
}

impl Deref for ZtocBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

impl AsRef<[u8]> for ZtocBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for ZtocBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ZtocBytes {}

impl fmt::Debug for ZtocBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// What a zTOC says besides files and spans.
pub(super) struct Layer<'a> {
    pub(super) build_tool: &'a str,
    pub(super) compressed_size: u64,
    pub(super) uncompressed_size: u64,
}

/// `capacity` is best no less than the size of the result. Lets go of its arguments while they are written, since
/// both can be as large.
pub(super) fn ztoc(layer: &Layer<'_>, files: Files, spans: Spans, capacity: usize) -> ZtocBytes {
    let mut to = FlatBufferBuilder::with_capacity(capacity);
    let version = to.create_byte_string(VERSION);
    let build_tool = to.create_byte_string(layer.build_tool.as_bytes());
    let toc = table_of_contents(&mut to, files);
    let info = compression_info(&mut to, spans);

    let table = to.start_table();
    to.push_slot_always(slot(0), version);
    to.push_slot_always(slot(1), build_tool);
    to.push_slot_always(slot(4), toc);
    to.push_slot(slot(2), signed(layer.compressed_size), 0);
    to.push_slot(slot(3), signed(layer.uncompressed_size), 0);
    to.push_slot_always(slot(5), info);
    let root = to.end_table(table);
    to.finish_minimal(root);
    taken(to)
}

fn table_of_contents(to: &mut FlatBufferBuilder<'_>, files: Files) -> Table {
    let mut entries: Vec<Table> = Vec::with_capacity(files.iter().len());
    files.drain_backwards(|file| entries.push(entry(to, &file)));
    entries.reverse();
    let metadata = to.create_vector(&entries);
    let table = to.start_table();
    to.push_slot_always(slot(0), metadata);
    to.end_table(table).as_union_value()
}

fn entry(to: &mut FlatBufferBuilder<'_>, file: &File<'_>) -> Table {
    let name = to.create_byte_string(file.name);
    let kind = to.create_byte_string(word(file.kind));
    let linkname = to.create_byte_string(file.linkname);
    let uname = to.create_byte_string(file.uname);
    let gname = to.create_byte_string(file.gname);
    // The list has no times that cannot be written.
    let mtime = file.mtime.to_rfc3339().unwrap_or_default();
    let mtime = to.create_byte_string(&mtime);
    let records: Vec<Table> = file
        .records()
        .map(|(key, value)| record(to, key, value))
        .collect();
    let records = to.create_vector(&records);

    let table = to.start_table();
    to.push_slot_always(slot(0), name);
    to.push_slot_always(slot(1), kind);
    to.push_slot(slot(2), signed(file.offset), 0);
    to.push_slot(slot(3), signed(file.size), 0);
    to.push_slot_always(slot(4), linkname);
    to.push_slot(slot(5), file.mode, 0);
    to.push_slot(slot(6), file.uid, 0);
    to.push_slot(slot(7), file.gid, 0);
    to.push_slot_always(slot(8), uname);
    to.push_slot_always(slot(9), gname);
    to.push_slot_always(slot(10), mtime);
    to.push_slot(slot(11), i64::from(file.device.0), 0);
    to.push_slot(slot(12), i64::from(file.device.1), 0);
    to.push_slot_always(slot(13), records);
    to.end_table(table).as_union_value()
}

fn record(to: &mut FlatBufferBuilder<'_>, key: &[u8], value: &[u8]) -> Table {
    let key = to.create_byte_string(key);
    let value = to.create_byte_string(value);
    let table = to.start_table();
    to.push_slot_always(slot(0), key);
    to.push_slot_always(slot(1), value);
    to.end_table(table).as_union_value()
}

fn compression_info(to: &mut FlatBufferBuilder<'_>, spans: Spans) -> Table {
    let (algorithm, checkpoints) = match spans.checkpoints {
        Checkpoints::Gzip(blob) => (ALGORITHM_GZIP, to.create_vector(&blob)),
        Checkpoints::Tar { span_size, size } => {
            let blob = tar_checkpoints(span_size, size);
            (ALGORITHM_TAR, to.create_vector(&blob))
        }
    };
    let digests: Vec<Bytes<'_>> = spans
        .digests
        .iter()
        .map(|digest| to.create_byte_string(sha256::text(digest).as_bytes()))
        .collect();
    let max_span_id = i32::try_from(digests.len()).unwrap_or(i32::MAX) - 1;
    let digests = to.create_vector(&digests);

    let table = to.start_table();
    to.push_slot(slot(1), max_span_id, 0);
    to.push_slot_always(slot(2), digests);
    to.push_slot_always(slot(3), checkpoints);
    to.push_slot(slot(0), algorithm, ALGORITHM_GZIP);
    to.end_table(table).as_union_value()
}

fn tar_checkpoints(span_size: u64, size: u64) -> ZtocBytes {
    let mut to = FlatBufferBuilder::new();
    let table = to.start_table();
    to.push_slot(slot(0), TAR_CHECKPOINTS_VERSION, 0);
    to.push_slot(slot(1), signed(span_size), 0);
    to.push_slot(slot(2), signed(size), 0);
    let root = to.end_table(table);
    to.finish_minimal(root);
    taken(to)
}

/// The finished buffer, which fills the builder's from the end.
fn taken(to: FlatBufferBuilder<'_>) -> ZtocBytes {
    let (buffer, start) = to.collapse();
    ZtocBytes { buffer, start }
}

fn word(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Hardlink => b"hardlink",
        Kind::Symlink => b"symlink",
        Kind::Dir => b"dir",
        Kind::Reg => b"reg",
        Kind::Char => b"char",
        Kind::Block => b"block",
        Kind::Fifo => b"fifo",
    }
}

/// Sizes of what was read byte by byte, and of what tar headers said in 63 bits.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::budget::Budget;
    use crate::limits::Limits;
    use crate::mtime::Mtime;
    use crate::tar::Header;

    /// A member with a value in every field and strings of `len` bytes.
    fn header(kind: Kind, len: usize, records: usize) -> Header {
        let text = vec![b'a'; len];
        Header {
            name: text.clone(),
            linkname: text.clone(),
            kind,
            mode: 0o644,
            uid: 1,
            gid: 1,
            uname: text.clone(),
            gname: text.clone(),
            mtime: Mtime {
                seconds: 0,
                nanos: 1,
            },
            device: (1, 1),
            size: 1,
            records: vec![(text.clone(), text); records],
        }
    }

    #[test]
    fn no_ztoc_outgrows_its_budget() {
        for len in 0..9 {
            for records in 0..3 {
                let mut budget = Budget::new(&Limits::default());
                let mut files = Files::new(&Limits::default());
                let kinds = [Kind::Hardlink, Kind::Reg].into_iter().cycle();
                for (n, kind) in (0..2_000).zip(kinds) {
                    let header = header(kind, len, records);
                    files.push(&header, 512 + n * 1024, &mut budget).unwrap();
                }
                let spans = Spans {
                    checkpoints: Checkpoints::Tar {
                        span_size: 1,
                        size: 1,
                    },
                    digests: Vec::new(),
                    span_size: 1,
                };
                let layer = Layer {
                    build_tool: "",
                    compressed_size: 1,
                    uncompressed_size: 1,
                };
                let ztoc = ztoc(&layer, files, spans, 0);
                let (stored, used) = (ztoc.len() as u64, budget.used());
                // A few bytes per zTOC are not the files'.
                assert!(stored <= used + 500, "{len} {records}: {stored} > {used}");
                assert!(stored > used / 3 * 2, "{len} {records}: {stored}, {used}");
            }
        }
    }
}
