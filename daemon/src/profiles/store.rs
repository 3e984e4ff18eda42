//! Profiles on this machine: one small file per image, whole or not there at all, the least recently used removed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use oci_spec::image::Digest;
use soci::profile::{MAX_LEN, Profile};

/// All profiles together; a usual one has some tens of KiB.
const MAX_TOTAL: u64 = 64 << 20;
const SUFFIX: &str = ".json";
const PARTIAL: &str = ".partial";

#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    max_images: usize,
    /// Of the next partial file: two writers of one image must not share it.
    next: AtomicU64,
}

impl Store {
    /// Makes `dir` if need be, and removes what a crash left half written.
    pub(super) fn open(dir: PathBuf, max_images: usize) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(PARTIAL) {
                fs::remove_file(path)?;
            }
        }
        let next = AtomicU64::new(0);
        Ok(Self {
            dir,
            max_images,
            next,
        })
    }

    /// `None` if there is none. One that cannot be used is removed, said so once, and not there either. Blocks.
    pub(super) fn load(&self, manifest: &Digest) -> Option<Profile> {
        let path = self.path(manifest);
        let outcome = read(&path).and_then(|bytes| {
            let parse = |bytes: Vec<u8>| Profile::parse(&bytes).map_err(|error| error.to_string());
            bytes.map(parse).transpose()
        });
        match outcome {
            Ok(profile) => profile,
            Err(error) => {
                tracing::warn!(target: "daemon", path = %path.display(), error, "start-up profile is not usable; the next start makes a new one");
                // A directory stays; the writer's rename will say so.
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// On disk when this returns. Blocks.
    pub(super) fn save(&self, manifest: &Digest, profile: &Profile) -> Result<(), String> {
        let json = profile.to_json().map_err(|error| error.to_string())?;
        let written = self.write(&self.path(manifest), &json);
        written.map_err(|error| error.to_string())?;
        self.prune().map_err(|error| error.to_string())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let partial = self.dir.join(format!("{number}{PARTIAL}"));
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        if let Err(error) = written.and_then(|()| fs::rename(&partial, path)) {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        File::open(&self.dir)?.sync_all()
    }

    /// Removes the least recently used, until what is left is within bounds.
    fn prune(&self) -> io::Result<()> {
        let mut found: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if !path.to_string_lossy().ends_with(SUFFIX) {
                continue;
            }
            // One that goes away meanwhile takes no room.
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            found.push((meta.modified()?, meta.len(), path));
        }
        found.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut total: u64 = 0;
        for (place, (_, size, path)) in found.into_iter().enumerate() {
            total = total.saturating_add(size);
            if place >= self.max_images || total > MAX_TOTAL {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// As it can be copied to another machine: `sha256:…`.json.
    fn path(&self, manifest: &Digest) -> PathBuf {
        self.dir.join(format!("{manifest}{SUFFIX}"))
    }
}

/// `Ok(None)` if there is no file. Marks it as used.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(meta) => meta,
    };
    if !meta.is_file() {
        return Err("it is no file".to_owned());
    }
    if meta.len() > MAX_LEN {
        return Err(format!("it has {} bytes, more than {MAX_LEN}", meta.len()));
    }
    let read = || {
        let file = File::open(path)?;
        let mut bytes = Vec::new();
        (&file).take(MAX_LEN).read_to_end(&mut bytes)?;
        // Only a hint to `prune`, and a read-only disk is no reason to do without the profile.
        let _ = file.set_modified(SystemTime::now());
        Ok(bytes)
    };
    read()
        .map(Some)
        .map_err(|error: io::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use soci::profile::{FirstRead, LayerProfile};
    use std::time::Duration;

    fn digest(number: u64) -> Digest {
        format!("sha256:{number:064x}").parse().unwrap()
    }

    fn profile(place: u64) -> Profile {
        let mut profile = Profile::new();
        let read = FirstRead {
            tar: place..place + 4096,
            at_ms: 5,
        };
        profile.insert(digest(99), LayerProfile::new([read]));
        profile
    }

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_profile_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path().join("profiles"), 10).unwrap();
        assert_eq!(open().load(&digest(1)), None);
        open().save(&digest(1), &profile(0)).unwrap();
        open().save(&digest(2), &profile(7)).unwrap();
        open().save(&digest(1), &profile(3)).unwrap();
        assert_eq!(open().load(&digest(1)), Some(profile(3)));
        assert_eq!(open().load(&digest(2)), Some(profile(7)));
    }

    #[test]
    fn what_is_no_profile_is_ignored_and_makes_room_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned(), 10).unwrap();
        let path = store.path(&digest(1));
        let deep = "[".repeat(100_000).into_bytes();
        let long = vec![b' '; usize::try_from(MAX_LEN).unwrap() + 1];
        for content in [&b""[..], b"{", b"\xff\xfe", b"{}", b"[1,2]", &deep, &long] {
            fs::write(&path, content).unwrap();
            assert_eq!(store.load(&digest(1)), None);
            assert!(!path.exists());
        }
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(store.load(&digest(1)), None);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(store.load(&digest(1)), None);
        store.save(&digest(1), &profile(0)).unwrap();
        assert_eq!(store.load(&digest(1)), Some(profile(0)));
    }

    #[test]
    fn a_crash_while_writing_leaves_the_old_profile_and_no_rubbish() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned(), 10).unwrap();
        store.save(&digest(1), &profile(0)).unwrap();
        fs::write(dir.path().join("7.partial"), b"half").unwrap();
        let store = Store::open(dir.path().to_owned(), 10).unwrap();
        assert_eq!(store.load(&digest(1)), Some(profile(0)));
        assert_eq!(names(dir.path()), 1);
    }

    #[test]
    fn the_least_recently_used_images_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned(), 3).unwrap();
        for number in 1..=3 {
            store.save(&digest(number), &profile(0)).unwrap();
            let hours = Duration::from_secs(3600 * (10 - number));
            let file = File::open(store.path(&digest(number))).unwrap();
            file.set_modified(SystemTime::now() - hours).unwrap();
        }
        store.load(&digest(1)).unwrap();
        store.save(&digest(4), &profile(0)).unwrap();
        assert_eq!(names(dir.path()), 3);
        assert_eq!(store.load(&digest(2)), None, "used longest ago");
        assert_eq!(
            store.load(&digest(1)),
            Some(profile(0)),
            "made first, used last"
        );
    }

    #[test]
    fn profiles_together_are_bounded_in_size() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned(), 10).unwrap();
        store.save(&digest(1), &profile(0)).unwrap();
        let old = File::options()
            .write(true)
            .open(store.path(&digest(1)))
            .unwrap();
        old.set_len(MAX_TOTAL).unwrap();
        old.set_modified(SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        store.save(&digest(2), &profile(0)).unwrap();
        assert_eq!(names(dir.path()), 1);
        assert_eq!(store.load(&digest(2)), Some(profile(0)));
    }
}
