//! What is mounted, written down: one small file per mounted layer, whole or not there at all.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::image::Record;
use crate::layers::SnapshotId;

#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Makes `dir` if need be.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        Ok(Self { dir })
    }

    /// All records. One that cannot be read costs its layer, not the others.
    pub fn load(&self) -> io::Result<HashMap<SnapshotId, Record>> {
        let mut records = HashMap::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let Some(id) = id(&path) else { continue };
            match read(&path) {
                Ok(record) => {
                    records.insert(id, record);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "record of a mounted layer is unreadable");
                }
            }
        }
        Ok(records)
    }

    /// On disk when this returns.
    pub fn write(&self, id: SnapshotId, record: &Record) -> io::Result<()> {
        let partial = self.dir.join(format!("{id}.partial"));
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_data()?;
        fs::rename(&partial, self.path(id))?;
        File::open(&self.dir)?.sync_all()
    }

    pub fn remove(&self, id: SnapshotId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

fn id(path: &Path) -> Option<SnapshotId> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".json")?.parse().ok().map(SnapshotId)
}

fn read(path: &Path) -> io::Result<Record> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(image: &str) -> Record {
        let layer = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        Record {
            image: image.into(),
            layer,
            ztoc: None,
        }
    }

    #[test]
    fn records_outlive_the_process_and_damaged_ones_do_not_hide_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path().join("mounts")).unwrap();
        records.write(SnapshotId(1), &record("one")).unwrap();
        records.write(SnapshotId(2), &record("two")).unwrap();
        records.write(SnapshotId(3), &record("three")).unwrap();
        records.remove(SnapshotId(3)).unwrap();
        records.remove(SnapshotId(3)).unwrap();
        fs::write(records.path(SnapshotId(2)), b"{\"image\":").unwrap();
        let loaded = Records::open(dir.path().join("mounts"))
            .unwrap()
            .load()
            .unwrap();
        assert_eq!(loaded, HashMap::from([(SnapshotId(1), record("one"))]));
    }
}
