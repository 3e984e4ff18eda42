//! The cache of the process: its directory, its quota, its memory, and the limits all fetches share.

use super::disk::{self, Disk, Loaded};
use super::evict;
use super::key::Key;
use super::memory::Memory;
use super::scratch::SCRATCH;
use super::shelves::Shelves;
use super::store::Store;
use super::trouble::Trouble;
use crate::budget::Budget;
use crate::error::Error;
use crate::link::Link;
use crate::metrics::Metrics;
use crate::pacer::Pacer;
use crate::readers::Readers;
use oci_spec::image::Digest;
use soci::spans::SpanTable;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;
use tokio::sync::{Notify, Semaphore};

#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// The most bytes kept on disk; above it the spans used longest ago go.
    pub quota: u64,
    /// The most bytes of inflated spans kept in memory.
    pub memory: u64,
    /// Without a disk the pool of memory is the whole cache of lazily loaded layers.
    pub disk: bool,
    /// The most bytes that spans on their way hold at a time: compressed, inflated, and until the disk and every reader have them.
    /// Three eighths of it are for what readers wait for. A span larger than that goes alone.
    pub in_flight: u64,
    /// How many spans are verified and inflated at a time; 0 means one per core.
    pub inflate: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions {
            quota: u64::MAX,
            memory: 64 << 20,
            disk: true,
            in_flight: 64 << 20,
            inflate: 0,
        }
    }
}

#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    pub disk: u64,
    pub memory: u64,
    /// Of spans on their way.
    pub in_flight: u64,
}

pub struct Cache {
    pub(super) root: PathBuf,
    options: CacheOptions,
    pub(super) shelves: Arc<Shelves<Store>>,
    memory: Arc<Memory>,
    clock: Arc<AtomicU64>,
    stores: AtomicU64,
    evicting: AtomicBool,
    trouble: Trouble,
    metrics: Arc<Metrics>,
    pub(crate) readers: Arc<Readers>,
    /// What will be read soon, as long as it is not all here.
    pub(crate) soon: Arc<Readers>,
    /// Told when there may be something to do in the background.
    pub(crate) work: Notify,
    pub(crate) inflate: Arc<Semaphore>,
    /// What nobody waits for leaves a core free.
    pub(crate) spare_inflate: Arc<Semaphore>,
    pub(crate) budget: Budget,
    pub(crate) link: Link,
    pub(crate) pacer: Pacer,
    /// Requests of readers that are under way.
    pub(crate) reader_requests: AtomicUsize,
}

impl Cache {
    /// Makes `dir` if need be and takes over what an earlier process left in it. Blocks.
    pub fn open(dir: &Path, options: CacheOptions) -> Result<Arc<Cache>, Error> {
        let failed = |error| Error::disk("open the cache in", dir, error);
        disk::make_dir(dir).map_err(failed)?;
        let shelves = Arc::new(Shelves::default());
        take_over(dir, &shelves).map_err(failed)?;
        let cores = || std::thread::available_parallelism().map_or(2, usize::from);
        let inflate = if options.inflate == 0 {
            cores()
        } else {
            options.inflate
        };
        let (readers, soon) = <(Arc<Readers>, Arc<Readers>)>::default();
        Ok(Arc::new(Cache {
            root: dir.to_owned(),
            shelves,
            memory: Arc::new(Memory::new(options.memory)),
            clock: Arc::default(),
            stores: AtomicU64::new(0),
            evicting: AtomicBool::new(false),
            trouble: Trouble::default(),
            metrics: Arc::default(),
            pacer: Pacer::new(&readers, &soon),
            readers,
            soon,
            work: Notify::new(),
            inflate: Arc::new(Semaphore::new(inflate)),
            spare_inflate: Arc::new(Semaphore::new(inflate.saturating_sub(1).max(1))),
            budget: Budget::new(options.in_flight),
            link: Link::default(),
            reader_requests: AtomicUsize::new(0),
            options,
        }))
    }

    pub fn usage(&self) -> Usage {
        Usage {
            disk: self.shelves.used(),
            memory: self.memory.usage(),
            in_flight: self.budget.taken(),
        }
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether this much more would not evict anything.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.shelves.used().saturating_add(bytes) <= self.options.quota
    }

