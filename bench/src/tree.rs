//! The files of a mounted image, and reading them in the ways that are measured.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

pub(crate) struct Tree {
    pub(crate) paths: Vec<PathBuf>,
    /// Regular files and their sizes, largest first.
    pub(crate) files: Vec<(PathBuf, u64)>,
}

impl Tree {
    pub(crate) fn of(root: &Path) -> Result<Self> {
        Self::of_all(&[root.to_owned()])
    }

    pub(crate) fn of_all(roots: &[PathBuf]) -> Result<Self> {
        let mut this = Self {
            paths: Vec::new(),
            files: Vec::new(),
        };
        let mut left = roots.to_vec();
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
                let (entry, path) = entry.map(|entry| (entry.metadata(), entry.path()))?;
                let metadata = entry?;
                if metadata.is_dir() {
                    left.push(path.clone());
                } else if metadata.is_file() {
                    this.files.push((path.clone(), metadata.len()));
                }
                this.paths.push(path);
            }
        }
        this.files
            .sort_by_key(|(path, size)| (std::cmp::Reverse(*size), path.clone()));
        Ok(this)
    }

    /// Files of less than 64 KiB, at most so many.
    pub(crate) fn small(&self, most: usize) -> Vec<&Path> {
        let small = self
            .files
            .iter()
            .filter(|(_, size)| (1..65536).contains(size));
        small.map(|(path, _)| path.as_path()).take(most).collect()
    }

    pub(crate) fn largest(&self) -> Result<(&Path, u64)> {
        let (path, size) = self.files.first().context("an image without files")?;
        Ok((path, *size))
    }

    /// Places far from each other: one each 5 MiB of large files, in an order without a pattern.
    pub(crate) fn places(&self, most: usize) -> Vec<(&Path, u64)> {
        const APART: u64 = 5 << 20;
        let mut places: Vec<(&Path, u64)> = self
            .files
            .iter()
            .filter(|(_, size)| *size > 1 << 20)
            .flat_map(|(path, size)| {
                (0..size.div_ceil(APART)).map(move |n| (path.as_path(), n * APART))
            })
            .collect();
        // A fixed order that no read-ahead can follow.
        places.sort_by_key(|(path, at)| {
            let length = path.as_os_str().len() as u64;
            (at / APART + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(length << 40)
                % 65521
        });
        places.truncate(most);
        places
    }
}

pub(crate) fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed())
}

pub(crate) fn read_byte(path: &Path, at: u64) -> Result<Duration> {
    let file = File::open(path)?;
    let begin = Instant::now();
    file.read_exact_at(&mut [0], at)
        .with_context(|| format!("{} at {at}", path.display()))?;
    Ok(begin.elapsed())
}

/// Reads a whole file a MiB at a time.
pub(crate) fn read(path: &Path, buffer: &mut [u8]) -> Result<()> {
    let mut file = File::open(path)?;
    while file
        .read(buffer)
        .with_context(|| path.display().to_string())?
        > 0
    {}
    Ok(())
}
