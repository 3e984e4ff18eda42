//! What is mounted is what the tar says.

// clippy.toml exempts test functions, but not what they share.
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use layer::Mtime;
use soci::tar::Scanner;
use soci::toc::{Entry, Kind, Toc};
use soci::ztoc::Limits;
use support::{Mounted, mount_tar, mount_whole, uncompressed};

/// One file as stat(2), read(2), readlink(2) and listxattr(2) tell of it.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    format: u32,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    size: u64,
    nlink: u64,
    rdev: u64,
    contents: Vec<u8>,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The first of the names that are hard links of each other.
    group: PathBuf,
}

/// What unpacking the fixture gives, worked out without the tree builder. Follows containerd where a
/// hard link's own header changes its target.
fn expected(toc: &Toc, tar: &[u8]) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    nodes.insert(PathBuf::new(), directory());
    for (_, entry) in toc.iter() {
        let path = path(entry.name());
        for parent in path.ancestors().skip(1) {
            nodes.entry(parent.to_owned()).or_insert_with(directory);
        }
        let name = path
            .file_name()
            .map(|name| name.to_str().unwrap().to_owned());
        match name.as_deref() {
            Some(".wh..wh..opq") => {
                let parent = nodes.get_mut(path.parent().unwrap()).unwrap();
                parent
                    .xattrs
                    .insert("trusted.overlay.opaque".into(), b"y".to_vec());
            }
            Some(name) if name.starts_with(".wh.") => {
                let hidden = path.with_file_name(&name[4..]);
                let node = Node {
                    format: 0o020_000,
                    mode: 0,
                    ..plain(&entry, tar)
                };
                nodes.insert(
                    hidden,
                    Node {
                        contents: Vec::new(),
                        size: 0,
                        ..node
                    },
                );
            }
            // The root is what the snapshotter made it, whatever the tar says.
            _ if path == Path::new("") => {}
            _ if entry.kind() == Kind::Hardlink => {
                let target = self::path(entry.linkname());
                let own = plain(&entry, tar);
                let first = nodes[&target].clone();
                let mut xattrs = first.xattrs.clone();
                xattrs.extend(own.xattrs);
                let (mode, owner, mtime) = (own.mode, own.owner, own.mtime);
                let node = Node {
                    mode,
                    owner,
                    mtime,
                    xattrs,
                    group: target.clone(),
                    ..first
                };
                nodes.insert(target, node.clone());
                nodes.insert(path, node);
            }
            _ => {
                let xattrs = nodes
                    .get(&path)
                    .map(|node| node.xattrs.clone())
                    .unwrap_or_default();
                let mut node = plain(&entry, tar);
                node.xattrs.extend(xattrs);
                nodes.insert(path, node);
            }
        }
    }
    count_links(&mut nodes);
    nodes
}

fn count_links(nodes: &mut BTreeMap<PathBuf, Node>) {
    for (path, node) in nodes.iter_mut() {
        if node.group == Path::new("") {
            node.group = path.clone();
        }
    }
    let all: Vec<_> = nodes
        .iter()
        .map(|(path, node)| (path.clone(), node.clone()))
        .collect();
    for (path, node) in nodes {
        node.nlink = if node.format == 0o040_000 {
            let below = |(other, its): &&(PathBuf, Node)| {
                its.format == 0o040_000 && other.parent() == Some(path.as_path())
            };
            2 + all.iter().filter(below).count() as u64
        } else {
            all.iter()
                .filter(|(_, other)| other.group == node.group)
                .count() as u64
        };
    }
}

fn path(raw: &[u8]) -> PathBuf {
    let raw = std::str::from_utf8(raw).unwrap();
    Path::new(raw)
        .components()
        .filter(|part| part.as_os_str() != ".")
        .collect()
}

fn directory() -> Node {
    Node {
        format: 0o040_000,
        mode: 0o755,
        owner: (0, 0),
        mtime: (0, 0),
        size: 4096,
        nlink: 0,
        rdev: 0,
        contents: Vec::new(),
        xattrs: BTreeMap::new(),
        group: PathBuf::new(),
    }
}

fn plain(entry: &Entry<'_>, tar: &[u8]) -> Node {
    let (format, contents) = match entry.kind() {
        Kind::Reg | Kind::Hardlink => {
            let start = entry.offset() as usize;
            (
                0o100_000,
                tar[start..start + entry.size() as usize].to_vec(),
            )
        }
        Kind::Symlink => (0o120_000, entry.linkname().to_vec()),
        Kind::Dir => (0o040_000, Vec::new()),
        Kind::Char => (0o020_000, Vec::new()),
        Kind::Block => (0o060_000, Vec::new()),
        Kind::Fifo => (0o010_000, Vec::new()),
    };
    let (major, minor) = entry.device();
    let device = matches!(entry.kind(), Kind::Char | Kind::Block);
    let Mtime { seconds, nanos } = entry.mtime().unwrap();
    let printed =
        |(name, value): (&[u8], &[u8])| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec());
    Node {
        format,
        mode: if entry.kind() == Kind::Symlink {
            0o777
        } else {
            entry.mode()
        },
        owner: (entry.uid(), entry.gid()),
        mtime: (seconds, nanos.into()),
        size: if entry.kind() == Kind::Dir {
            4096
        } else {
            contents.len() as u64
        },
        rdev: if device {
            nix::sys::stat::makedev(major.into(), minor.into())
        } else {
            0
        },
        contents,
        // A capability that is not whole is not shown.
        xattrs: entry
            .xattrs()
            .map(printed)
            .filter(|(name, value)| name != "security.capability" || value.len() == 20)
            .collect(),
        ..directory()
    }
}

