//! Directories on their way in or out of the cache, under names that nobody opens and the next start sweeps.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What these names begin with.
pub(super) const SCRATCH: char = '.';

/// Renamed first: whoever opens the name meanwhile finds all of it or nothing.
pub(super) fn remove_dir(dir: &Path) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let scratch = dir.with_file_name(format!("{SCRATCH}old-{number}"));
    match fs::rename(dir, &scratch) {
        Ok(()) => fs::remove_dir_all(scratch),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
