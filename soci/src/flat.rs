//! A reader of FlatBuffers that trusts nothing: every access is checked, strings are bytes.

use crate::error::Error;

/// Size of offsets, vector lengths and the link from a table to its vtable.
const WORD: usize = 4;

/// A table, by its position and its vtable.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    buffer: &'a [u8],
    at: usize,
    /// Offsets of the fields within the table, two bytes each; 0 stands for an absent field.
    slots: &'a [[u8; 2]],
}

impl<'a> Table<'a> {
    pub(crate) fn root(buffer: &'a [u8]) -> Result<Self, Error> {
        Self::new(buffer, follow(buffer, 0, "root table")?)
    }

    fn new(buffer: &'a [u8], at: usize) -> Result<Self, Error> {
        let what = "vtable";
        let back = i64::from(i32::from_le_bytes(array(buffer, at, what)?));
        let outside = Error::Buffer { what, at };
        let vtable = i64::try_from(at).ok().and_then(|at| at.checked_sub(back));
        let Some(vtable) = vtable.and_then(|vtable| usize::try_from(vtable).ok()) else {
            return Err(outside);
        };
        let len = usize::from(u16::from_le_bytes(array(buffer, vtable, what)?));
        let vtable = slice(buffer, vtable, len, what)?;
        // The vtable starts with its own length and that of the table.
        let slots = vtable.get(WORD..).ok_or(outside)?;
        Ok(Self {
            buffer,
            at,
            slots: slots.as_chunks().0,
        })
    }

    pub(crate) fn i8(&self, slot: usize, default: i8) -> Result<i8, Error> {
        Ok(self.scalar(slot)?.map_or(default, i8::from_le_bytes))
    }

    pub(crate) fn i32(&self, slot: usize) -> Result<i32, Error> {
        Ok(self.scalar(slot)?.map_or(0, i32::from_le_bytes))
    }

    pub(crate) fn u32(&self, slot: usize) -> Result<u32, Error> {
        Ok(self.scalar(slot)?.map_or(0, u32::from_le_bytes))
    }

    pub(crate) fn i64(&self, slot: usize) -> Result<i64, Error> {
        Ok(self.scalar(slot)?.map_or(0, i64::from_le_bytes))
    }

    pub(crate) fn table(&self, slot: usize) -> Result<Option<Table<'a>>, Error> {
        let Some(at) = self.field(slot)? else {
            return Ok(None);
        };
        let target = follow(self.buffer, at, "table")?;
        Table::new(self.buffer, target).map(Some)
    }

    /// A string or a vector of bytes; empty where absent.
    pub(crate) fn bytes(&self, slot: usize) -> Result<&'a [u8], Error> {
        Ok(self.bytes_at(slot)?.1)
    }

    /// The same, with its position in the buffer.
    pub(crate) fn bytes_at(&self, slot: usize) -> Result<(usize, &'a [u8]), Error> {
        match self.field(slot)? {
            Some(at) => vector(self.buffer, at, 1),
            None => Ok((0, &[])),
        }
    }

    /// A vector of tables or strings; empty where absent.
    pub(crate) fn vector(&self, slot: usize) -> Result<Vector<'a>, Error> {
        let (start, elements) = match self.field(slot)? {
            Some(at) => vector(self.buffer, at, WORD)?,
            None => (0, [].as_slice()),
        };
        Ok(Vector {
            buffer: self.buffer,
            start,
            len: elements.len() / WORD,
        })
    }

    fn scalar<const N: usize>(&self, slot: usize) -> Result<Option<[u8; N]>, Error> {
        let Some(at) = self.field(slot)? else {
            return Ok(None);
        };
        array(self.buffer, at, "number").map(Some)
    }

    fn field(&self, slot: usize) -> Result<Option<usize>, Error> {
        let offset = self.slots.get(slot).copied().map_or(0, u16::from_le_bytes);
        if offset == 0 {
            return Ok(None);
        }
        let at = self.at.checked_add(usize::from(offset));
        at.map(Some).ok_or(Error::Buffer {
            what: "field",
            at: self.at,
        })
    }
}

/// A vector of offsets; it lies within the buffer, what it points at may not.
#[derive(Clone, Copy)]
pub(crate) struct Vector<'a> {
    buffer: &'a [u8],
    start: usize,
    len: usize,
}

impl<'a> Vector<'a> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The table at `index`, which must be below the length.
    pub(crate) fn table(&self, index: usize) -> Result<Table<'a>, Error> {
        let what = "element";
        let outside = Error::Buffer { what, at: index };
        let at = index.checked_mul(WORD).filter(|_| index < self.len);
        let at = at
            .and_then(|at| at.checked_add(self.start))
            .ok_or(outside)?;
        let target = follow(self.buffer, at, "table")?;
        Table::new(self.buffer, target)
    }

    pub(crate) fn tables(self) -> impl Iterator<Item = Result<Table<'a>, Error>> {
        self.positions().map(move |at| {
            let target = follow(self.buffer, at, "table")?;
            Table::new(self.buffer, target)
        })
    }

    pub(crate) fn strings(self) -> impl Iterator<Item = Result<&'a [u8], Error>> {
        let string = move |at| Ok(vector(self.buffer, at, 1)?.1);
        self.positions().map(string)
    }

    fn positions(self) -> impl Iterator<Item = usize> {
        (self.start..).step_by(WORD).take(self.len)
    }
}

/// The vector that the offset at `at` leads to: where its elements start, and their bytes.
fn vector(buffer: &[u8], at: usize, element: usize) -> Result<(usize, &[u8]), Error> {
    let what = "vector";
    let start = follow(buffer, at, what)?;
    let count = u32::from_le_bytes(array(buffer, start, what)?);
    let outside = || Error::Buffer { what, at: start };
    let len = usize::try_from(count).ok();
    let len = len.and_then(|count| count.checked_mul(element));
    let start = start.checked_add(WORD).ok_or_else(outside)?;
    let elements = slice(buffer, start, len.ok_or_else(outside)?, what)?;
    Ok((start, elements))
}

fn follow(buffer: &[u8], at: usize, what: &'static str) -> Result<usize, Error> {
    let offset = u32::from_le_bytes(array(buffer, at, what)?);
    let target = usize::try_from(offset).ok();
    let target = target.and_then(|offset| at.checked_add(offset));
    target.ok_or(Error::Buffer { what, at })
}

fn array<const N: usize>(buffer: &[u8], at: usize, what: &'static str) -> Result<[u8; N], Error> {
    let bytes = buffer.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(Error::Buffer { what, at })
}

fn slice<'a>(
    buffer: &'a [u8],
    at: usize,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], Error> {
    let bytes = buffer.get(at..).and_then(|rest| rest.get(..len));
    bytes.ok_or(Error::Buffer { what, at })
}
