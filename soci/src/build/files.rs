//! The members of a layer as its zTOC lists them, packed until the zTOC can be written.

mod packed;

use super::budget::Budget;
use super::error::BuildError;
use crate::limits::Limits;
use crate::tar::Header;
use crate::toc::Member;
use crate::toc::rules::{self, Places};

pub(super) use packed::File;

/// Whiteout that hides what a directory of a lower layer holds.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What an entry takes in a zTOC at most, besides four strings and its PAX records: a table of 14 fields, type
/// and time, lengths and padding, an element.
const STORED_ENTRY: u64 = 192;
/// What a PAX record takes besides its strings: a table, lengths and padding, an element.
const STORED_RECORD: u64 = 32;
/// So much that is not needed any longer is given back at once.
const RELEASE: usize = 4 << 20;

/// Members in tar order, one behind the other: their names and some 30 bytes each.
pub(super) struct Files {
    packed: Vec<u8>,
    /// Where each begins.
    starts: Vec<u32>,
    limits: Limits,
    places: Places,
    has_xattrs: bool,
    has_opaque: bool,
}

impl Files {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            packed: Vec::new(),
            starts: Vec::new(),
            limits: limits.clone(),
            places: Places::default(),
            has_xattrs: false,
            has_opaque: false,
        }
    }

    /// Lists a member whose data start at `offset`, if readers accept it.
    pub(super) fn push(
        &mut self,
        header: &Header,
        offset: u64,
        budget: &mut Budget,
    ) -> Result<(), BuildError> {
        let file = File::new(header, offset);
        if !file.mtime.is_writable() {
            let name = header.name.escape_ascii();
            return Err(BuildError::unsupported(format!(
                "{name} was modified outside the years 0 to 9999, which no index can say"
            )));
        }
        self.check(header, &file)?;
        for (attribute, value) in header.xattrs() {
            self.has_xattrs = true;
            if value.is_empty() {
                return Err(empty_attribute(&header.name, attribute));
            }
        }
        self.has_opaque |= header.name.ends_with(OPAQUE);
        let strings = [&header.name, &header.linkname, &header.uname, &header.gname];
        let records = header.records.iter().flat_map(|(key, value)| [key, value]);
        let text: usize = strings.into_iter().chain(records).map(Vec::len).sum();
        budget.take(STORED_ENTRY + STORED_RECORD * header.records.len() as u64 + text as u64)?;
        // The budget is far below 2^32 bytes, and takes more than is packed.
        let start = u32::try_from(self.packed.len());
        self.starts.push(start.unwrap_or(u32::MAX));
        file.pack(&header.records, &mut self.packed);
        Ok(())
    }

    /// Applies the rules that readers will.
    fn check(&mut self, header: &Header, file: &File<'_>) -> Result<(), BuildError> {
        let xattrs: Vec<_> = header.xattrs().collect();
        rules::check_count(self.starts.len() as u64 + 1, &self.limits)?;
        let member = Member {
            name: file.name,
            linkname: file.linkname,
            offset: file.offset,
            xattrs: &xattrs,
            ..Member::default()
        };
        rules::check(&member, &self.limits)?;
        self.places.check(file.kind, file.offset, file.size)?;
        Ok(())
    }

    pub(super) fn len(&self) -> u32 {
        // The budget is far below 2^32 entries.
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn has_xattrs(&self) -> bool {
        self.has_xattrs
    }

    pub(super) fn has_opaque(&self) -> bool {
        self.has_opaque
    }

    /// In tar order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = File<'_>> {
        self.starts.iter().map(|start| self.at(*start))
    }

    /// From the last to the first; each is forgotten once it was handed on.
    pub(super) fn drain_backwards(mut self, mut each: impl FnMut(File<'_>)) {
        while let Some(start) = self.starts.pop() {
            each(self.at(start));
            self.packed.truncate(place(start));
            if self.packed.capacity() - self.packed.len() > RELEASE {
                self.packed.shrink_to_fit();
            }
        }
    }

    fn at(&self, start: u32) -> File<'_> {
        File::unpack(self.packed.get(place(start)..).unwrap_or_default())
    }
}

fn place(start: u32) -> usize {
    usize::try_from(start).unwrap_or(usize::MAX)
}

fn empty_attribute(name: &[u8], attribute: &[u8]) -> BuildError {
    BuildError::unsupported(format!(
        "{} has an empty extended attribute {}, which some readers lose",
        name.escape_ascii(),
        attribute.escape_ascii()
    ))
}
