//! From header blocks to members: extended headers, long names, and what they override.

use super::block::{self, Block, Raw};
use super::pax::{self, Pax};
use crate::error::Error;
use crate::mtime::Mtime;
use crate::toc::{Kind, XATTR_PREFIX};

/// Longest content of an extended header or long name.
const MAX_META: u64 = 1 << 20;

/// A member as Go's reader would report it.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) linkname: Vec<u8>,
    pub(crate) kind: Kind,
    /// As the header says, which may be more than the permission, set-id and sticky bits.
    pub(crate) mode: i64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) uname: Vec<u8>,
    pub(crate) gname: Vec<u8>,
    pub(crate) mtime: Mtime,
    pub(crate) device: (u32, u32),
    /// As the header says, also where no data follow.
    pub(crate) size: i64,
    /// All PAX records, keys ascending and unique.
    pub(crate) records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Header {
    /// Permission, set-id and sticky bits.
    pub(crate) fn permissions(&self) -> u32 {
        low_bits(self.mode) & 0o7777
    }

    /// Extended attributes, names ascending, without their prefix.
    pub(crate) fn xattrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(XATTR_PREFIX)?, value.as_slice())))
    }

    /// Bytes of data that follow; only regular files have any.
    pub(crate) fn data_len(&self) -> u64 {
        match self.kind {
            Kind::Reg => u64::try_from(self.size).unwrap_or(0),
            _ => 0,
        }
    }
}

/// What a header block announces.
pub(super) enum Step {
    /// `size` bytes, padded to a block, to be handed to [`Members::payload`].
    Meta {
        size: u64,
    },
    Member(Header),
}

#[derive(Debug, Clone, Copy)]
enum Meta {
    Pax,
    LongName,
    LongLink,
}

/// Remembers what precedes a member and concerns it.
#[derive(Debug, Default)]
pub(super) struct Members {
    expected: Option<Meta>,
    /// Records of the last extended header, known to be well formed.
    pax: Vec<u8>,
    long_name: Vec<u8>,
    long_link: Vec<u8>,
}

impl Members {
    pub(super) fn header(&mut self, raw: &Raw) -> Result<Step, Error> {
        let block = Block::parse(raw)?;
        let meta = match block.typeflag {
            b'x' => Meta::Pax,
            b'L' => Meta::LongName,
            b'K' => Meta::LongLink,
            _ => return self.member(block).map(Step::Member),
        };
        let size = u64::try_from(block.size).map_err(|_| NEGATIVE_SIZE)?;
        if size > MAX_META {
            let (what, value, limit) = ("bytes of an extended tar header", size, MAX_META);
            return Err(Error::Limit { what, value, limit });
        }
        self.expected = Some(meta);
        Ok(Step::Meta { size })
    }

    /// The content of the meta header announced last.
    pub(super) fn payload(&mut self, payload: &[u8]) -> Result<(), Error> {
        match self.expected.take() {
            Some(Meta::Pax) => {
                pax::check(payload)?;
                self.pax = payload.to_vec();
            }
            Some(Meta::LongName) => self.long_name = block::text(payload).to_vec(),
            Some(Meta::LongLink) => self.long_link = block::text(payload).to_vec(),
            None => {}
        }
        Ok(())
    }

    fn member(&mut self, block: Block) -> Result<Header, Error> {
        let Self {
            pax,
            long_name,
            long_link,
            ..
        } = std::mem::take(self);
        if block.typeflag == b'g' {
            return unsupported("a tar with a PAX global header (type 'g')");
        }
        let pax = Pax::parse(&pax)?;
        let given = |long: Vec<u8>| Some(long).filter(|long| !long.is_empty());
        let name = given(long_name).or(pax.path).unwrap_or(block.name);
        let kind = kind(block.typeflag, &name)?;
        let header = Header {
            name,
            linkname: given(long_link).or(pax.linkpath).unwrap_or(block.linkname),
            kind,
            mode: block.mode,
            uid: low_bits(pax.uid.unwrap_or(block.uid)),
            gid: low_bits(pax.gid.unwrap_or(block.gid)),
            uname: pax.uname.unwrap_or(block.uname),
            gname: pax.gname.unwrap_or(block.gname),
            mtime: pax.mtime.unwrap_or(block.mtime),
            device: (device(block.device.0)?, device(block.device.1)?),
            size: pax.size.unwrap_or(block.size),
            records: pax.records,
        };
        if header.kind == Kind::Reg && header.size < 0 {
            return Err(NEGATIVE_SIZE);
        }
        Ok(header)
    }
}

const NEGATIVE_SIZE: Error = Error::Tar("a size is negative");

fn kind(typeflag: u8, name: &[u8]) -> Result<Kind, Error> {
    match typeflag {
        b'0' => Ok(Kind::Reg),
        0 if name.ends_with(b"/") => Ok(Kind::Dir),
        0 => Ok(Kind::Reg),
        b'1' => Ok(Kind::Hardlink),
        b'2' => Ok(Kind::Symlink),
        b'3' => Ok(Kind::Char),
        b'4' => Ok(Kind::Block),
        b'5' => Ok(Kind::Dir),
        b'6' => Ok(Kind::Fifo),
        b'7' => unsupported("a contiguous file (tar type '7')"),
        b'S' => unsupported("a sparse file in old GNU format (tar type 'S')"),
        other => unsupported(&format!("tar type {:?}", char::from(other))),
    }
}

fn unsupported<T>(what: &str) -> Result<T, Error> {
    let what = what.to_owned();
    Err(Error::Unsupported { what })
}

/// zTOCs keep the low 32 bits of owners.
fn low_bits(value: i64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

fn device(number: i64) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::Tar("a device number does not fit 32 bits"))
}
