//! Where two trees differ, apart from what cannot be equal.

use std::collections::BTreeSet;
use std::fmt;

use super::{Node, Tree, escape};

/// One attribute of one name that is not the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    pub path: String,
    pub attribute: &'static str,
    pub lazy: String,
    pub unpacked: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            attribute,
            lazy,
            unpacked,
        } = self;
        write!(f, "/{path}: {attribute} is {lazy}, unpacked {unpacked}")
    }
}

/// A difference that is nobody's mistake.
pub struct Accepted {
    pub attribute: &'static str,
    pub reason: &'static str,
    /// Looks at the unpacked node, and at when that tree was taken.
    applies: fn(&Node, (i64, i64)) -> bool,
}

/// Everything that may differ. Not compared at all are st_dev, st_ino, st_blocks, atime, ctime and btime, the
/// size and link count of directories: each filesystem has its own.
pub const ACCEPTED: [Accepted; 1] = [Accepted {
    attribute: "mtime",
    reason: "whiteouts, and directories without an entry in the tar, have no time in the image; \
             who unpacks them gives them the time of unpacking",
    applies: |node, taken| {
        let nobody_set_it =
            node.mtime.0 > taken.0 - UNPACKED_RECENTLY && node.mtime.0 <= taken.0 + 1;
        let is_whiteout = node.kind == "char" && node.device == Some((0, 0));
        (node.kind == "dir" || is_whiteout) && nobody_set_it
    },
}];

/// Seconds within which a test unpacks and looks; every time in the test images lies outside.
const UNPACKED_RECENTLY: i64 = 3600;

/// Every difference that is not accepted.
pub fn compare(lazy: &Tree, unpacked: &Tree) -> Vec<Difference> {
    let paths: BTreeSet<&Vec<u8>> = lazy.nodes.keys().chain(unpacked.nodes.keys()).collect();
    let mut differences = Vec::new();
    for path in paths {
        let (left, right) = (lazy.nodes.get(path), unpacked.nodes.get(path));
        let (Some(left), Some(right)) = (left, right) else {
            let there = |node: Option<&Node>| {
                node.map_or_else(|| "missing".to_owned(), |node| node.kind.clone())
            };
            differences.push(Difference {
                path: escape(path),
                attribute: "existence",
                lazy: there(left),
                unpacked: there(right),
            });
            continue;
        };
        compare_node(path, left, right, unpacked.taken, &mut differences);
    }
    differences
}

fn compare_node(
    path: &[u8],
    lazy: &Node,
    unpacked: &Node,
    taken: (i64, i64),
    differences: &mut Vec<Difference>,
) {
    if lazy == unpacked {
        return;
    }
    let (left, right) = (lazy.attributes(), unpacked.attributes());
    let names: BTreeSet<&'static str> = left.keys().chain(right.keys()).copied().collect();
    for attribute in names {
        let value = |side: &std::collections::BTreeMap<&'static str, String>| {
            side.get(attribute)
                .cloned()
                .unwrap_or_else(|| "none".to_owned())
        };
        let accepted = ACCEPTED
            .iter()
            .any(|accepted| accepted.attribute == attribute && (accepted.applies)(unpacked, taken));
        if value(&left) != value(&right) && !accepted {
            differences.push(Difference {
                path: escape(path),
                attribute,
                lazy: value(&left),
                unpacked: value(&right),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::dump;

    /// A small tree on disk with something of everything.
    fn sample() -> Tree {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("file"), "content").unwrap();
        std::fs::hard_link(at("file"), at("dir/link")).unwrap();
        std::os::unix::fs::symlink("file", at("symlink")).unwrap();
        xattr::set(at("file"), "user.comment", b"x").unwrap();
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o644);
        let device = nix::sys::stat::makedev(1, 3);
        nix::sys::stat::mknod(&at("null"), nix::sys::stat::SFlag::S_IFCHR, mode, device).unwrap();
        let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        for name in ["dir", "."] {
            std::fs::File::open(at(name))
                .unwrap()
                .set_times(times)
                .unwrap();
        }
        dump(dir.path()).unwrap()
    }

    fn check(path: &str, attribute: &str, change: impl FnOnce(&mut Node)) {
        let unpacked = sample();
        let mut lazy = unpacked.clone();
        change(lazy.nodes.get_mut(path.as_bytes()).unwrap());
        let found = compare(&lazy, &unpacked);
        assert!(
            found
                .iter()
                .any(|difference| difference.attribute == attribute && difference.path == path),
            "{attribute} of {path} was changed and nobody noticed: {found:?}"
        );
    }

    #[test]
    fn equal_trees_have_no_differences() {
        let tree = sample();
        assert_eq!(compare(&tree, &tree.clone()), []);
    }

    #[test]
    fn a_wrong_attribute_of_any_kind_is_found() {
        check("file", "kind", |node| node.kind = "fifo".to_owned());
        check("file", "mode", |node| node.mode |= 0o4000);
        check("dir", "mode", |node| node.mode ^= 1);
        check("file", "uid", |node| node.uid = 7);
        check("file", "gid", |node| node.gid = 7);
        check("file", "size", |node| node.size = Some(6));
        check("file", "content", |node| {
            node.content = Some("sha256:0".to_owned())
        });
        check("file", "mtime", |node| node.mtime.1 ^= 1);
        check("dir", "mtime", |node| node.mtime.0 -= 1);
        check("null", "mtime", |node| node.mtime.0 -= 1);
        check("symlink", "target", |node| {
            node.target = Some(b"elsewhere".to_vec())
        });
        check("null", "device", |node| node.device = Some((1, 5)));
        check("file", "names", |node| node.names = Vec::new());
        check("file", "links", |node| node.links = Some(1));
        check("file", "xattrs", |node| node.xattrs.clear());
        check("dir", "xattrs", |node| {
            node.xattrs
                .insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
        });
    }

    #[test]
    fn a_name_that_is_missing_or_too_much_is_found() {
        let unpacked = sample();
        let mut lazy = unpacked.clone();
        lazy.nodes.remove(b"dir/link".as_slice());
        lazy.nodes.insert(b"more".to_vec(), Node::default());
        let found: Vec<String> = compare(&lazy, &unpacked)
            .iter()
            .map(|difference| difference.path.clone())
            .collect();
        assert_eq!(found, ["dir/link", "more"]);
    }
}
