//! Headers of gzip members (RFC 1952) that arrive byte by byte.

use super::fill::Fill;
use crate::error::Error;

const HAS_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// What a stream that does not start as gzip starts as.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Zstd,
    Zlib,
    NotGzip,
    Bad(Error),
}

pub(super) struct HeaderParser {
    field: Field,
    flags: u8,
    /// Over everything before the header's own checksum.
    crc: crc32fast::Hasher,
}

/// In the order of the header; those without a flag are skipped.
enum Field {
    Fixed(Fill<10>),
    ExtraLen(Fill<2>),
    Extra { missing: u16 },
    Name,
    Comment,
    Crc(Fill<2>),
    End,
}

impl HeaderParser {
    pub(super) fn new() -> Self {
        Self {
            field: Field::Fixed(Fill::new()),
            flags: 0,
            crc: crc32fast::Hasher::new(),
        }
    }

    /// Takes bytes until the header is complete: how many, and whether it is.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        for (taken, byte) in (1..).zip(bytes) {
            if self.byte(*byte)? {
                return Ok((taken, true));
            }
        }
        Ok((bytes.len(), false))
    }

    fn byte(&mut self, byte: u8) -> Result<bool, Fault> {
        if !matches!(self.field, Field::Crc(_)) {
            self.crc.update(&[byte]);
        }
        match &mut self.field {
            Field::Fixed(fixed) => {
                if let Some(fixed) = fixed.push(byte) {
                    self.flags = flags(&fixed)?;
                    self.field = self.after_fixed();
                }
            }
            Field::ExtraLen(len) => {
                if let Some(len) = len.push(byte) {
                    self.field = match u16::from_le_bytes(len) {
                        0 => self.after_extra(),
                        missing => Field::Extra { missing },
                    };
                }
            }
            Field::Extra { missing: 0 | 1 } => self.field = self.after_extra(),
            Field::Extra { missing } => *missing -= 1,
            Field::Name if byte == 0 => self.field = self.after_name(),
            Field::Comment if byte == 0 => self.field = self.after_comment(),
            Field::Crc(stored) => {
                if let Some(stored) = stored.push(byte) {
                    let [low, high, ..] = self.crc.clone().finalize().to_le_bytes();
                    if stored != [low, high] {
                        return Err(Fault::Bad(Error::GzipHeader("its checksum is wrong")));
                    }
                    self.field = Field::End;
                }
            }
            Field::Name | Field::Comment | Field::End => {}
        }
        Ok(matches!(self.field, Field::End))
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn after_fixed(&self) -> Field {
        if self.has(HAS_EXTRA) {
            Field::ExtraLen(Fill::new())
        } else {
            self.after_extra()
        }
    }

    fn after_extra(&self) -> Field {
        if self.has(HAS_NAME) {
            Field::Name
        } else {
            self.after_name()
        }
    }

    fn after_name(&self) -> Field {
        if self.has(HAS_COMMENT) {
            Field::Comment
        } else {
            self.after_comment()
        }
    }

    fn after_comment(&self) -> Field {
        if self.has(HAS_CRC) {
            Field::Crc(Fill::new())
        } else {
            Field::End
        }
    }
}

fn flags(fixed: &[u8; 10]) -> Result<u8, Fault> {
    match *fixed {
        [0x1f, 0x8b, 8, flags, ..] if flags & RESERVED == 0 => Ok(flags),
        [0x1f, 0x8b, 8, ..] => Err(Fault::Bad(Error::GzipHeader("it has reserved flags"))),
        [0x1f, 0x8b, ..] => {
            let reason = "its compression method is not deflate";
            Err(Fault::Bad(Error::GzipHeader(reason)))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(Fault::Zstd),
        [method, flags, ..]
            if method & 0x0f == 8 && u16::from_be_bytes([method, flags]).is_multiple_of(31) =>
        {
            Err(Fault::Zlib)
        }
        _ => Err(Fault::NotGzip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header is complete with its last byte, and not before.
    fn check(header: &[u8]) {
        crate::gzip::check_header(header).unwrap();
        let mut whole = HeaderParser::new();
        let with_more = [header, b"data"].concat();
        assert_eq!(whole.push(&with_more), Ok((header.len(), true)));
        let mut pieces = HeaderParser::new();
        let (last, before) = header.split_last().unwrap();
        for byte in before {
            assert_eq!(pieces.push(&[*byte]), Ok((1, false)), "{header:02x?}");
        }
        assert_eq!(pieces.push(&[*last]), Ok((1, true)), "{header:02x?}");
    }

    fn header(flags: u8, fields: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        bytes.extend_from_slice(fields);
        if flags & HAS_CRC != 0 {
            let crc = crc32fast::hash(&bytes).to_le_bytes();
            bytes.extend_from_slice(&crc[..2]);
        }
        bytes
    }

    fn fault(bytes: &[u8]) -> Fault {
        HeaderParser::new().push(bytes).unwrap_err()
    }

    #[test]
    fn headers_with_any_optional_fields_are_read() {
        for flags in 0..0x20 {
            let mut fields = Vec::new();
            if flags & HAS_EXTRA != 0 {
                fields.extend(b"\x03\0abc");
            }
            if flags & HAS_NAME != 0 {
                fields.extend(b"layer.tar\0");
            }
            if flags & HAS_COMMENT != 0 {
                fields.extend(b"\0");
            }
            check(&header(flags, &fields));
        }
        check(&header(HAS_EXTRA | HAS_NAME, b"\0\0\0"));
        check(&header(HAS_EXTRA, b"\x01\0x"));
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        let mut bytes = header(HAS_CRC | HAS_NAME, b"n\0");
        bytes[5] ^= 1;
        let expected = Fault::Bad(Error::GzipHeader("its checksum is wrong"));
        assert_eq!(fault(&bytes), expected);
    }

    #[test]
    fn other_streams_are_told_apart() {
        assert_eq!(fault(b"\x28\xb5\x2f\xfd\0\0\0\0\0\0"), Fault::Zstd);
        assert_eq!(fault(b"\x78\x9c\0\0\0\0\0\0\0\0"), Fault::Zlib);
        assert_eq!(fault(b"etc/passwd"), Fault::NotGzip);
        let expected = Fault::Bad(Error::GzipHeader("it has reserved flags"));
        assert_eq!(fault(&header(0x20, b"")), expected);
    }
}
