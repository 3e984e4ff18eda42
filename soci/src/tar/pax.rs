//! PAX extended headers: `length key=value` records.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::mtime::Mtime;

/// What the records of one extended header change. An empty value changes nothing but clears what the
/// same key said before.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) uname: Option<Vec<u8>>,
    pub(super) gname: Option<Vec<u8>>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) size: Option<i64>,
    pub(super) mtime: Option<Mtime>,
    /// All of them, keys ascending and unique, also those that change nothing.
    pub(super) records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pax {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut last = BTreeMap::new();
        for record in records(payload) {
            let (key, value) = record?;
            last.insert(key, value);
        }
        let mut pax = Self::default();
        for (key, value) in last {
            if key.starts_with(b"GNU.sparse.") {
                let what = "a sparse file in PAX format".to_owned();
                return Err(Error::Unsupported { what });
            }
            if !value.is_empty() {
                pax.set(key, value)?;
            }
            pax.records.push((key.to_vec(), value.to_vec()));
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.linkpath = Some(value.to_vec()),
            b"uname" => self.uname = Some(value.to_vec()),
            b"gname" => self.gname = Some(value.to_vec()),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            // Kept nowhere, yet a bad one spoils the header.
            b"atime" | b"ctime" => drop(time(value)?),
            _ => {}
        }
        Ok(())
    }
}

/// Whether every record is well formed, without a look at the values.
pub(super) fn check(payload: &[u8]) -> Result<(), Error> {
    records(payload).try_for_each(|record| record.map(drop))
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn records(mut rest: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Error>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((record, tail)) = split_record(rest) else {
            rest = &[];
            return Some(Err(Error::Tar("malformed PAX record")));
        };
        rest = tail;
        Some(Ok(record))
    })
}

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let digits = bytes.iter().position(|byte| *byte == b' ')?;
    let len: usize = std::str::from_utf8(bytes.get(..digits)?)
        .ok()?
        .parse()
        .ok()?;
    let (record, rest) = bytes.split_at_checked(len)?;
    let record = record.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
    let holds_text = match key {
        b"" => return None,
        b"path" | b"linkpath" | b"uname" | b"gname" => value,
        _ => key,
    };
    (!holds_text.contains(&0)).then_some(((key, value), rest))
}

fn decimal(value: &[u8]) -> Result<i64, Error> {
    let number = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or(Error::Tar("a PAX number is not decimal"))
}

fn time(value: &[u8]) -> Result<Mtime, Error> {
    Mtime::from_pax(value).ok_or(Error::Tar("a PAX time is not decimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &[u8], expected: Option<&str>) {
        let path = Pax::parse(payload).ok();
        let path = path.map(|pax| String::from_utf8(pax.path.unwrap_or_default()).unwrap());
        assert_eq!(path.as_deref(), expected, "{}", payload.escape_ascii());
    }

    #[test]
    fn the_last_record_of_a_key_counts() {
        check(b"", Some(""));
        check(b"10 path=a\n10 path=b\n", Some("b"));
        check(b"10 path=a\n8 path=\n", Some(""));
        check(b"12 uid=abcd\n9 uid=12\n10 path=a\n", Some("a"));
    }

    #[test]
    fn malformed_records_spoil_the_header() {
        for payload in [
            b"10 path=a".as_slice(),
            b"11 path=a\n",
            b"8 path=a\n",
            b"path=a\n",
            b"8 pathx\n",
            b"5 =x\n",
            b"-1 path=a\n",
            b"18446744073709551616 path=a\n",
            b"12 path=a\0b\n",
            b"10 a\0th=a\n",
            b"11 uid=abc\n",
            b"13 atime=abc\n",
            b"22 GNU.sparse.major=1\n",
        ] {
            check(payload, None);
        }
    }

    #[test]
    fn values_are_bytes_and_all_records_are_kept() {
        let pax =
            Pax::parse(b"22 SCHILY.xattr.b=\xff\n\0\n19 SCHILY.xattr.a=\n10 path=c\n").unwrap();
        let expected: [(&[u8], &[u8]); 3] = [
            (b"SCHILY.xattr.a", b""),
            (b"SCHILY.xattr.b", b"\xff\n\0"),
            (b"path", b"c"),
        ];
        let records = pax
            .records
            .iter()
            .map(|(k, v)| (k.as_slice(), v.as_slice()));
        assert!(records.eq(expected));
    }
}
