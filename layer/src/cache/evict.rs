//! Makes room: first layers nobody has mounted, the oldest first, then the spans used longest ago.

use super::scratch::remove_dir;
use super::shelves::Shelves;
use super::store::Store;
use std::path::Path;

/// Down to 90 % of the quota, so that the next span does not evict again. Returns the bytes given back. Blocks.
pub(super) fn make_room(shelves: &Shelves<Store>, root: &Path, quota: u64) -> u64 {
    if shelves.used() <= quota {
        return 0;
    }
    // Not the difference of two looks at the account: others write meanwhile.
    let mut freed = 0;
    let target = quota / 10 * 9;
    while shelves.used() > target {
        let Some((key, bytes)) = shelves.take_oldest() else {
            break;
        };
        freed += bytes;
        // What cannot be removed now is found again at the next start.
        let _ = remove_dir(&key.dir(root));
        let _ = std::fs::remove_dir(key.parent(root));
    }
    if shelves.used() > target {
        freed += evict_spans(shelves, target);
    }
    freed
}

fn evict_spans(shelves: &Shelves<Store>, target: u64) -> u64 {
    let mut freed = 0;
    let stores = shelves.in_use();
    let disks: Vec<_> = stores
        .iter()
        .filter_map(|store| store.disk.as_ref())
        .collect();
    let mut candidates: Vec<_> = disks
        .iter()
        .flat_map(|disk| {
            disk.candidates()
                .map(move |(used, span, len)| (used, span, len, *disk))
        })
        .filter(|&(_, _, len, _)| len > 0)
        .collect();
    candidates.sort_unstable_by_key(|&(used, span, ..)| (used, span));
    for (_, span, _, disk) in candidates {
        if shelves.used() <= target {
            break;
        }
        let bytes = disk.evict(span);
        shelves.subtract(bytes);
        freed += bytes;
    }
    freed
}
