//! Start-up profiles in files: those that users name, and those that the snapshotter keeps.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci_spec::image::Digest;
use soci::profile::{MAX_LEN, Profile};

use crate::error::Error;
use crate::output;

const SUFFIX: &str = ".json";

/// The digest that a text is, and not the name of an image or a file.
pub(crate) fn digest(text: &str) -> Option<Digest> {
    // Others may be names: "app:1" has the form of a digest.
    text.parse().ok().filter(|_| text.starts_with("sha256:"))
}

pub(crate) fn read(path: &Path) -> Result<Profile, Error> {
    let mut json = Vec::new();
    // One byte more than a profile may have, so that what is too long is seen to be.
    File::open(path)
        .and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut json))
        .map_err(Error::file(path))?;
    Profile::parse(&json).map_err(Error::format(path.display().to_string()))
}

/// To standard output where no file is named.
pub(crate) fn write(profile: &Profile, to: Option<&Path>) -> Result<(), Error> {
    let mut json = profile.to_json().map_err(Error::format("profile"))?;
    json.push(b'\n');
    let Some(path) = to else {
        return output::raw(&json);
    };
    let file = File::create(path);
    file.and_then(|mut file| file.write_all(&json))
        .map_err(Error::file(path))
}

/// What the snapshotter of this machine has recorded.
pub(crate) struct Recorded {
    directory: PathBuf,
}

/// The profile of one image.
pub(crate) struct Record {
    pub manifest: Digest,
    pub changed: SystemTime,
    pub profile: Profile,
}

impl Recorded {
    /// `root`: where the snapshotter keeps its state.
    pub(crate) fn below(root: &Path) -> Self {
        Recorded {
            directory: root.join("profiles"),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn find(&self, manifest: &Digest) -> Result<Option<Profile>, Error> {
        match read(&self.directory.join(format!("{manifest}{SUFFIX}"))) {
            Ok(profile) => Ok(Some(profile)),
            Err(Error::File { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The latest first; without files that the snapshotter would not use either.
    pub(crate) fn all(&self) -> Result<Vec<Record>, Error> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file(&self.directory)(error)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::file(&self.directory))?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            let Some(Ok(manifest)) = name.map(str::parse) else {
                continue;
            };
            let meta = entry.metadata().and_then(|meta| meta.modified());
            if let (Ok(changed), Ok(profile)) = (meta, read(&entry.path())) {
                records.push(Record {
                    manifest,
                    changed,
                    profile,
                });
            }
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.changed));
        Ok(records)
    }
}
