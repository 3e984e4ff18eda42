//! zTOC blobs: the table of contents and the span table of one layer.

use crate::checkpoint;
use crate::error::{EntryFault, Error};
use crate::flat::{Table, Vector};
use crate::mtime::Mtime;
use crate::spans::SpanTable;
use crate::toc::{Kind, Member, Toc, TocBuilder, XATTR_PREFIX};

pub use crate::limits::Limits;

/// What an entry takes in a zTOC at least: its element in the vector, the link to its vtable, its offset.
/// Entries cannot share a table, since no two have the same offset.
const STORED_ENTRY: u64 = 4 + 4 + 8;
/// What a PAX record takes at least: its element in the vector, the link to its vtable, key and value.
const STORED_RECORD: u64 = 4 + 4 + 4 + 4;
/// Longest time that is parsed.
const MAX_TIME: usize = 64;
/// Longest free text that is kept.
const MAX_TEXT: usize = 256;

/// One layer's zTOC. Owns all it needs except the windows, which stay in the blob.
#[derive(Debug)]
pub struct Ztoc {
    pub version: String,
    pub build_tool: String,
    pub toc: Toc,
    pub spans: SpanTable,
}

impl Ztoc {
    pub fn parse(blob: &[u8], limits: &Limits) -> Result<Self, Error> {
        let root = root(blob, limits)?;
        let toc = root.table(4)?.ok_or(Error::Missing("table of contents"))?;
        let sizes = Sizes::of(&root)?;
        let spans = span_table(blob, &root, &sizes, limits)?;
        let files = entries(toc.vector(0)?, blob.len() as u64, limits)?;
        Ok(Self {
            version: text(root.bytes(0)?),
            build_tool: text(root.bytes(1)?),
            toc: files.finish(sizes.uncompressed)?,
            spans,
        })
    }
}

/// The span table alone.
pub(crate) fn spans(blob: &[u8], limits: &Limits) -> Result<SpanTable, Error> {
    let root = root(blob, limits)?;
    span_table(blob, &root, &Sizes::of(&root)?, limits)
}

/// Of the layer.
struct Sizes {
    compressed: u64,
    uncompressed: u64,
}

impl Sizes {
    fn of(root: &Table<'_>) -> Result<Self, Error> {
        Ok(Self {
            compressed: unsigned("compressed size of the layer", root.i64(2)?)?,
            uncompressed: unsigned("uncompressed size of the layer", root.i64(3)?)?,
        })
    }
}

fn root<'a>(blob: &'a [u8], limits: &Limits) -> Result<Table<'a>, Error> {
    let (value, limit) = (blob.len() as u64, limits.blob);
    if value > limit {
        let what = "bytes of a zTOC";
        return Err(Error::Limit { what, value, limit });
    }
    Table::root(blob)
}

fn span_table(
    blob: &[u8],
    root: &Table<'_>,
    sizes: &Sizes,
    limits: &Limits,
) -> Result<SpanTable, Error> {
    let info = root.table(5)?.ok_or(Error::Missing("compression info"))?;
    let layer = checkpoint::Layer {
        compressed_size: sizes.compressed,
        uncompressed_size: sizes.uncompressed,
        max_span_id: info.i32(1)?,
        digests: info.vector(2)?,
        blob_len: blob.len() as u64,
    };
    let (at, checkpoints) = info.bytes_at(3)?;
    match info.i8(0, 1)? {
        1 => checkpoint::gzip(checkpoints, at, &layer, limits),
        2 => checkpoint::tar(checkpoints, &layer, limits),
        other => Err(Error::Compression(other)),
    }
}

fn entries(files: Vector<'_>, blob_len: u64, limits: &Limits) -> Result<TocBuilder, Error> {
    not_aliased("entries", files.len() as u64, blob_len / STORED_ENTRY)?;
    let mut builder = TocBuilder::with_capacity(files.len(), limits)?;
    let mut xattrs = Vec::new();
    let mut times = Times::default();
    let mut records = 0;
    for file in files.tables() {
        let file = file?;
        let pax = file.vector(13)?;
        records += pax.len() as u64;
        not_aliased("PAX records", records, blob_len / STORED_RECORD)?;
        xattrs.clear();
        for record in pax.tables() {
            let record = record?;
            if let Some(name) = record.bytes(0)?.strip_prefix(XATTR_PREFIX) {
                xattrs.push((name, record.bytes(1)?));
            }
        }
        builder.push(&member(&file, &xattrs, &mut times)?)?;
        not_aliased(
            "bytes of names",
            builder.arena_len() as u64,
            blob_len.saturating_mul(2),
        )?;
    }
    Ok(builder)
}

fn member<'a, 'blob: 'a>(
    file: &Table<'blob>,
    xattrs: &'a [(&'a [u8], &'a [u8])],
    times: &mut Times<'blob>,
) -> Result<Member<'a>, Error> {
    let offset = unsigned("tar offset of an entry", file.i64(2)?)?;
    let device = |slot| {
        let fault = EntryFault::Device;
        u32::try_from(file.i64(slot)?).map_err(|_| Error::Entry { offset, fault })
    };
    Ok(Member {
        name: file.bytes(0)?,
        linkname: file.bytes(4)?,
        kind: kind(file.bytes(1)?),
        mode: u32::try_from(file.i64(5)? & 0o7777).unwrap_or(0),
        uid: file.u32(6)?,
        gid: file.u32(7)?,
        mtime: times.parse(file.bytes(10)?),
        device: (device(11)?, device(12)?),
        size: unsigned("size of an entry", file.i64(3)?)?,
        offset,
        xattrs,
    })
}

/// The last time that was parsed: neighbours mostly have the same.
#[derive(Default)]
struct Times<'blob> {
    text: &'blob [u8],
    time: Option<Mtime>,
}

impl<'blob> Times<'blob> {
    fn parse(&mut self, text: &'blob [u8]) -> Option<Mtime> {
        if text.len() > MAX_TIME {
            return None;
        }
        if text != self.text {
            *self = Times {
                text,
                time: Mtime::from_rfc3339(text),
            };
        }
        self.time
    }
}

/// Unknown words are regular files to every reader.
fn kind(word: &[u8]) -> Kind {
    match word {
        b"hardlink" => Kind::Hardlink,
        b"symlink" => Kind::Symlink,
        b"dir" => Kind::Dir,
        b"char" => Kind::Char,
        b"block" => Kind::Block,
        b"fifo" => Kind::Fifo,
        _ => Kind::Reg,
    }
}

fn unsigned(what: &'static str, value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::Negative { what, value })
}

fn not_aliased(what: &'static str, value: u64, limit: u64) -> Result<(), Error> {
    if value > limit {
        return Err(Error::Aliased { what, value, limit });
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes)).into_owned()
}
