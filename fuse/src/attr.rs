//! Attributes and names of a layer's inodes in the kernel's form.

use layer::{Inode, Kind};

use crate::abi::{Attr, AttrOut, EntryOut};

/// How long the kernel may believe a name or an attribute: for ever, since a layer never changes.
/// 136 years rather than the largest number, which some kernels add to the clock.
const ENDLESS: u64 = u32::MAX as u64;

const BLOCK: u32 = 4096;

/// "No such name", to be remembered.
pub(crate) fn absent() -> EntryOut {
    EntryOut {
        entry_valid: ENDLESS,
        ..EntryOut::default()
    }
}

pub(crate) fn entry(inode: Inode, attr: &layer::Attr) -> EntryOut {
    EntryOut {
        nodeid: inode.0,
        entry_valid: ENDLESS,
        attr_valid: ENDLESS,
        attr: encode(inode, attr),
        ..EntryOut::default()
    }
}

pub(crate) fn attributes(inode: Inode, attr: &layer::Attr) -> AttrOut {
    AttrOut {
        attr_valid: ENDLESS,
        attr: encode(inode, attr),
        ..AttrOut::default()
    }
}

fn encode(inode: Inode, attr: &layer::Attr) -> Attr {
    let seconds = attr.mtime.seconds.cast_unsigned();
    Attr {
        ino: inode.0,
        size: attr.size,
        blocks: attr.blocks,
        atime: seconds,
        mtime: seconds,
        ctime: seconds,
        atimensec: attr.mtime.nanos,
        mtimensec: attr.mtime.nanos,
        ctimensec: attr.mtime.nanos,
        mode: format(attr.kind) | (attr.mode & 0o7777),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: device(attr.rdev),
        blksize: BLOCK,
        flags: 0,
    }
}

/// The file type bits of `st_mode`.
fn format(kind: Kind) -> u32 {
    use nix::libc;
    match kind {
        // A hard link is a name of a regular file, never an inode.
        Kind::Hardlink | Kind::Reg => libc::S_IFREG,
        Kind::Symlink => libc::S_IFLNK,
        Kind::Dir => libc::S_IFDIR,
        Kind::Char => libc::S_IFCHR,
        Kind::Block => libc::S_IFBLK,
        Kind::Fifo => libc::S_IFIFO,
    }
}

/// The file type of a directory entry: `d_type` is defined as these bits of `st_mode`.
pub(crate) fn dirent_kind(kind: Kind) -> u32 {
    format(kind) >> 12
}

/// Twelve bits of major and twenty of minor number. What does not fit is cut off, as mknod(2) does it
/// for whoever unpacks the layer.
fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_the_ones_mknod_makes() {
        for (major, minor) in [
            (1, 3),
            (8, 1),
            (0, 0),
            (4095, 1_048_575),
            (259, 65_536),
            (4096, 7),
        ] {
            let kernel = nix::libc::makedev(major, minor) & 0xffff_ffff;
            assert_eq!(u64::from(device((major, minor))), kernel, "{major}:{minor}");
        }
    }
}
