//! One member in few bytes: numbers of variable length, then its strings.

use crate::mtime::Mtime;
use crate::tar::Header;
use crate::toc::Kind;

const KINDS: [Kind; 7] = [
    Kind::Reg,
    Kind::Dir,
    Kind::Symlink,
    Kind::Hardlink,
    Kind::Char,
    Kind::Block,
    Kind::Fifo,
];

/// A member, with the values its zTOC entry has.
pub(in crate::build) struct File<'a> {
    pub(in crate::build) name: &'a [u8],
    pub(in crate::build) linkname: &'a [u8],
    pub(in crate::build) uname: &'a [u8],
    pub(in crate::build) gname: &'a [u8],
    pub(in crate::build) kind: Kind,
    pub(in crate::build) offset: u64,
    pub(in crate::build) size: u64,
    pub(in crate::build) mode: i64,
    pub(in crate::build) mtime: Mtime,
    pub(in crate::build) uid: u32,
    pub(in crate::build) gid: u32,
    pub(in crate::build) device: (u32, u32),
    /// Packed; what follows the last is another member.
    records: Packed<'a>,
    record_count: u64,
}

impl<'a> File<'a> {
    /// Without its PAX records.
    pub(super) fn new(header: &'a Header, offset: u64) -> Self {
        Self {
            name: &header.name,
            linkname: &header.linkname,
            uname: &header.uname,
            gname: &header.gname,
            kind: header.kind,
            offset,
            size: header.data_len(),
            mode: header.mode,
            mtime: header.mtime,
            uid: header.uid,
            gid: header.gid,
            device: header.device,
            records: Packed(&[]),
            record_count: 0,
        }
    }

    pub(super) fn pack(&self, records: &[(Vec<u8>, Vec<u8>)], to: &mut Vec<u8>) {
        let kind = KINDS.iter().position(|kind| *kind == self.kind);
        let numbers = [
            kind.unwrap_or(0) as u64,
            self.offset,
            self.size,
            zigzag(self.mode),
            u64::from(self.uid),
            u64::from(self.gid),
            u64::from(self.device.0),
            u64::from(self.device.1),
            zigzag(self.mtime.seconds),
            u64::from(self.mtime.nanos),
            records.len() as u64,
        ];
        numbers.into_iter().for_each(|number| pack(number, to));
        for text in [self.name, self.linkname, self.uname, self.gname] {
            pack_text(text, to);
        }
        for (key, value) in records {
            pack_text(key, to);
            pack_text(value, to);
        }
    }

    pub(super) fn unpack(bytes: &'a [u8]) -> Self {
        let mut from = Packed(bytes);
        let kind = usize::try_from(from.number()).ok();
        let kind = kind.and_then(|kind| KINDS.get(kind).copied());
        let mut file = Self {
            kind: kind.unwrap_or_default(),
            offset: from.number(),
            size: from.number(),
            mode: unzigzag(from.number()),
            uid: from.small(),
            gid: from.small(),
            device: (from.small(), from.small()),
            mtime: Mtime {
                seconds: unzigzag(from.number()),
                nanos: from.small(),
            },
            record_count: from.number(),
            name: from.text(),
            linkname: from.text(),
            uname: from.text(),
            gname: from.text(),
            records: Packed(&[]),
        };
        file.records = from;
        file
    }

    /// PAX records, keys ascending.
    pub(in crate::build) fn records(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut from = self.records;
        (0..self.record_count).map(move |_| (from.text(), from.text()))
    }
}

/// What was packed here; nothing else is read.
#[derive(Clone, Copy)]
struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    /// Seven bits a byte, the lowest first; the last byte has its top bit clear.
    fn number(&mut self) -> u64 {
        let mut number = 0;
        let mut shift = 0;
        while let Some((byte, rest)) = self.0.split_first() {
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift > 63 {
                break;
            }
        }
        number
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    fn text(&mut self) -> &'a [u8] {
        let len = usize::try_from(self.number()).unwrap_or(usize::MAX);
        let (text, rest) = self.0.split_at_checked(len).unwrap_or_default();
        self.0 = rest;
        text
    }
}

fn pack(mut number: u64, to: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return to.push(low & 0x7f);
        }
        to.push(low | 0x80);
    }
}

fn pack_text(text: &[u8], to: &mut Vec<u8>) {
    pack(text.len() as u64, to);
    to.extend_from_slice(text);
}

/// Small for numbers near zero, whatever their sign.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_unpacked_as_they_were_packed() {
        let text = |len| vec![b'x'; len];
        let mut packed = Vec::new();
        let mut headers = Vec::new();
        let extremes = [0, 1, 63, 64, 127, 128, i64::MAX, -1, -64, -65, i64::MIN];
        for (n, number) in extremes.into_iter().enumerate() {
            let [a, b, c, d, ..] = number.to_le_bytes();
            let word = u32::from_le_bytes([a, b, c, d]);
            headers.push(Header {
                name: text(n * 50),
                linkname: text(n),
                kind: KINDS[n % KINDS.len()],
                mode: number,
                uid: word,
                gid: !word,
                uname: text(130 - n),
                gname: text(n % 2),
                mtime: Mtime {
                    seconds: number,
                    nanos: word,
                },
                device: (word, 1),
                size: number,
                records: vec![(text(n), text(300)); n % 3],
            });
        }
        let mut starts = Vec::new();
        for (n, header) in (0..).zip(&headers) {
            starts.push(packed.len());
            File::new(header, u64::MAX - n).pack(&header.records, &mut packed);
        }
        for ((n, header), start) in (0..).zip(&headers).zip(starts) {
            let file = File::unpack(&packed[start..]);
            let texts = (file.name, file.linkname, file.uname, file.gname);
            let expected = (
                &*header.name,
                &*header.linkname,
                &*header.uname,
                &*header.gname,
            );
            assert_eq!(texts, expected, "{n}");
            let numbers = (file.kind, file.offset, file.size, file.mode, file.mtime);
            let (size, offset) = (header.data_len(), u64::MAX - n);
            assert_eq!(
                numbers,
                (header.kind, offset, size, header.mode, header.mtime),
                "{n}"
            );
            let owners = (file.uid, file.gid, file.device);
            assert_eq!(owners, (header.uid, header.gid, header.device), "{n}");
            let records = header.records.iter().map(|(key, value)| (&**key, &**value));
            assert!(file.records().eq(records), "{n}");
        }
    }
}
