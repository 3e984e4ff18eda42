//! Layers without an index: their whole tar, written once from its first byte to its last, never evicted.

use super::disk;
use super::key::Key;
use super::pool::Cache;
use super::records::{self, Checksum, Identity};
use super::scratch::{SCRATCH, remove_dir};
use crate::error::Error;
use oci_spec::image::Digest;
use soci::tar::Scanner;
use soci::toc::Toc;
use soci::ztoc::Limits;
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The spans of a local layer.
pub(crate) const CHUNK: u64 = 1 << 20;
const CHUNK_LEN: usize = 1 << 20;

/// The tar of a layer without an index, arriving in order. What is not committed is removed.
pub struct LocalWriter {
    cache: Arc<Cache>,
    key: Key,
    dir: PathBuf,
    data: File,
    chunk: Vec<u8>,
    checksums: Vec<Checksum>,
    size: u64,
}

impl Cache {
    /// Nothing is visible before `commit`. Blocks.
    pub fn local_writer(self: &Arc<Self>, layer: &Digest) -> Result<LocalWriter, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let key = Key::new(layer, None);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = key
            .parent(&self.root)
            .join(format!("{SCRATCH}new-{number}"));
        let failed = |error| Error::disk("make", &dir, error);
        disk::make_dir(&dir).map_err(failed)?;
        let data = disk::options()
            .create_new(true)
            .open(disk::data_path(&dir))
            .map_err(failed)?;
        Ok(LocalWriter {
            cache: Arc::clone(self),
            key,
            dir: dir.clone(),
            data,
            chunk: Vec::with_capacity(CHUNK_LEN),
            checksums: Vec::new(),
            size: 0,
        })
    }

    /// Reads a committed local layer through once: every checksum is checked, the table of contents is made from the tar
    /// headers. `None` when there is no such layer, or it is damaged and has been removed. Blocks.
    pub fn scan_local(&self, layer: &Digest, limits: &Limits) -> Result<Option<Toc>, Error> {
        let dir = Key::new(layer, None).dir(&self.root);
        let name: Arc<str> = layer.to_string().into();
        let scanned = match open(&dir) {
            Ok(Some((data, records, identity))) => scan(&data, &records, &identity, limits, &name),
            Ok(None) => Ok(None),
            Err(error) => Err(Scan::Disk(error)),
        };
        match scanned {
            Ok(toc) => Ok(toc),
            Err(Scan::Disk(error)) => Err(Error::disk("read the local layer in", &dir, error)),
            Err(Scan::Content(error)) => Err(error),
            Err(Scan::Damaged) => {
                self.metrics().cache_checksum_failures.add(1);
                self.remove_local(layer)?;
                Ok(None)
            }
        }
    }

    /// A local layer is never evicted: its owner says when it is no longer needed. Blocks.
    pub fn remove_local(&self, layer: &Digest) -> Result<(), Error> {
        let key = Key::new(layer, None);
        let dir = key.dir(&self.root);
        self.shelves.take(&key);
        remove_dir(&dir).map_err(|error| Error::disk("remove", &dir, error))?;
        // Succeeds only when nothing else of this layer is here.
        let _ = fs::remove_dir(key.parent(&self.root));
        Ok(())
    }

    /// None when there is no such layer.
    pub(crate) fn local_size(&self, layer: &Digest) -> Result<Option<u64>, Error> {
        let dir = Key::new(layer, None).dir(&self.root);
        let found =
            open(&dir).map_err(|error| Error::disk("open the local layer in", &dir, error))?;
        Ok(found.map(|(_, _, identity)| identity.size))
    }
}

impl LocalWriter {
    /// Appends tar bytes. Blocks.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let room = CHUNK_LEN.saturating_sub(self.chunk.len());
            let (head, tail) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.chunk.extend_from_slice(head);
            bytes = tail;
            if self.chunk.len() == CHUNK_LEN {
                self.flush()
                    .map_err(|error| Error::disk("write", &self.dir, error))?;
            }
        }
        Ok(())
    }

    /// Makes the layer durable, then visible. Returns the tar's size. Blocks.
    pub fn commit(mut self) -> Result<u64, Error> {
        self.publish()
            .map_err(|error| Error::disk("commit", &self.dir, error))?;
        self.cache
            .shelves
            .put(self.key.clone(), self.size, SystemTime::now());
        self.cache.make_room();
        Ok(self.size)
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = mem::take(&mut self.chunk);
        self.data.write_all(&chunk)?;
        self.checksums.push(Checksum::of(&chunk));
        self.size += u64::try_from(chunk.len()).unwrap_or(0);
        self.chunk = chunk;
        self.chunk.clear();
        Ok(())
    }

    fn publish(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            self.flush()?;
        }
        let spans = u32::try_from(self.checksums.len()).map_err(io::Error::other)?;
        let identity = Identity {
            spans,
            size: self.size,
            names: self.key.names(),
        };
        let records = disk::options()
            .create_new(true)
            .open(disk::records_path(&self.dir))?;
        records::write_identity(&records, &identity)?;
        for (span, checksum) in (0..).zip(&self.checksums) {
            records::write(&records, span, *checksum)?;
        }
        self.data.sync_all()?;
        records.sync_all()?;
        let dir = self.key.dir(&self.cache.root);
        remove_dir(&dir)?;
        fs::rename(&self.dir, &dir)?;
        let parent = self.key.parent(&self.cache.root);
        for dir in [&dir, &parent, &self.cache.root] {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        // Gone already after a commit. What stays is swept at the next start.
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_dir(self.key.parent(&self.cache.root));
    }
}

enum Scan {
    Disk(io::Error),
    Damaged,
    Content(Error),
}

fn open(dir: &Path) -> io::Result<Option<(File, File, Identity)>> {
    let files = (
        disk::options().open(disk::data_path(dir)),
        disk::options().open(disk::records_path(dir)),
    );
    match files {
        (Ok(data), Ok(records)) => {
            Ok(records::identity(&records)?.map(|identity| (data, records, identity)))
        }
        (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(None),
    }
}

fn scan(
    data: &File,
    records: &File,
    identity: &Identity,
    limits: &Limits,
    name: &Arc<str>,
) -> Result<Option<Toc>, Scan> {
    if u64::from(identity.spans) != identity.size.div_ceil(CHUNK)
        || data.metadata().map_err(Scan::Disk)?.len() != identity.size
    {
        return Err(Scan::Damaged);
    }
    let content = |error| Scan::Content(Error::corrupt(name, error));
    let mut scanner = Scanner::new(limits);
    let mut chunk = vec![0; CHUNK_LEN];
    let mut offset = 0;
    for span in 0..identity.spans {
        let len = usize::try_from((identity.size - offset).min(CHUNK)).unwrap_or(CHUNK_LEN);
        let bytes = chunk.get_mut(..len).unwrap_or_default();
        data.read_exact_at(bytes, offset).map_err(Scan::Disk)?;
        let expected = records::read(records, span).map_err(Scan::Disk)?;
        if expected != Some(Checksum::of(bytes)) {
            return Err(Scan::Damaged);
        }
        scanner.push(bytes).map_err(content)?;
        offset += CHUNK;
    }
    scanner.finish().map(Some).map_err(content)
}
