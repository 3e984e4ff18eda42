//! Which mounts there are, and getting rid of those below a directory of ours.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug)]
pub struct Mount {
    pub point: PathBuf,
    pub kind: String,
    pub source: String,
    /// Of the mount and of the superblock, comma separated.
    pub options: String,
}

/// The mounts at or below `path`, oldest first.
pub fn under(path: &Path) -> Result<Vec<Mount>> {
    let text = fs::read("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .filter(|mount| mount.point.starts_with(path))
        .collect())
}

/// Unmounts everything at or below `path`, newest first, and nothing else.
pub fn unmount_under(path: &Path) -> Result<()> {
    for mount in under(path)?.iter().rev() {
        umount2(&mount.point, MntFlags::MNT_DETACH)
            .with_context(|| format!("unmounting {}", mount.point.display()))?;
    }
    Ok(())
}

fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    Some(Mount {
        point: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        kind: text(fields.get(dash + 1)?),
        source: text(fields.get(dash + 2)?),
        options: format!("{},{}", text(fields.get(5)?), text(fields.get(dash + 3)?)),
    })
}

/// The kernel writes blanks, tabs, newlines and backslashes as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// The lower directories of an overlay mount, top first.
pub fn lowerdirs(options: &[String]) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for option in options {
        if let Some(list) = option.strip_prefix("lowerdir=") {
            dirs.extend(
                list.split(':')
                    .map(|dir| PathBuf::from(std::ffi::OsStr::from_bytes(dir.as_bytes()))),
            );
        } else if let Some(dir) = option.strip_prefix("lowerdir+=") {
            dirs.push(PathBuf::from(dir));
        }
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_a_mount_point_are_found_again() {
        let line = br"36 35 98:0 / /mnt/a\040b rw,nosuid shared:1 - fuse.soci soci ro,user_id=0";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, Path::new("/mnt/a b"));
        assert_eq!(mount.kind, "fuse.soci");
        assert_eq!(mount.options, "rw,nosuid,ro,user_id=0");
    }
}
