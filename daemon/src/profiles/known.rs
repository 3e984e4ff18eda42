//! Profiles at hand while the layers of an image are opened one after another.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lru::LruCache;
use oci_spec::image::Digest;
use parking_lot::Mutex;
use soci::profile::{LayerProfile, Profile};
use tokio::sync::OnceCell;

use super::store::Store;

/// Images remembered at the same time.
const IMAGES: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// For how long what the disk says holds: the layers of one pull follow each other quickly.
const FRESH: Duration = Duration::from_secs(10);

pub(super) struct Known {
    store: Arc<Store>,
    local: Mutex<LruCache<Digest, (Instant, Arc<Local>)>>,
    shipped: Mutex<LruCache<Digest, Profile>>,
}

#[derive(Default)]
struct Local {
    profile: OnceCell<Option<Arc<Profile>>>,
    announced: AtomicBool,
}

/// What is known of one image.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) profile: Arc<Profile>,
    local: Arc<Local>,
}

impl Found {
    /// True once for each time it was read.
    pub(super) fn is_new(&self) -> bool {
        !self.local.announced.swap(true, Ordering::Relaxed)
    }
}

impl Known {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            local: Mutex::new(LruCache::new(IMAGES)),
            shipped: Mutex::new(LruCache::new(IMAGES)),
        }
    }

    /// What this machine has learnt of an image; however many ask at once, the disk is read once.
    pub(super) async fn local(&self, manifest: &Digest) -> Option<Found> {
        let local = {
            let mut known = self.local.lock();
            match known.get(manifest) {
                Some((since, local)) if since.elapsed() < FRESH => Arc::clone(local),
                _ => {
                    let local = Arc::<Local>::default();
                    known.put(manifest.clone(), (Instant::now(), Arc::clone(&local)));
                    local
                }
            }
        };
        let load = || async {
            let (store, manifest) = (Arc::clone(&self.store), manifest.clone());
            let loaded = tokio::task::spawn_blocking(move || store.load(&manifest)).await;
            loaded.ok().flatten().map(Arc::new)
        };
        let profile = local.profile.get_or_init(load).await.clone()?;
        Some(Found { profile, local })
    }

    /// To be read again: the disk has something new.
    pub(super) fn forget(&self, manifest: &Digest) {
        self.local.lock().pop(manifest);
    }

    /// What came with an image's index; the value to start from where the disk has none.
    pub(super) fn ship(&self, manifest: &Digest, layer: &Digest, reads: LayerProfile) {
        let mut shipped = self.shipped.lock();
        let profile = shipped.get_or_insert_mut(manifest.clone(), Profile::new);
        profile.insert(layer.clone(), reads);
    }

    pub(super) fn shipped(&self, manifest: &Digest) -> Profile {
        let mut shipped = self.shipped.lock();
        shipped.get(manifest).cloned().unwrap_or_default()
    }
}
