//! The `spans` file: what the data file beside it holds, and a checksum per span. An absent span has none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: [u8; 8] = *b"SOCISPAN";
const VERSION: u32 = 1;
const HEADER: usize = 128;
const RECORD: usize = 16;

/// Never zero, which means absent.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Checksum([u8; RECORD]);

impl Checksum {
    pub(super) fn of(bytes: &[u8]) -> Checksum {
        Checksum(xxh3_128(bytes).max(1).to_le_bytes())
    }
}

/// What the records are about; a file that says otherwise is not ours.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    pub(super) spans: u32,
    pub(super) size: u64,
    /// A hash of layer and zTOC digest; the latter says where the spans lie.
    pub(super) names: u128,
}

impl Identity {
    fn encode(&self) -> [u8; HEADER] {
        let fields: [&[u8]; 5] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &self.spans.to_le_bytes(),
            &self.size.to_le_bytes(),
            &self.names.to_le_bytes(),
        ];
        let mut header = [0; HEADER];
        for (byte, field) in header.iter_mut().zip(fields.iter().copied().flatten()) {
            *byte = *field;
        }
        header
    }

    fn decode(header: &[u8]) -> Option<Identity> {
        let (magic, rest) = header.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (spans, rest) = rest.split_first_chunk::<4>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (names, _) = rest.split_first_chunk::<16>()?;
        if *magic != MAGIC || u32::from_le_bytes(*version) != VERSION {
            return None;
        }
        Some(Identity {
            spans: u32::from_le_bytes(*spans),
            size: u64::from_le_bytes(*size),
            names: u128::from_le_bytes(*names),
        })
    }
}

pub(super) fn write_identity(file: &File, identity: &Identity) -> io::Result<()> {
    file.set_len(offset(identity.spans))?;
    file.write_all_at(&identity.encode(), 0)
}

/// None when the file is not one of ours, or of another version.
pub(super) fn identity(file: &File) -> io::Result<Option<Identity>> {
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => Ok(Identity::decode(&header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// One flag per span: whether it has a checksum. None when the file is cut off.
pub(super) fn present(file: &File, spans: u32) -> io::Result<Option<Vec<bool>>> {
    if file.metadata()?.len() != offset(spans) {
        return Ok(None);
    }
    let len = usize::try_from(spans)
        .unwrap_or(usize::MAX)
        .saturating_mul(RECORD);
    let mut records = vec![0; len];
    file.read_exact_at(&mut records, offset(0))?;
    Ok(Some(
        records
            .chunks(RECORD)
            .map(|record| record.iter().any(|&byte| byte != 0))
            .collect(),
    ))
}

pub(super) fn read(file: &File, span: u32) -> io::Result<Option<Checksum>> {
    let mut record = [0; RECORD];
    file.read_exact_at(&mut record, offset(span))?;
    Ok((record != [0; RECORD]).then_some(Checksum(record)))
}

pub(super) fn write(file: &File, span: u32, checksum: Checksum) -> io::Result<()> {
    file.write_all_at(&checksum.0, offset(span))
}

pub(super) fn erase(file: &File, span: u32) -> io::Result<()> {
    file.write_all_at(&[0; RECORD], offset(span))
}

fn offset(span: u32) -> u64 {
    HEADER as u64 + u64::from(span) * RECORD as u64
}
