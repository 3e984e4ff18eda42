//! One 512-byte tar header: V7, ustar, STAR and GNU.

use crate::error::Error;
use crate::mtime::Mtime;

pub(super) type Raw = [u8; 512];

/// The fields of a header block, before any extended header has its say.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) typeflag: u8,
    pub(super) name: Vec<u8>,
    pub(super) linkname: Vec<u8>,
    pub(super) size: i64,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) mtime: Mtime,
    pub(super) uname: Vec<u8>,
    pub(super) gname: Vec<u8>,
    pub(super) device: (i64, i64),
}

enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Block {
    pub(super) fn parse(raw: &Raw) -> Result<Self, Error> {
        check_sum(raw)?;
        let mut block = Self {
            typeflag: field::<1>(raw, 156)[0],
            name: text(&field::<100>(raw, 0)).to_vec(),
            linkname: text(&field::<100>(raw, 157)).to_vec(),
            size: number(&field::<12>(raw, 124))?,
            mode: number(&field::<8>(raw, 100))?,
            uid: number(&field::<8>(raw, 108))?,
            gid: number(&field::<8>(raw, 116))?,
            mtime: Mtime {
                seconds: number(&field::<12>(raw, 136))?,
                nanos: 0,
            },
            uname: Vec::new(),
            gname: Vec::new(),
            device: (0, 0),
        };
        let format = format(raw);
        if !matches!(format, Format::V7) {
            block.uname = text(&field::<32>(raw, 265)).to_vec();
            block.gname = text(&field::<32>(raw, 297)).to_vec();
            block.device = (
                number(&field::<8>(raw, 329))?,
                number(&field::<8>(raw, 337))?,
            );
        }
        let ustar_prefix = field::<155>(raw, 345);
        let star_prefix = field::<131>(raw, 345);
        let prefix = match format {
            Format::V7 => &[],
            Format::Ustar => text(&ustar_prefix),
            Format::Star => {
                number(&field::<12>(raw, 476))?;
                number(&field::<12>(raw, 488))?;
                text(&star_prefix)
            }
            Format::Gnu if gnu_times_are_numbers(raw) => &[],
            // Old Go writers put a ustar prefix where GNU has access and change time.
            Format::Gnu => Some(text(&ustar_prefix))
                .filter(|p| p.is_ascii())
                .unwrap_or(&[]),
        };
        if !prefix.is_empty() {
            block.name = [prefix, b"/", &block.name].concat();
        }
        Ok(block)
    }
}

fn gnu_times_are_numbers(raw: &Raw) -> bool {
    [345, 357].into_iter().all(|at| {
        let time = field::<12>(raw, at);
        time[0] == 0 || number(&time).is_ok()
    })
}

fn format(raw: &Raw) -> Format {
    match &field::<8>(raw, 257) {
        b"ustar  \0" => Format::Gnu,
        [b'u', b's', b't', b'a', b'r', 0, ..] if &field::<4>(raw, 508) == b"tar\0" => Format::Star,
        [b'u', b's', b't', b'a', b'r', 0, ..] => Format::Ustar,
        _ => Format::V7,
    }
}

/// The sum counts its own field as spaces; some writers added signed bytes.
fn check_sum(raw: &Raw) -> Result<(), Error> {
    let stored = octal(&field::<8>(raw, 148))?;
    let own = field::<8>(raw, 148);
    let spaces = i64::from(b' ') * 8;
    let unsigned = spaces + sum(raw, i32::from) - sum(&own, i32::from);
    let signed_byte = |byte: u8| i32::from(byte.cast_signed());
    let signed = spaces + sum(raw, signed_byte) - sum(&own, signed_byte);
    if stored == unsigned || stored == signed {
        Ok(())
    } else {
        Err(Error::Tar("checksum does not match"))
    }
}

/// A block's bytes sum up to 17 bits.
fn sum(bytes: &[u8], value: impl Fn(u8) -> i32) -> i64 {
    let sum = bytes
        .iter()
        .fold(0_i32, |sum, byte| sum.wrapping_add(value(*byte)));
    i64::from(sum)
}

fn field<const N: usize>(raw: &Raw, at: usize) -> [u8; N] {
    // The offsets of this file all lie within the block.
    let field = raw.get(at..).and_then(|rest| rest.first_chunk());
    field.copied().unwrap_or([0; N])
}

pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Base-256 where the first bit is set (two's complement, big-endian), else octal.
fn number(field: &[u8]) -> Result<i64, Error> {
    let Some((first @ 0x80.., rest)) = field.split_first() else {
        return octal(field);
    };
    let inverted = if first & 0x40 == 0 { 0 } else { 0xff };
    let mut value = u64::from((first ^ inverted) & 0x7f);
    for byte in rest {
        if value >> 56 > 0 {
            return Err(Error::Tar("a number exceeds 64 bits"));
        }
        value = value << 8 | u64::from(byte ^ inverted);
    }
    let value = i64::try_from(value).map_err(|_| Error::Tar("a number exceeds 64 bits"))?;
    Ok(if inverted == 0 { value } else { !value })
}

/// Spaces and NULs around the digits are padding; no digits are 0.
fn octal(field: &[u8]) -> Result<i64, Error> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field
        .iter()
        .position(|byte| !padding(byte))
        .unwrap_or(field.len());
    let end = field
        .iter()
        .rposition(|byte| !padding(byte))
        .map_or(start, |last| last + 1);
    let digits = text(field.get(start..end).unwrap_or_default());
    let value = digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    });
    value.ok_or(Error::Tar("a number is not octal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &[u8], expected: Option<i64>) {
        assert_eq!(number(field).ok(), expected, "{field:02x?}");
    }

    #[test]
    fn numbers_of_every_writer_are_read() {
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"644\0junk", Some(0o644));
        check(b"0000648\0", None);
        check(b"-000644\0", None);
        check(b"\x80\0\0\0\0\x20\0\0", Some(0x0020_0000));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1));
        check(
            b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
            Some(i64::MAX),
        );
        check(b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN));
        check(b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None);
        check(b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None);
    }
}
