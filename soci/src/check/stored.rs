//! A zTOC as it is stored, with the fields that no reader uses.

use crate::error::Error;
use crate::flat::{Table, Vector};
use crate::spans::WINDOW;

/// Bytes of a gzip checkpoint blob before its first checkpoint.
const HEADER: usize = 12;
/// Bytes of a checkpoint before its window.
const FIXED: usize = 17;

pub(super) struct Stored<'a> {
    pub(super) version: &'a [u8],
    /// Span size asked for when the zTOC was built.
    pub(super) span_size: Option<i64>,
    /// Whether the checkpoint blob leaves out the first checkpoint.
    pub(super) is_checkpoint_v1: bool,
    /// Whether something is said to precede the tar.
    pub(super) has_first_window: bool,
    files: Vector<'a>,
    /// Offset and position in `files`, in tar order.
    order: Vec<(i64, u32)>,
}

/// One entry, all of it.
pub(super) struct File<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: &'a [u8],
    pub(super) size: i64,
    pub(super) linkname: &'a [u8],
    pub(super) mode: i64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) uname: &'a [u8],
    pub(super) gname: &'a [u8],
    pub(super) time: &'a [u8],
    pub(super) device: (i64, i64),
    pub(super) records: Vector<'a>,
}

impl<'a> Stored<'a> {
    pub(super) fn read(blob: &'a [u8], max_entries: u32) -> Result<Self, Error> {
        let root = Table::root(blob)?;
        let toc = root.table(4)?.ok_or(Error::Missing("table of contents"))?;
        let files = toc.vector(0)?;
        let (value, limit) = (files.len() as u64, u64::from(max_entries));
        if value > limit {
            let what = "zTOC entries";
            return Err(Error::Limit { what, value, limit });
        }
        let mut order = Vec::with_capacity(files.len());
        for (file, position) in files.tables().zip(0..) {
            order.push((file?.i64(2)?, position));
        }
        order.sort_unstable();
        let mut stored = Self {
            version: root.bytes(0)?,
            span_size: None,
            is_checkpoint_v1: false,
            has_first_window: false,
            files,
            order,
        };
        if let Some(info) = root.table(5)? {
            let checkpoints = info.bytes(3)?;
            if info.i8(0, 1)? == 1 {
                stored.gzip(checkpoints);
            } else {
                stored.span_size = Some(Table::root(checkpoints)?.i64(1)?);
            }
        }
        Ok(stored)
    }

    fn gzip(&mut self, blob: &[u8]) {
        let Some((header, records)) = blob.split_first_chunk::<HEADER>() else {
            return;
        };
        let [h0, h1, h2, h3, s0, s1, s2, s3, s4, s5, s6, s7] = *header;
        let have = i32::from_le_bytes([h0, h1, h2, h3]);
        self.span_size = Some(i64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        let stored = records.len() / (FIXED + WINDOW);
        self.is_checkpoint_v1 = usize::try_from(have) == Ok(stored + 1);
        let first = records.get(FIXED..FIXED + WINDOW).unwrap_or_default();
        self.has_first_window = !self.is_checkpoint_v1 && first.iter().any(|byte| *byte != 0);
    }

    /// The offsets of the entries, in tar order.
    pub(super) fn offset(&self, position: usize) -> Option<i64> {
        Some(self.order.get(position)?.0)
    }

    pub(super) fn file(&self, position: usize) -> Result<File<'a>, Error> {
        let index = self
            .order
            .get(position)
            .map_or(u32::MAX, |(_, index)| *index);
        let file = self
            .files
            .table(usize::try_from(index).unwrap_or(usize::MAX))?;
        Ok(File {
            name: file.bytes(0)?,
            kind: file.bytes(1)?,
            size: file.i64(3)?,
            linkname: file.bytes(4)?,
            mode: file.i64(5)?,
            uid: file.u32(6)?,
            gid: file.u32(7)?,
            uname: file.bytes(8)?,
            gname: file.bytes(9)?,
            time: file.bytes(10)?,
            device: (file.i64(11)?, file.i64(12)?),
            records: file.vector(13)?,
        })
    }
}

impl<'a> File<'a> {
    /// PAX records, as stored.
    pub(super) fn record(&self, index: usize) -> Result<(&'a [u8], &'a [u8]), Error> {
        let record = self.records.table(index)?;
        Ok((record.bytes(0)?, record.bytes(1)?))
    }
}
