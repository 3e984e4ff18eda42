//! A directory tree with every attribute a program can see, as text, and the comparison of two.

mod compare;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use walkdir::WalkDir;

use crate::layout::digest_reader;

pub use compare::{ACCEPTED, Difference, compare};

/// What one name in a tree is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    pub kind: String,
    /// With setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of files and symbolic links; a directory's size is its filesystem's own business.
    pub size: Option<u64>,
    pub content: Option<String>,
    pub mtime: (i64, i64),
    pub target: Option<Vec<u8>>,
    pub device: Option<(u64, u64)>,
    /// Every name of this inode in the tree, if there is more than one, in order.
    pub names: Vec<Vec<u8>>,
    /// Names of this inode anywhere; not of directories.
    pub links: Option<u64>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Each path relative to the root, which is the empty path.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tree {
    pub nodes: BTreeMap<Vec<u8>, Node>,
    /// When the dump began: what is younger was not made by an image.
    pub taken: (i64, i64),
}

/// Reads a tree whole, every byte of every file included.
pub fn dump(root: &Path) -> Result<Tree> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut tree = Tree {
        nodes: BTreeMap::new(),
        taken: (i64::try_from(now.as_secs())?, 0),
    };
    let mut inodes: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    let mut identity = BTreeMap::new();
    for found in WalkDir::new(root) {
        let found = found?;
        let meta = fs::symlink_metadata(found.path())
            .with_context(|| found.path().display().to_string())?;
        let path = found
            .path()
            .strip_prefix(root)?
            .as_os_str()
            .as_bytes()
            .to_vec();
        let node = node(found.path(), &meta).with_context(|| found.path().display().to_string())?;
        if !meta.is_dir() {
            inodes
                .entry((meta.dev(), meta.ino()))
                .or_default()
                .push(path.clone());
            identity.insert(path.clone(), (meta.dev(), meta.ino()));
        }
        tree.nodes.insert(path, node);
    }
    for names in inodes.values_mut() {
        names.sort();
    }
    for (path, node) in &mut tree.nodes {
        if let Some(names) = identity.get(path).and_then(|id| inodes.get(id))
            && names.len() > 1
        {
            node.names.clone_from(names);
        }
    }
    Ok(tree)
}

fn node(path: &Path, meta: &Metadata) -> Result<Node> {
    let kind = meta.file_type();
    let name = match kind {
        t if t.is_dir() => "dir",
        t if t.is_symlink() => "symlink",
        t if t.is_char_device() => "char",
        t if t.is_block_device() => "block",
        t if t.is_fifo() => "fifo",
        t if t.is_socket() => "socket",
        _ => "file",
    };
    let is_device = kind.is_char_device() || kind.is_block_device();
    let device = (
        nix::sys::stat::major(meta.rdev()),
        nix::sys::stat::minor(meta.rdev()),
    );
    let target = if kind.is_symlink() {
        Some(fs::read_link(path)?)
    } else {
        None
    };
    let content = if kind.is_file() {
        let (digest, size) = digest_reader(&mut File::open(path)?)?;
        anyhow::ensure!(
            size == meta.len(),
            "read {size} bytes of a file of {}",
            meta.len()
        );
        Some(digest)
    } else {
        None
    };
    let mut xattrs = BTreeMap::new();
    for name in xattr_names(path)? {
        let value = xattr::get(path, &name)?;
        xattrs.insert(
            name.as_bytes().to_vec(),
            value.context("an attribute listed but not there")?,
        );
    }
    Ok(Node {
        kind: name.to_owned(),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        size: (kind.is_file() || kind.is_symlink()).then_some(meta.len()),
        content,
        mtime: (meta.mtime(), meta.mtime_nsec()),
        target: target.map(|target| target.as_os_str().as_bytes().to_vec()),
        device: is_device.then_some(device),
        names: Vec::new(),
        links: (!kind.is_dir()).then(|| meta.nlink()),
        xattrs,
    })
}

/// The attributes by name, as text.
impl Node {
    pub fn attributes(&self) -> BTreeMap<&'static str, String> {
        let mut all = BTreeMap::from([
            ("kind", self.kind.clone()),
            ("mode", format!("{:04o}", self.mode)),
            ("uid", self.uid.to_string()),
            ("gid", self.gid.to_string()),
            ("mtime", format!("{}.{:09}", self.mtime.0, self.mtime.1)),
        ]);
        if let Some(size) = self.size {
            all.insert("size", size.to_string());
        }
        if let Some(content) = &self.content {
            all.insert("content", content.clone());
        }
        if let Some(target) = &self.target {
            all.insert("target", escape(target));
        }
        if let Some((major, minor)) = self.device {
            all.insert("device", format!("{major}:{minor}"));
        }
        if let Some(links) = self.links {
            all.insert("links", links.to_string());
        }
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(|name| escape(name)).collect();
            all.insert("names", names.join(" = "));
        }
        let mut xattrs = String::new();
        for (name, value) in &self.xattrs {
            let _ = write!(xattrs, "{}=\"{}\" ", escape(name), escape(value));
        }
        if !xattrs.is_empty() {
            all.insert("xattrs", xattrs.trim_end().to_owned());
        }
        all
    }
}

/// The canonical text: one line per name, in order.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, node) in &self.nodes {
            write!(f, "/{}", escape(path))?;
            for (name, value) in node.attributes() {
                write!(f, " {name}={value}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A filesystem that says it has no attributes has none; unpacked files say so one by one.
fn xattr_names(path: &Path) -> Result<Vec<std::ffi::OsString>> {
    match xattr::list(path) {
        Ok(names) => Ok(names.collect()),
        Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