    /// Never fails for a lazily loaded layer: without a disk it is read all the same.
    pub(crate) fn store(
        &self,
        layer: &Digest,
        ztoc: Option<&Digest>,
        table: &Arc<SpanTable>,
    ) -> Result<Arc<Store>, Error> {
        let key = Key::new(layer, ztoc);
        if let Some(store) = self.shelves.find(&key) {
            return Ok(store);
        }
        let dir = key.dir(&self.root);
        let local = key.is_local();
        let disk = if local || self.options.disk {
            let now = self.clock.load(Ordering::Relaxed);
            match Disk::open(&dir, table, key.names(), now, local) {
                Ok(disk) => Some(disk),
                Err(error) if local => {
                    return Err(Error::disk("open the local layer in", &dir, error));
                }
                Err(error) => {
                    self.trouble
                        .report(&self.metrics.cache_write_failures, &dir, &error);
                    None
                }
            }
        } else {
            None
        };
        let store = Store {
            number: self.stores.fetch_add(1, Ordering::Relaxed),
            key,
            table: Arc::clone(table),
            disk,
            flights: Arc::default(),
            memory: Arc::clone(&self.memory),
            clock: Arc::clone(&self.clock),
            shelves: Arc::clone(&self.shelves),
        };
        let (key, resident) = (store.key.clone(), store.resident());
        Ok(self.shelves.open(&key, resident, store))
    }

    /// A failing disk costs the next reader a fetch, not this one its bytes. Blocks.
    pub(crate) fn write(&self, store: &Store, span: u32, bytes: &[u8]) {
        let Some(disk) = &store.disk else {
            return;
        };
        // Counted first: an eviction may subtract the span as soon as it is there.
        let len = u64::try_from(bytes.len()).unwrap_or(0);
        self.shelves.add(len);
        let written = disk.write(span, bytes, store.now());
        if !matches!(written, Ok(true)) {
            self.shelves.subtract(len);
        }
        match written {
            Ok(true) => {
                // From here on the page cache is the memory.
                self.memory.remove((store.number, span));
                self.make_room();
            }
            Ok(false) => self.memory.remove((store.number, span)),
            Err(error) => {
                // Kept in memory instead, which is not the memory of what is on its way.
                if self.memory.contains((store.number, span)) {
                    store.remember(span, bytes::Bytes::copy_from_slice(bytes));
                }
                let dir = store.key.dir(&self.root);
                self.trouble
                    .report(&self.metrics.cache_write_failures, &dir, &error);
            }
        }
    }

    /// A span from disk, checked against its checksum. Blocks.
    pub(crate) fn load(&self, store: &Store, span: u32) -> Option<bytes::Bytes> {
        match store.disk.as_ref()?.load(span) {
            Ok(Loaded::Here(bytes)) => Some(bytes),
            Ok(Loaded::Absent) => None,
            Ok(Loaded::Damaged { freed }) => {
                self.shelves.subtract(freed);
                self.metrics.cache_checksum_failures.add(1);
                None
            }
            Err(error) => {
                let dir = store.key.dir(&self.root);
                self.trouble
                    .report(&self.metrics.cache_read_failures, &dir, &error);
                None
            }
        }
    }

    pub(super) fn make_room(&self) {
        // Looked at again after evicting: whoever wrote meanwhile has left it to us.
        while self.shelves.used() > self.options.quota
            && !self.evicting.swap(true, Ordering::Acquire)
        {
            let freed = evict::make_room(&self.shelves, &self.root, self.options.quota);
            self.metrics.evicted_bytes.add(freed);
            self.evicting.store(false, Ordering::Release);
            if freed == 0 {
                return;
            }
        }
    }
}

/// What cannot be looked at is left alone.
fn take_over(root: &Path, shelves: &Shelves<Store>) -> io::Result<()> {
    for layer in fs::read_dir(root)?.flatten() {
        let Ok(layer_name) = layer.file_name().into_string() else {
            continue;
        };
        for index in fs::read_dir(layer.path()).into_iter().flatten().flatten() {
            let Ok(index_name) = index.file_name().into_string() else {
                continue;
            };
            if index_name.starts_with(SCRATCH) {
                let _ = fs::remove_dir_all(index.path());
                continue;
            }
            let Ok(data) = fs::metadata(disk::data_path(&index.path())) else {
                continue;
            };
            let since = fs::metadata(disk::records_path(&index.path()))
                .and_then(|records| records.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH);
            let key = Key::from_names(layer_name.clone(), index_name);
            shelves.put(key, data.blocks().saturating_mul(512), since);
        }
    }
    Ok(())
}
