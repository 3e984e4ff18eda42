//! What is mounted in this mount namespace, as far as deleting directories is concerned.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::layers::SnapshotId;

pub struct MountInfo(String);

impl MountInfo {
    pub const PATH: &str = "/proc/self/mountinfo";

    pub fn read() -> io::Result<MountInfo> {
        // A mount point may have any bytes in its name; ours are UTF-8.
        let bytes = fs::read(MountInfo::PATH)?;
        Ok(MountInfo(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A mount point at or below `directory`.
    pub fn mounted_below(&self, directory: &Path) -> Option<PathBuf> {
        let points = self.0.lines().filter_map(|line| line.split(' ').nth(4));
        let mut points = points.map(|point| PathBuf::from(unescape(point)));
        points.find(|point| point.starts_with(directory))
    }

    /// The snapshots that overlay mounts use. containerd may have changed into the snapshot
    /// directory to mount, so a path without a leading slash counts as below it: rather keep a
    /// directory too long than take one from a running container.
    pub fn overlay_layers(&self, snapshots: &Path) -> BTreeSet<SnapshotId> {
        let mut layers = BTreeSet::new();
        for line in self.0.lines() {
            let Some((_, filesystem)) = line.split_once(" - ") else {
                continue;
            };
            let mut fields = filesystem.split(' ');
            let (Some("overlay"), Some(options)) = (fields.next(), fields.nth(1)) else {
                continue;
            };
            for option in options.split(',') {
                let Some((name, value)) = option.split_once('=') else {
                    continue;
                };
                if matches!(name, "lowerdir" | "lowerdir+" | "upperdir") {
                    let paths = value.split(':').map(unescape);
                    layers.extend(paths.filter_map(|path| layer(&path, snapshots)));
                }
            }
        }
        layers
    }
}

/// The number in `<snapshots>/<number>/fs`.
fn layer(path: &str, snapshots: &Path) -> Option<SnapshotId> {
    let path = Path::new(path);
    let below = match path.is_absolute() {
        true => path.strip_prefix(snapshots).ok()?,
        false => path,
    };
    below.components().find_map(|part| {
        let number = part.as_os_str().to_str()?.parse().ok()?;
        Some(SnapshotId(number))
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:50 / /r/snapshots/5/fs ro,nosuid shared:9 - fuse soci ro,user_id=0
41 22 0:51 / /r/with\\040space/6/fs ro - fuse soci ro
50 22 0:60 / /run/c1/rootfs rw - overlay overlay rw,lowerdir=/r/snapshots/4/fs:/r/snapshots/3/fs,upperdir=/r/snapshots/7/fs,workdir=/r/snapshots/7/work,uuid=on
51 22 0:61 / /run/c2/rootfs rw - overlay overlay rw,lowerdir=12/fs:11/fs,upperdir=/r/snapshots/13/fs,workdir=/r/snapshots/13/work
52 22 0:62 / /run/c3/rootfs rw - overlay overlay rw,lowerdir+=/r/snapshots/21/fs,lowerdir+=/r/snapshots/20/fs
53 22 0:63 / /run/c4/rootfs rw - overlay overlay rw,lowerdir=/other/99/fs,upperdir=/other/98/fs
";

    fn check(directory: &str, expected: Option<&str>) {
        let found = MountInfo(MOUNTS.to_owned()).mounted_below(Path::new(directory));
        assert_eq!(found.as_deref(), expected.map(Path::new), "{directory}");
    }

    #[test]
    fn a_mounted_layer_is_seen_before_its_directory_is_deleted() {
        check("/r/snapshots/5", Some("/r/snapshots/5/fs"));
        check("/r/snapshots/5/fs", Some("/r/snapshots/5/fs"));
        check("/r/snapshots/50", None);
        check("/r/snapshots/4", None);
        check("/r/with space/6", Some("/r/with space/6/fs"));
    }

    #[test]
    fn layers_of_running_containers_are_known() {
        let layers = MountInfo(MOUNTS.to_owned()).overlay_layers(Path::new("/r/snapshots"));
        let expected = [3, 4, 7, 11, 12, 13, 20, 21].map(SnapshotId);
        assert_eq!(layers, BTreeSet::from(expected));
    }
}
