//! zTOC blobs on this machine: named by their digest, checked against it whenever they are read.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

/// Blobs that no mounted layer needs are kept for the next pull of their image, up to this many bytes.
const KEPT_UNUSED: u64 = 256 << 20;

#[derive(Debug)]
pub struct Content {
    dir: PathBuf,
}

/// What was made of a blob, and the open file it lies in.
pub struct Stored<T> {
    pub made: T,
    pub file: File,
}

impl Content {
    pub fn open(root: &Path) -> io::Result<Self> {
        let dir = root.join("content").join("blobs").join("sha256");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        Ok(Self { dir })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.digest())
    }

    /// Makes something of a blob while its digest is checked, and hands it out only if that holds.
    /// `None` if the blob is not here; one that does not have its digest is removed and not here either.
    pub fn get<T: Send>(
        &self,
        digest: &Digest,
        limit: u64,
        make: impl FnOnce(&[u8]) -> T + Send,
    ) -> io::Result<Option<Stored<T>>> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        let mut made = None;
        if size <= limit {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            (&mut file).take(limit).read_to_end(&mut bytes)?;
            let (made_of_it, holds) = beside(|| make(&bytes), || matches(digest, &bytes))?;
            made = holds.then_some(made_of_it);
        }
        let Some(made) = made else {
            fs::remove_file(&path)?;
            return Ok(None);
        };
        Ok(Some(Stored { made, file }))
    }

    /// Makes something of a blob that was checked against its digest, while it is stored.
    pub fn put_and<T: Send>(
        &self,
        digest: &Digest,
        bytes: &[u8],
        make: impl FnOnce(&[u8]) -> T + Send,
    ) -> io::Result<Stored<T>> {
        let (made, file) = beside(|| make(bytes), || self.put(digest, bytes))?;
        Ok(Stored { made, file: file? })
    }

    /// Stores bytes that were checked against `digest`; they are there whole or not at all.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> io::Result<File> {
        let path = self.path(digest);
        let partial = self
            .dir
            .join(format!("{}.{}", digest.digest(), std::process::id()));
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        if let Err(error) = written.and_then(|()| fs::rename(&partial, &path)) {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        File::open(&self.dir)?.sync_all()?;
        Ok(file)
    }

    /// Removes what is not among `used`, oldest first, until `KEPT_UNUSED` bytes of it are left.
    pub fn sweep(&self, used: &HashSet<Digest>) -> io::Result<()> {
        let used: HashSet<&str> = used.iter().map(Digest::digest).collect();
        let mut unused: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| used.contains(name)) {
                continue;
            }
            let meta = entry.metadata()?;
            unused.push((meta.modified()?, meta.len(), entry.path()));
        }
        unused.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut kept: u64 = 0;
        for (_, size, path) in unused {
            kept = kept.saturating_add(size);
            if kept > KEPT_UNUSED {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Does both at the same time. Blocks.
fn beside<T: Send, U>(
    work: impl FnOnce() -> T + Send,
    other: impl FnOnce() -> U,
) -> io::Result<(T, U)> {
    std::thread::scope(|scope| {
        let name = "soci-parse".to_owned();
        let work = std::thread::Builder::new()
            .name(name)
            .spawn_scoped(scope, work)?;
        let other = other();
        let work = work
            .join()
            .map_err(|_| io::Error::other("parsing it panicked"))?;
        Ok((work, other))
    })
}

pub(crate) fn matches(digest: &Digest, bytes: &[u8]) -> bool {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
    }
    hex == digest.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(content: &Content, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
        let stored = content.get(digest, limit, <[u8]>::to_vec).unwrap();
        stored.map(|stored| stored.made)
    }

    fn digest(bytes: &[u8]) -> Digest {
        let hex: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha256:{hex}").parse().unwrap()
    }

    #[test]
    fn a_blob_damaged_on_disk_is_not_handed_out() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let name = digest(b"blob");
        content.put(&name, b"blob").unwrap();
        assert_eq!(get(&content, &name, 100).unwrap(), b"blob");
        fs::write(content.path(&name), b"blub").unwrap();
        assert!(get(&content, &name, 100).is_none());
        assert!(!content.path(&name).exists());
    }

    #[test]
    fn a_blob_over_the_limit_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let name = digest(b"blob");
        content.put(&name, b"blob").unwrap();
        assert!(get(&content, &name, 3).is_none());
    }

    #[test]
    fn blobs_in_use_survive_the_sweep() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let (used, unused) = (digest(b"used"), digest(b"unused"));
        content.put(&used, b"used").unwrap();
        content.put(&unused, b"unused").unwrap();
        File::options()
            .write(true)
            .open(content.path(&unused))
            .unwrap()
            .set_len(KEPT_UNUSED + 1)
            .unwrap();
        content.sweep(&HashSet::from([used.clone()])).unwrap();
        assert!(content.path(&used).exists());
        assert!(!content.path(&unused).exists());
    }
}
