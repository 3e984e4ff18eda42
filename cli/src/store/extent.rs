//! Contents in local files that were verified once: not hashed again as long as their file stays as it was.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

/// A content that lies in a file, and what the file was like before the content was read.
pub(crate) struct Extent {
    file: File,
    offset: u64,
    size: u64,
    state: State,
}

/// Changes with every write to the file.
#[derive(PartialEq, Eq)]
struct State {
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Extent {
    pub(super) fn new(file: File, offset: u64, size: u64) -> io::Result<Self> {
        let state = State::of(&file)?;
        Ok(Self {
            file,
            offset,
            size,
            state,
        })
    }

    /// Copies the content to where the other file stands, without the bytes passing through here. False if the file may
    /// hold something else by now.
    pub(super) fn copy(&self, mut to: &File) -> io::Result<bool> {
        let mut from = &self.file;
        from.seek(SeekFrom::Start(self.offset))?;
        let copied = io::copy(&mut from.take(self.size), &mut to)?;
        Ok(copied == self.size && State::of(&self.file)? == self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn check(change: impl FnOnce(&File)) -> io::Result<Option<Vec<u8>>> {
        let place = tempfile::NamedTempFile::new()?;
        place.as_file().write_all_at(b"before, content, after", 0)?;
        // The clock of files is coarse.
        place.as_file().set_modified(std::time::UNIX_EPOCH)?;
        let extent = Extent::new(File::open(place.path())?, 8, 7)?;
        change(&OpenOptions::new().write(true).open(place.path())?);
        let mut to = tempfile::tempfile()?;
        to.write_all(b"> ")?;
        let is_same = extent.copy(&to)?;
        to.write_all(b" <")?;
        let mut copied = vec![0; usize::try_from(to.metadata()?.len()).unwrap()];
        to.read_exact_at(&mut copied, 0)?;
        Ok(is_same.then_some(copied))
    }

    #[test]
    fn a_content_is_copied_to_where_the_other_file_stands() {
        let copied = check(|_| ()).unwrap();
        assert_eq!(copied.as_deref(), Some(&b"> content <"[..]));
    }

    #[test]
    fn a_file_that_changed_since_is_not_believed() {
        let changes: [fn(&File) -> io::Result<()>; 3] = [
            |file| file.write_all_at(b"CONTENT", 8),
            |file| file.set_len(12),
            |file| file.write_all_at(b"more", 22),
        ];
        for change in changes {
            let copied = check(|file| change(file).unwrap());
            assert_eq!(copied.unwrap(), None);
        }
    }
}
