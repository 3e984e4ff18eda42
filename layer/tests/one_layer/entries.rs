//! Tar entries written down in short, and the tree they make as lines of text.

use layer::{Attr, Inode, Kind, Mtime, Tree, TreeError, TreeOptions};
use soci::toc::{Member, Toc, TocBuilder};
use soci::ztoc::Limits;

pub(crate) type Xattrs<'a> = &'a [(&'a [u8], &'a [u8])];

pub(crate) fn member(name: &str, kind: Kind) -> Member<'_> {
    let mode = if kind == Kind::Dir { 0o750 } else { 0o640 };
    let mtime = Some(Mtime {
        seconds: 1000,
        nanos: 7,
    });
    Member {
        name: name.as_bytes(),
        kind,
        mode,
        uid: 1,
        gid: 2,
        mtime,
        ..Member::default()
    }
}

pub(crate) fn file(name: &str) -> Member<'_> {
    Member {
        size: 5,
        ..member(name, Kind::Reg)
    }
}

pub(crate) fn dir(name: &str) -> Member<'_> {
    member(name, Kind::Dir)
}

pub(crate) fn symlink<'a>(name: &'a str, to: &'a str) -> Member<'a> {
    Member {
        linkname: to.as_bytes(),
        ..member(name, Kind::Symlink)
    }
}

pub(crate) fn hardlink<'a>(name: &'a str, to: &'a str) -> Member<'a> {
    Member {
        linkname: to.as_bytes(),
        ..member(name, Kind::Hardlink)
    }
}

pub(crate) fn toc(members: &[Member<'_>]) -> Toc {
    let mut builder = TocBuilder::new(&Limits::default());
    let mut offset = 0;
    for member in members {
        offset += 512;
        builder.push(&Member { offset, ..*member }).unwrap();
        offset += member.size.next_multiple_of(512);
    }
    builder.finish(offset).unwrap()
}

pub(crate) fn build(members: &[Member<'_>]) -> Result<Tree, TreeError> {
    Tree::build(toc(members), &TreeOptions::default())
}

/// One line per name: inode, kind and mode, owner, links, name, and what else is to be said.
pub(crate) fn show(tree: &Tree) -> Vec<String> {
    let mut lines = vec![line(tree, Inode::ROOT, "/")];
    walk(tree, Inode::ROOT, "", &mut lines);
    lines
}

fn walk(tree: &Tree, dir: Inode, path: &str, lines: &mut Vec<String>) {
    let children = tree.children(dir).unwrap();
    for (index, child) in children.iter().enumerate() {
        assert_eq!(children.get(index), Some(child));
        assert_eq!(tree.lookup(dir, child.name), Some(child.inode));
        assert_eq!(tree.attr(child.inode).unwrap().kind, child.kind);
        let path = format!("{path}/{}", String::from_utf8_lossy(child.name));
        lines.push(line(tree, child.inode, &path));
        if child.kind == Kind::Dir {
            assert_eq!(tree.parent(child.inode), Some(dir));
            walk(tree, child.inode, &path, lines);
        }
    }
}

fn line(tree: &Tree, inode: Inode, path: &str) -> String {
    let Attr {
        kind,
        mode,
        uid,
        gid,
        nlink,
        rdev,
        ..
    } = tree.attr(inode).unwrap();
    let kind = match kind {
        Kind::Dir => "d",
        Kind::Reg => "-",
        Kind::Symlink => "l",
        Kind::Char => "c",
        Kind::Block => "b",
        Kind::Fifo => "p",
        Kind::Hardlink => "?",
    };
    let mut line = format!("{inode} {kind}{mode:o} {uid}:{gid} {nlink} {path}");
    if kind == "c" || kind == "b" {
        line += &format!(" {}:{}", rdev.0, rdev.1);
    }
    if let Some(target) = tree.readlink(inode) {
        line += &format!(" -> {}", String::from_utf8_lossy(target));
    }
    for (name, value) in tree.xattrs(inode) {
        assert_eq!(tree.xattr(inode, name), Some(value));
        let text = String::from_utf8_lossy;
        line += &format!(" {}={}", text(name), text(value));
    }
    line
}

pub(crate) fn check(members: &[Member<'_>], expected: &[&str]) {
    assert_eq!(show(&build(members).unwrap()), expected);
}

pub(crate) fn check_refused(members: &[Member<'_>], fits: impl Fn(&TreeError) -> bool) {
    let error = build(members).unwrap_err();
    assert!(fits(&error), "{error}");
}

pub(crate) const ROOT: &str = "1 d755 0:0 2 /";
