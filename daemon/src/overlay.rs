//! How a chain of snapshots is mounted.

use std::path::{Path, PathBuf};

use proto::types::Mount;

use crate::store::Kind;

/// One layer below a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lower {
    pub fs: PathBuf,
    /// Whether `fs` is the mount point of a layer rather than a plain directory.
    pub mounted: bool,
}

/// Where the parts of a mount come from.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The snapshot's own files.
    pub fs: &'a Path,
    /// overlayfs's scratch directory.
    pub work: &'a Path,
    /// A directory that stays empty.
    pub empty: &'a Path,
    pub userxattr: bool,
}

/// `lowers` begins with the parent.
pub fn mounts(kind: Kind, place: Place<'_>, lowers: &[Lower]) -> Vec<Mount> {
    let mount = match (kind, lowers) {
        (Kind::View, []) => bind(place.fs, "ro"),
        (_, []) => bind(place.fs, "rw"),
        (Kind::View, [only]) if !only.mounted => bind(&only.fs, "ro"),
        // Layers are mounted without allow_other, nosuid, nodev and noexec, which a bind mount
        // would pass on to the container; overlayfs reads them as root and does not. It wants two
        // lower directories when there is no upper one.
        (Kind::View, [only]) => overlay(None, &[&only.fs, place.empty], place.userxattr),
        (kind, lowers) => {
            let upper = (kind != Kind::View).then_some((place.fs, place.work));
            let lowers: Vec<&Path> = lowers.iter().map(|lower| lower.fs.as_path()).collect();
            overlay(upper, &lowers, place.userxattr)
        }
    };
    vec![mount]
}

/// Only the first user namespace may write the trusted attributes in which overlayfs keeps its
/// whiteouts; any other needs the user ones.
pub fn needs_userxattr() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    in_user_namespace(&map)
}

fn in_user_namespace(uid_map: &str) -> bool {
    let first = uid_map.lines().next().unwrap_or_default();
    let mut fields = first.split_whitespace();
    let whole =
        [fields.next(), fields.next(), fields.next()] == [Some("0"), Some("0"), Some("4294967295")];
    // Without the file there are no user namespaces.
    !first.is_empty() && !whole
}

fn bind(source: &Path, access: &str) -> Mount {
    Mount {
        r#type: "bind".to_owned(),
        source: source.display().to_string(),
        target: String::new(),
        options: vec![access.to_owned(), "rbind".to_owned()],
    }
}

fn overlay(upper: Option<(&Path, &Path)>, lowers: &[&Path], userxattr: bool) -> Mount {
    let mut options = Vec::new();
    if let Some((fs, work)) = upper {
        options.push(format!("workdir={}", work.display()));
        options.push(format!("upperdir={}", fs.display()));
    }
    let lowers: Vec<String> = lowers.iter().map(|fs| fs.display().to_string()).collect();
    options.push(format!("lowerdir={}", lowers.join(":")));
    if userxattr {
        options.push("userxattr".to_owned());
    }
    Mount {
        r#type: "overlay".to_owned(),
        source: "overlay".to_owned(),
        target: String::new(),
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(number: u32, mounted: bool) -> Lower {
        let fs = PathBuf::from(format!("/r/snapshots/{number}/fs"));
        Lower { fs, mounted }
    }

    /// One mount, written as `type source option,option`.
    fn check(kind: Kind, lowers: &[Lower], userxattr: bool, expected: &str) {
        let place = Place {
            fs: Path::new("/r/snapshots/9/fs"),
            work: Path::new("/r/snapshots/9/work"),
            empty: Path::new("/r/empty"),
            userxattr,
        };
        let mounts = mounts(kind, place, lowers);
        let [mount] = mounts.as_slice() else {
            panic!("{mounts:?}");
        };
        let options = mount.options.join(",");
        assert_eq!(
            format!("{} {} {options}", mount.r#type, mount.source),
            expected
        );
        assert_eq!(mount.target, "");
    }

    #[test]
    fn a_snapshot_without_parents_is_its_own_directory() {
        check(Kind::Active, &[], false, "bind /r/snapshots/9/fs rw,rbind");
        check(Kind::View, &[], true, "bind /r/snapshots/9/fs ro,rbind");
    }

    #[test]
    fn a_view_of_one_plain_layer_is_that_layer() {
        let lowers = [lower(1, false)];
        check(Kind::View, &lowers, true, "bind /r/snapshots/1/fs ro,rbind");
    }

    #[test]
    fn a_view_of_one_mounted_layer_does_not_expose_its_mount_flags() {
        let lowers = [lower(1, true)];
        check(
            Kind::View,
            &lowers,
            false,
            "overlay overlay lowerdir=/r/snapshots/1/fs:/r/empty",
        );
    }

    #[test]
    fn the_parent_comes_first() {
        let lowers = [lower(3, true), lower(2, false), lower(1, true)];
        check(
            Kind::View,
            &lowers,
            true,
            "overlay overlay lowerdir=/r/snapshots/3/fs:/r/snapshots/2/fs:/r/snapshots/1/fs,userxattr",
        );
        check(
            Kind::Active,
            &lowers,
            false,
            "overlay overlay workdir=/r/snapshots/9/work,upperdir=/r/snapshots/9/fs,\
             lowerdir=/r/snapshots/3/fs:/r/snapshots/2/fs:/r/snapshots/1/fs",
        );
    }

    #[test]
    fn user_namespaces_get_the_attributes_they_may_write() {
        assert!(!in_user_namespace("         0          0 4294967295\n"));
        assert!(in_user_namespace("0 100000 65536\n"));
        assert!(in_user_namespace("0 0 1\n"));
        assert!(!in_user_namespace(""));
    }

    #[test]
    fn a_container_on_one_layer_gets_an_overlay_whatever_the_layer_is() {
        for mounted in [false, true] {
            check(
                Kind::Active,
                &[lower(1, mounted)],
                true,
                "overlay overlay workdir=/r/snapshots/9/work,upperdir=/r/snapshots/9/fs,\
                 lowerdir=/r/snapshots/1/fs,userxattr",
            );
        }
    }
}
