//! Where the files of an archive lie in it, from the headers alone.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::Error;

const BLOCK: u64 = 512;
const HEADER: usize = 512;

/// An image has far fewer files; more of them would only fill memory.
const MAX_FILES: usize = 1 << 20;

/// Names and sizes beyond what the classic header holds.
const MAX_META: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What a meta member says about the next one.
#[derive(Default)]
struct Override {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

/// Regular files by name, without a leading `./`. Links stand for their targets.
pub(super) fn places(file: File, path: &Path) -> Result<HashMap<String, Place>, Error> {
    let malformed = |reason: String| Error::Malformed {
        what: path.display().to_string(),
        reason,
    };
    let mut reader = BufReader::new(file);
    let mut places = HashMap::new();
    let mut links = Vec::new();
    let mut over = Override::default();
    let mut position: u64 = 0;
    loop {
        let mut header = [0; HEADER];
        match reader.read_exact(&mut header) {
            Ok(()) => {}
            // Some writers leave the trailer out.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && position > 0 => break,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(malformed("it is neither a directory nor a tar".to_owned()));
            }
            Err(error) => return Err(Error::file(path)(error)),
        }
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        if !is_header(&header) {
            let hint = match header {
                [0x1f, 0x8b, ..] => "it is compressed; decompress it first (gunzip)",
                [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed; decompress it first (unzstd)",
                _ => "it is no tar",
            };
            return Err(malformed(hint.to_owned()));
        }
        position = position.saturating_add(BLOCK);
        let size = over.size.take().or_else(|| number(header.get(124..136)?));
        let size = size.ok_or_else(|| malformed("a header without a size".to_owned()))?;
        let padded = size
            .checked_next_multiple_of(BLOCK)
            .filter(|padded| i64::try_from(*padded).is_ok())
            .ok_or_else(|| malformed(format!("a file of {size} bytes")))?;
        let kind = header.get(156).copied().unwrap_or_default();
        if matches!(kind, b'x' | b'L' | b'K') {
            if size > MAX_META {
                return Err(malformed(format!("a header of {size} bytes")));
            }
            let mut meta = vec![0; usize::try_from(padded).unwrap_or_default()];
            reader.read_exact(&mut meta).map_err(Error::file(path))?;
            meta.truncate(usize::try_from(size).unwrap_or_default());
            over.read(kind, &meta);
        } else {
            let name = over.name.take().unwrap_or_else(|| classic_name(&header));
            let link = over.link.take();
            let name = clean(&name);
            match kind {
                b'0' | 0 | b'7' => {
                    let offset = position;
                    places.insert(name, Place { offset, size });
                }
                b'1' => {
                    links.push((
                        name,
                        clean(&link.unwrap_or_else(|| text(&header, 157, 257))),
                    ));
                }
                b'2' => {
                    let target = link.unwrap_or_else(|| text(&header, 157, 257));
                    let target = sibling(&name, &target);
                    links.push((name, target));
                }
                _ => {}
            }
            if places.len() + links.len() > MAX_FILES {
                return Err(malformed(format!("more than {MAX_FILES} files")));
            }
            let skip = i64::try_from(padded).unwrap_or_default();
            reader.seek_relative(skip).map_err(Error::file(path))?;
        }
        position = position.saturating_add(padded);
    }
    let end = reader.seek(SeekFrom::End(0)).map_err(Error::file(path))?;
    for (name, place) in &places {
        if place.offset.saturating_add(place.size) > end {
            return Err(malformed(format!("it is cut off within {name}")));
        }
    }
    for (name, target) in links {
        if let Some(place) = places.get(&target).copied() {
            places.entry(name).or_insert(place);
        }
    }
    Ok(places)
}

impl Override {
    fn read(&mut self, kind: u8, meta: &[u8]) {
        let long = || {
            let end = meta.iter().position(|byte| *byte == 0);
            let name = meta.get(..end.unwrap_or(meta.len())).unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        };
        match kind {
            b'L' => self.name = Some(long()),
            b'K' => self.link = Some(long()),
            _ => {
                for (key, value) in records(meta) {
                    match key {
                        "path" => self.name = Some(value.to_owned()),
                        "linkpath" => self.link = Some(value.to_owned()),
                        "size" => self.size = value.parse().ok(),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// `length key=value\n`, as often as it fits.
fn records(mut meta: &[u8]) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    while let Some(space) = meta.iter().position(|byte| *byte == b' ') {
        let length = meta.get(..space).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits.parse::<usize>().ok()
        });
        let Some((record, rest)) = length.and_then(|length| meta.split_at_checked(length)) else {
            break;
        };
        let text = record.get(space + 1..).unwrap_or_default();
        if let Some((key, value)) = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.strip_suffix('\n')?.split_once('='))
        {
            found.push((key, value));
        }
        if record.is_empty() {
            break;
        }
        meta = rest;
    }
    found
}

fn is_header(header: &[u8]) -> bool {
    let stored = header.get(148..156).and_then(number);
    let sum: u64 = (0..)
        .zip(header)
        .map(|(at, byte)| match at {
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        })
        .sum();
    stored == Some(sum)
}

/// Octal digits, or big-endian with the top bit set.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        return rest
            .iter()
            .try_fold(u64::from(first & 0x7f), |value, byte| {
                Some(value.checked_mul(256)? | u64::from(*byte))
            });
    }
    let digits = std::str::from_utf8(field).ok()?;
    let digits = digits.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

fn classic_name(header: &[u8]) -> String {
    let name = text(header, 0, 100);
    let is_ustar = header.get(257..262) == Some(b"ustar".as_slice());
    let prefix = if is_ustar {
        text(header, 345, 500)
    } else {
        String::new()
    };
    if prefix.is_empty() {
        name
    } else {
        format!("{prefix}/{name}")
    }
}

fn text(header: &[u8], start: usize, end: usize) -> String {
    let field = header.get(start..end).unwrap_or_default();
    let end = field.iter().position(|byte| *byte == 0);
    let field = field.get(..end.unwrap_or(field.len())).unwrap_or_default();
    String::from_utf8_lossy(field).into_owned()
}

/// Without `.`, `..` and doubled slashes.
fn clean(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What a symbolic link beside `name` points to.
fn sibling(name: &str, target: &str) -> String {
    match name.rsplit_once('/') {
        Some((directory, _)) if !target.starts_with('/') => clean(&format!("{directory}/{target}")),
        _ => clean(target),
    }
}
