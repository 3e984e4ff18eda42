//! The upper directory of an overlay as an image layer.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::cache::hex;
use crate::tar::{Entry, Kind, Writer, Xattrs};

/// Nothing in an image is younger than this: 2024-01-01.
pub(super) const EPOCH: i64 = 1_704_067_200;

const OPAQUE: &str = "trusted.overlay.opaque";

/// Writes the tree as `tar | gzip -6` and returns the digest of the tar.
pub(super) fn pack(tree: &Path, blob: &Path) -> Result<String> {
    gzip(blob, |out| {
        let mut tar = Writer::new(out);
        append_tree(&mut tar, tree)?;
        tar.finish()?;
        Ok(())
    })
}

/// Compresses what `fill` writes with gzip(1), and returns the digest of what it wrote.
pub(super) fn gzip(blob: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<String> {
    let mut child: Child = Command::new("gzip")
        .args(["-6", "-n"])
        .stdin(Stdio::piped())
        .stdout(File::create(blob)?)
        .spawn()
        .context("gzip")?;
    let stdin = child.stdin.take().context("gzip without stdin")?;
    let mut out = Hashing {
        inner: io::BufWriter::with_capacity(1 << 20, stdin),
        hash: Sha256::new(),
    };
    fill(&mut out)?;
    out.flush()?;
    let digest = format!("sha256:{}", hex(&out.hash.finalize()));
    drop(out.inner);
    anyhow::ensure!(child.wait()?.success(), "gzip failed on {}", blob.display());
    Ok(digest)
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn append_tree<W: Write>(tar: &mut Writer<W>, tree: &Path) -> Result<()> {
    let mut links: HashMap<u64, Vec<u8>> = HashMap::new();
    for found in WalkDir::new(tree).min_depth(1).sort_by_file_name() {
        let found = found?;
        let meta = fs::symlink_metadata(found.path())?;
        let mut name = found
            .path()
            .strip_prefix(tree)?
            .as_os_str()
            .as_bytes()
            .to_vec();
        if meta.file_type().is_socket() {
            continue;
        }
        if meta.file_type().is_char_device() && meta.rdev() == 0 {
            let base = found.file_name().as_bytes();
            let parent = name.get(..name.len() - base.len()).unwrap_or_default();
            let whiteout = [parent, b".wh.", base].concat();
            tar.bytes(
                Entry {
                    name: whiteout,
                    mode: 0o644,
                    mtime: (EPOCH, 0),
                    ..Entry::default()
                },
                b"",
            )?;
            continue;
        }
        let (opaque, xattrs) = xattrs(found.path())?;
        let mut entry = describe(&meta, xattrs);
        match entry.kind {
            Kind::Dir => name.push(b'/'),
            Kind::Symlink => {
                entry.link = fs::read_link(found.path())?.as_os_str().as_bytes().to_vec()
            }
            Kind::File if meta.nlink() > 1 => {
                if let Some(first) = links.get(&meta.ino()) {
                    entry = Entry {
                        kind: Kind::Hardlink,
                        size: 0,
                        link: first.clone(),
                        ..entry
                    };
                } else {
                    links.insert(meta.ino(), name.clone());
                }
            }
            _ => {}
        }
        entry.name = name;
        if entry.kind == Kind::File && entry.size > 0 {
            tar.append(&entry, &mut File::open(found.path())? as &mut dyn Read)?;
        } else {
            tar.append(&entry, &mut io::empty())?;
        }
        if opaque {
            let name = [entry.name.as_slice(), b".wh..wh..opq"].concat();
            tar.bytes(
                Entry {
                    name,
                    mode: 0o644,
                    mtime: (EPOCH, 0),
                    ..Entry::default()
                },
                b"",
            )?;
        }
    }
    Ok(())
}

fn describe(meta: &Metadata, xattrs: Xattrs) -> Entry {
    let kind = match meta.file_type() {
        t if t.is_dir() => Kind::Dir,
        t if t.is_symlink() => Kind::Symlink,
        t if t.is_char_device() => Kind::Char,
        t if t.is_block_device() => Kind::Block,
        t if t.is_fifo() => Kind::Fifo,
        _ => Kind::File,
    };
    Entry {
        kind,
        mode: meta.mode() & 0o7777,
        uid: u64::from(meta.uid()),
        gid: u64::from(meta.gid()),
        size: if kind == Kind::File { meta.len() } else { 0 },
        mtime: (meta.mtime().min(EPOCH), 0),
        device: (
            nix::sys::stat::major(meta.rdev()),
            nix::sys::stat::minor(meta.rdev()),
        ),
        xattrs,
        ..Entry::default()
    }
}

/// Whether overlay hides what is below, and the attributes that belong to the image.
fn xattrs(path: &Path) -> Result<(bool, Xattrs)> {
    let mut opaque = false;
    let mut kept = Vec::new();
    for name in xattr::list(path)? {
        let value = xattr::get(path, &name)?.unwrap_or_default();
        if name == OPAQUE {
            opaque = value == b"y";
        } else if !name.as_bytes().starts_with(b"trusted.") {
            kept.push((name.as_bytes().to_vec(), value));
        }
    }
    kept.sort();
    Ok((opaque, kept))
}
