//! A tar writer that says exactly what it is told, in ustar with PAX records where ustar is too small.

use std::io::{self, Read, Write};

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Kind {
    #[default]
    File,
    Hardlink,
    Symlink,
    Char,
    Block,
    Dir,
    Fifo,
}

/// Names without `SCHILY.xattr.`, and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// One entry without its content.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: (i64, u32),
    pub link: Vec<u8>,
    pub device: (u64, u64),
    pub xattrs: Xattrs,
}

pub struct Writer<W: Write> {
    out: W,
}

const BLOCK: usize = 512;

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes an entry; `content` must hold exactly `entry.size` bytes.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let records = pax_records(entry);
        if !records.is_empty() {
            let header = Entry {
                name: b"PaxHeaders.0/entry".to_vec(),
                mode: 0o644,
                size: records.len() as u64,
                ..Entry::default()
            };
            self.out.write_all(&ustar(&header, b'x'))?;
            self.out.write_all(&records)?;
            self.pad(header.size)?;
        }
        self.out.write_all(&ustar(entry, type_flag(entry.kind)))?;
        let copied = io::copy(&mut content.take(entry.size), &mut self.out)?;
        if copied != entry.size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "content shorter than size",
            ));
        }
        self.pad(entry.size)
    }

    pub fn bytes(&mut self, entry: Entry, content: &[u8]) -> io::Result<()> {
        let entry = Entry {
            size: content.len() as u64,
            ..entry
        };
        self.append(&entry, &mut &*content)
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        io::copy(&mut io::repeat(0).take(padding), &mut self.out)?;
        Ok(())
    }
}

fn type_flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::Hardlink => b'1',
        Kind::Symlink => b'2',
        Kind::Char => b'3',
        Kind::Block => b'4',
        Kind::Dir => b'5',
        Kind::Fifo => b'6',
    }
}

fn pax_records(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    let mut record = |key: &[u8], value: &[u8]| {
        // The length counts its own digits.
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        out.extend_from_slice(length.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(key);
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(b'\n');
    };
    if entry.name.len() > 100 {
        record(b"path", &entry.name);
    }
    if entry.link.len() > 100 {
        record(b"linkpath", &entry.link);
    }
    if entry.uid > MAX_ID {
        record(b"uid", entry.uid.to_string().as_bytes());
    }
    if entry.gid > MAX_ID {
        record(b"gid", entry.gid.to_string().as_bytes());
    }
    let (seconds, nanos) = entry.mtime;
    if nanos != 0 || !(0..=MAX_OCTAL_11).contains(&seconds) {
        record(b"mtime", decimal_time(seconds, nanos).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    out
}

const MAX_ID: u64 = 0o7_777_777;
const MAX_OCTAL_11: i64 = 0o77_777_777_777;

/// PAX counts a negative time's fraction away from zero.
fn decimal_time(seconds: i64, nanos: u32) -> String {
    match (seconds, nanos) {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanos) if seconds >= 0 => format!("{seconds}.{nanos:09}"),
        (seconds, nanos) => {
            let whole = seconds.unsigned_abs() - 1;
            format!("-{whole}.{:09}", 1_000_000_000 - nanos)
        }
    }
}

fn ustar(entry: &Entry, flag: u8) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, width: usize, value: &[u8]| {
        for (to, from) in header.iter_mut().skip(at).zip(value.iter().take(width)) {
            *to = *from;
        }
    };
    let octal = |value: u64, digits: usize| format!("{value:0digits$o}\0");
    let id = |id: u64| if id > MAX_ID { 0 } else { id };
    let seconds = u64::try_from(entry.mtime.0).unwrap_or(0);
    put(0, 100, &entry.name);
    put(100, 8, octal(u64::from(entry.mode), 7).as_bytes());
    put(108, 8, octal(id(entry.uid), 7).as_bytes());
    put(116, 8, octal(id(entry.gid), 7).as_bytes());
    put(124, 12, octal(entry.size, 11).as_bytes());
    put(
        136,
        12,
        octal(seconds.min(MAX_OCTAL_11.unsigned_abs()), 11).as_bytes(),
    );
    put(148, 8, b"        ");
    put(156, 1, &[flag]);
    put(157, 100, &entry.link);
    put(257, 8, b"ustar\x0000");
    put(329, 8, octal(entry.device.0, 7).as_bytes());
    put(337, 8, octal(entry.device.1, 7).as_bytes());
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    for (to, from) in header.iter_mut().skip(148).zip(sum.bytes()) {
        *to = from;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// What GNU tar makes of it.
    fn listed(build: impl FnOnce(&mut Writer<Vec<u8>>)) -> String {
        let mut writer = Writer::new(Vec::new());
        build(&mut writer);
        let bytes = writer.finish().unwrap();
        let mut child = Command::new("tar")
            .args(["--utc", "--full-time", "--numeric-owner", "-tvf", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn long_names_large_ids_and_old_times_survive() {
        let name = "d/".repeat(60) + "file";
        let text = listed(|tar| {
            let entry = Entry {
                name: name.clone().into_bytes(),
                mode: 0o4755,
                uid: 1 << 31,
                gid: 7,
                mtime: (-2, 0),
                ..Entry::default()
            };
            tar.bytes(entry, b"hello").unwrap();
        });
        assert!(text.starts_with("-rwsr-xr-x 2147483648/7"), "{text}");
        assert!(text.contains("1969-12-31 23:59:58 "), "{text}");
        assert!(text.trim_end().ends_with(&name), "{text}");
    }

    #[test]
    fn fractions_of_a_second_before_1970_count_backwards() {
        assert_eq!(decimal_time(-2, 500_000_000), "-1.500000000");
        assert_eq!(decimal_time(-1, 999_999_999), "-0.000000001");
        assert_eq!(decimal_time(3, 7), "3.000000007");
    }
}