/// The same from the mount.
fn found(mounted: &Mounted) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut queue = vec![PathBuf::new()];
    while let Some(path) = queue.pop() {
        let full = mounted.join(&path);
        let stat = fs::symlink_metadata(&full).unwrap();
        let format = stat.mode() & 0o170_000;
        let contents = match format {
            0o100_000 => fs::read(&full).unwrap(),
            0o120_000 => fs::read_link(&full)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec(),
            _ => Vec::new(),
        };
        if format == 0o040_000 {
            for child in fs::read_dir(&full).unwrap() {
                let child = child.unwrap();
                let meta = child.metadata().unwrap();
                assert_eq!(child.file_type().unwrap(), meta.file_type(), "{child:?}");
                queue.push(path.join(child.file_name()));
            }
        }
        // A layer without any says that it has no such thing.
        let names = match xattr::list(&full) {
            Ok(names) => names.collect(),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(nix::libc::EOPNOTSUPP));
                Vec::new()
            }
        };
        let xattrs = names.into_iter().map(|name| {
            let value = xattr::get(&full, &name).unwrap().unwrap();
            (name.into_string().unwrap(), value)
        });
        let node = Node {
            format,
            mode: stat.mode() & 0o7777,
            owner: (stat.uid(), stat.gid()),
            mtime: (stat.mtime(), stat.mtime_nsec()),
            size: stat.size(),
            nlink: stat.nlink(),
            rdev: stat.rdev(),
            contents,
            xattrs: xattrs.collect(),
            group: PathBuf::new(),
        };
        inodes
            .entry(stat.ino())
            .or_insert_with(Vec::new)
            .push(path.clone());
        nodes.insert(path, node);
    }
    // Which of a group comes first in the tar is not visible here; the shortest name will do for both.
    for group in inodes.values_mut() {
        group.sort();
        for path in group.iter() {
            nodes.get_mut(path).unwrap().group = group[0].clone();
        }
    }
    nodes
}

#[track_caller]
fn check(mounted: &Mounted, tar: &[u8]) {
    let mut scanner = Scanner::new(&Limits::default());
    scanner.push(tar).unwrap();
    let toc = scanner.finish().unwrap();
    let mut expected = expected(&toc, tar);
    let first: BTreeMap<_, _> = expected
        .iter()
        .rev()
        .map(|(path, node)| (node.group.clone(), path.clone()))
        .collect();
    for node in expected.values_mut() {
        node.group = first[&node.group].clone();
    }
    for _ in ["cold", "warm"] {
        let found = found(mounted);
        let names: Vec<_> = found.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>());
        for (path, node) in &expected {
            assert!(
                found[path] == *node,
                "{path:?}: {:?} is not {:?}",
                found[path],
                node
            );
        }
    }
}

#[test]
fn every_fixture_is_shown_as_its_tar_says() {
    for name in ["pax", "gnu", "multi-2", "stored", "tiny-gz", "tiny-tar"] {
        check(&mount_whole(name), &uncompressed(name));
    }
}

#[test]
fn a_layer_that_was_pulled_whole_is_shown_as_its_tar_says() {
    let tar = uncompressed("pax");
    check(&mount_tar(&tar, &fuse::Options::default()), &tar);
}

#[test]
fn a_whiteout_and_an_opaque_directory_are_in_the_fixture() {
    let mounted = mount_whole("pax");
    let whiteout = fs::symlink_metadata(mounted.join("etc/gone")).unwrap();
    assert_eq!((whiteout.mode(), whiteout.rdev()), (0o020_000, 0));
    let opaque = xattr::get(mounted.join("opq"), "trusted.overlay.opaque").unwrap();
    assert_eq!(opaque.as_deref(), Some(&b"y"[..]));
    let passwd = fs::metadata(mounted.join("etc/passwd")).unwrap();
    let hard = fs::metadata(mounted.join("etc/hard")).unwrap();
    assert_eq!((passwd.ino(), passwd.nlink()), (hard.ino(), 2));
    assert_eq!(
        fs::metadata(mounted.join("big")).unwrap().mtime_nsec(),
        500_000_000
    );
}

#[test]
fn a_hole_is_never_seen_where_there_is_data() {
    use nix::unistd::{Whence, lseek};
    let mounted = mount_whole("pax");
    let file = fs::File::open(mounted.join("big")).unwrap();
    assert_eq!(lseek(&file, 0, Whence::SeekData), Ok(0));
    assert_eq!(lseek(&file, 4096, Whence::SeekData), Ok(4096));
    assert_eq!(lseek(&file, 0, Whence::SeekHole), Ok(600_000));
}
