//! Headers of gzip members (RFC 1952).

use flate2::Crc;

use crate::error::Error;

/// What is wrong with a header that might be right if more bytes followed.
pub(crate) const CUT_SHORT: &str = "it is cut short";

const HAS_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Whether `bytes` are one complete member header and nothing else.
pub fn check_header(bytes: &[u8]) -> Result<(), Error> {
    match skip_header(bytes) {
        Ok([]) => Ok(()),
        Ok(_) => Err(Error::GzipHeader("bytes follow it")),
        Err(reason) => Err(Error::GzipHeader(reason)),
    }
}

/// What follows the member header that `bytes` start with.
pub(crate) fn skip_header(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let short = CUT_SHORT;
    let (fixed, mut rest) = bytes.split_first_chunk::<10>().ok_or(short)?;
    let [0x1f, 0x8b, method, flags, ..] = *fixed else {
        return Err("its magic number is wrong");
    };
    if method != 8 {
        return Err("its compression method is not deflate");
    }
    if flags & RESERVED != 0 {
        return Err("it has reserved flags");
    }
    if flags & HAS_EXTRA != 0 {
        let (len, tail) = rest.split_first_chunk::<2>().ok_or(short)?;
        let len = usize::from(u16::from_le_bytes(*len));
        rest = tail.get(len..).ok_or(short)?;
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(short)?;
            rest = rest.get(end + 1..).ok_or(short)?;
        }
    }
    if flags & HAS_CRC != 0 {
        let (stored, tail) = rest.split_first_chunk::<2>().ok_or(short)?;
        let mut crc = Crc::new();
        crc.update(bytes.get(..bytes.len() - rest.len()).unwrap_or_default());
        let [low, high, ..] = crc.sum().to_le_bytes();
        if *stored != [low, high] {
            return Err("its checksum is wrong");
        }
        rest = tail;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &[u8], expected: Result<(), &'static str>) {
        let expected = expected.map_err(Error::GzipHeader);
        assert_eq!(check_header(header), expected, "{header:02x?}");
    }

    fn header(flags: u8, fields: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        bytes.extend_from_slice(fields);
        bytes
    }

    #[test]
    fn headers_with_every_optional_field_are_complete() {
        check(&header(0, b""), Ok(()));
        check(&header(HAS_NAME, b"layer.tar\0"), Ok(()));
        check(&header(HAS_EXTRA | HAS_COMMENT, b"\x03\0abcnote\0"), Ok(()));
        let mut all = header(HAS_CRC | HAS_EXTRA | HAS_NAME, b"\x01\0xn\0");
        let mut crc = Crc::new();
        crc.update(&all);
        all.extend_from_slice(&crc.sum().to_le_bytes()[..2]);
        check(&all, Ok(()));
        all[4] ^= 1;
        check(&all, Err("its checksum is wrong"));
    }

    #[test]
    fn a_header_cut_anywhere_is_refused() {
        let whole = header(HAS_EXTRA | HAS_NAME, b"\x03\0abcname\0");
        for len in 0..whole.len() {
            check(&whole[..len], Err("it is cut short"));
        }
    }

    #[test]
    fn other_streams_are_refused() {
        check(&header(0, b"x"), Err("bytes follow it"));
        check(&header(0x20, b""), Err("it has reserved flags"));
        check(
            b"\x28\xb5\x2f\xfd\0\0\0\0\0\0",
            Err("its magic number is wrong"),
        );
        let mut stored = header(0, b"");
        stored[2] = 0;
        check(&stored, Err("its compression method is not deflate"));
    }
}
