//! Things that take minutes to make are made once, under a key of their recipe, and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Where `setup.sh` puts the programs and where images are kept.
pub fn root() -> PathBuf {
    std::env::var_os("SOCI_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/soci-rs"), PathBuf::from)
}

/// A program that `setup.sh` built.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = root().join("bin").join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is missing: run tests/setup.sh as root",
        path.display()
    );
    Ok(path)
}

/// A program of the original soci-snapshotter.
pub fn reference(name: &str) -> Result<PathBuf> {
    let path = root().join("reference/usr/bin").join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is missing: run tests/setup.sh as root",
        path.display()
    );
    Ok(path)
}

/// Names what a recipe makes: equal recipes, equal keys.
pub fn key(recipe: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in recipe {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize()).chars().take(16).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The directory `images/NAME-KEY`, made by `build` if it is not there yet. Two processes that want
/// the same one wait for each other; a build that fails or is killed leaves nothing behind.
pub fn directory(
    name: &str,
    key: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let images = root().join("images");
    let done = images.join(format!("{name}-{key}"));
    if done.exists() {
        return Ok(done);
    }
    fs::create_dir_all(&images)
        .with_context(|| format!("{}: run tests/setup.sh as root", images.display()))?;
    let lock = File::create(images.join(format!(".{name}-{key}.lock")))?;
    lock.lock()?;
    if done.exists() {
        return Ok(done);
    }
    let draft = images.join(format!(".{name}-{key}"));
    crate::mountinfo::unmount_under(&draft)?;
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    fs::create_dir_all(&draft)?;
    let built = build(&draft).with_context(|| format!("building {name}"));
    crate::mountinfo::unmount_under(&draft)?;
    if let Err(error) = built {
        fs::remove_dir_all(&draft)?;
        return Err(error);
    }
    fs::rename(&draft, &done)?;
    Ok(done)
}
