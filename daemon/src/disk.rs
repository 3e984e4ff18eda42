//! The directories of snapshots. Every function blocks.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::layers::{SnapshotId, Usage};
use crate::mountinfo::MountInfo;
use crate::store::Kind;

/// st_blocks counts these, whatever the block size of the filesystem.
const BLOCK_BYTES: u64 = 512;

/// Deepest tree whose usage is counted; deeper ones than this cannot be made with whole paths.
const DEPTH: usize = 4096;

/// `<root>/snapshotter`, where snapshots live: `snapshots/<id>/fs` and, when active, `work`.
#[derive(Clone, Debug)]
pub struct Disk {
    snapshots: PathBuf,
    empty: PathBuf,
    database: PathBuf,
}

impl Disk {
    pub fn open(root: &Path) -> Result<Disk, Error> {
        // Both separate the directories of an overlay mount, and nothing escapes them for
        // containerd, which passes the options on.
        if root
            .as_os_str()
            .to_str()
            .is_none_or(|path| path.contains([',', ':', '\\', '\n']))
        {
            let text = format!("the root {root:?} has a character that overlay mounts cannot take");
            return Err(Error::Invalid(text));
        }
        let disk = Disk {
            snapshots: root.join("snapshots"),
            empty: root.join("empty"),
            database: root.join("snapshots.redb"),
        };
        for directory in [root, &disk.snapshots, &disk.empty] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)))
                .and_then(|()| sync(directory))
                .map_err(Error::io("create", directory))?;
        }
        Ok(disk)
    }

    pub fn database(&self) -> &Path {
        &self.database
    }

    pub fn empty(&self) -> &Path {
        &self.empty
    }

    pub fn fs(&self, id: SnapshotId) -> PathBuf {
        self.directory(id).join("fs")
    }

    pub fn work(&self, id: SnapshotId) -> PathBuf {
        self.directory(id).join("work")
    }

    fn directory(&self, id: SnapshotId) -> PathBuf {
        self.snapshots.join(id.to_string())
    }

    /// Makes the directory of a snapshot, durably. Its root looks like that of the parent, since
    /// in an overlay the upper root is the one that is seen.
    pub fn create(
        &self,
        id: SnapshotId,
        kind: Kind,
        parent: Option<SnapshotId>,
    ) -> Result<(), Error> {
        let directory = self.directory(id);
        let made = self.create_in(&directory, kind, parent);
        if made.is_err() {
            // What cannot be removed now is an orphan, and a cleanup's business.
            let _ = fs::remove_dir_all(&directory);
        }
        made
    }

    fn create_in(
        &self,
        directory: &Path,
        kind: Kind,
        parent: Option<SnapshotId>,
    ) -> Result<(), Error> {
        make(directory, 0o700)?;
        let fs = directory.join("fs");
        make(&fs, 0o755)?;
        if kind == Kind::Active {
            make(&directory.join("work"), 0o711)?;
        }
        if let Some(parent) = parent {
            let below = self.fs(parent);
            let seen = fs::metadata(&below).map_err(Error::io("look at", &below))?;
            chown(&fs, Some(seen.uid()), Some(seen.gid())).map_err(Error::io("give away", &fs))?;
            fs::set_permissions(&fs, Permissions::from_mode(seen.mode() & 0o7777))
                .map_err(Error::io("set the mode of", &fs))?;
        }
        sync(directory).map_err(Error::io("sync", directory))?;
        sync(&self.snapshots).map_err(Error::io("sync", &self.snapshots))
    }

    /// The snapshots that have a directory.
    pub fn list(&self) -> Result<BTreeSet<SnapshotId>, Error> {
        let read = || -> io::Result<_> {
            let mut found = BTreeSet::new();
            for entry in fs::read_dir(&self.snapshots)? {
                let name = entry?.file_name();
                // Whatever else lies here is not ours to remove.
                if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                    found.insert(SnapshotId(id));
                }
            }
            Ok(found)
        };
        read().map_err(Error::io("list", &self.snapshots))
    }

    /// The snapshots whose directories a running container's overlay is made of.
    pub fn in_use(&self, mounts: &MountInfo) -> BTreeSet<SnapshotId> {
        mounts.overlay_layers(&self.snapshots)
    }

    /// Deletes the directory of a snapshot, unless something is still mounted in it.
    pub fn remove(&self, id: SnapshotId) -> Result<(), Error> {
        let directory = self.directory(id);
        let mounts = MountInfo::read().map_err(Error::io("read", Path::new(MountInfo::PATH)))?;
        if let Some(mounted) = mounts.mounted_below(&directory) {
            let source = io::Error::from(io::ErrorKind::ResourceBusy);
            return Err(Error::io("delete the mount point", &mounted)(source));
        }
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(Error::io("delete", &directory)),
        }
    }

    /// Counts as `du` does: allocated blocks, and a file with several names once.
    pub fn usage(&self, id: SnapshotId) -> Result<Usage, Error> {
        let root = self.fs(id);
        let mut seen = HashSet::new();
        let mut usage = Usage::default();
        let mut stack = vec![(root, 0_usize)];
        while let Some((path, depth)) = stack.pop() {
            let metadata = match fs::symlink_metadata(&path) {
                // Gone since it was listed: the snapshot is being written to.
                Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => continue,
                result => result.map_err(Error::io("look at", &path))?,
            };
            if seen.insert((metadata.dev(), metadata.ino())) {
                usage.inodes = usage.inodes.saturating_add(1);
                let bytes = metadata.blocks().saturating_mul(BLOCK_BYTES);
                usage.bytes = usage.bytes.saturating_add(bytes);
            }
            if !metadata.is_dir() || depth >= DEPTH {
                continue;
            }
            let entries = match fs::read_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result.map_err(Error::io("list", &path))?,
            };
            for entry in entries {
                let entry = entry.map_err(Error::io("list", &path))?;
                stack.push((entry.path(), depth.saturating_add(1)));
            }
        }
        Ok(usage)
    }
}

/// The mode is set apart from making, so that the process's umask does not count.
fn make(directory: &Path, mode: u32) -> Result<(), Error> {
    fs::create_dir(directory)
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(mode)))
        .map_err(Error::io("create", directory))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
