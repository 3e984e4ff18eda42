//! Which slot a name in a directory has, for as long as a tree is being built.

use std::hash::{BuildHasher, RandomState};

const SMALLEST: usize = 16;
/// Of the bits of a place, those that say which slot; the others are some of the name's hash.
const SLOT_BITS: u32 = 23;
const SLOT: u32 = (1 << SLOT_BITS) - 1;

/// A hash table of numbers only: the names stay in the table of contents, and 200,000 of them take 1 MB here, which
/// is what a processor has close at hand: nearly every question is about a place that was never looked at before.
/// Keyed anew for each tree, so that no image can choose names that collide.
pub(super) struct Names {
    hasher: RandomState,
    /// Open addressing, a power of two, at most seven eighths full.
    places: Vec<Place>,
    taken: usize,
}

/// One more than the number of a slot, and nine bits of the hash, so that another name is told apart without looking at
/// it; 0 where there is none.
#[derive(Copy, Clone)]
struct Place(u32);

impl Place {
    const VACANT: Place = Place(0);

    /// None for a slot too many to be counted here.
    fn new(slot: u32, hash: u64) -> Option<Place> {
        let number = slot.checked_add(1).filter(|number| *number <= SLOT)?;
        Some(Place(tag(hash) | number))
    }

    fn slot(self) -> Option<u32> {
        (self.0 & SLOT).checked_sub(1)
    }
}

/// The highest bits: the lowest choose the place.
fn tag(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0) & !SLOT
}

/// Where a name is, or would go.
#[derive(Copy, Clone, Debug)]
pub(super) enum Found {
    Slot(u32),
    Nowhere { place: usize, hash: u64 },
}

impl Names {
    /// Slots are numbered below this.
    pub(super) const MOST: u32 = SLOT;

    pub(super) fn with_capacity(names: usize) -> Names {
        let places = names.saturating_mul(8).div_ceil(7).saturating_add(1);
        Names {
            hasher: RandomState::new(),
            places: vacant(places.next_power_of_two().max(SMALLEST)),
            taken: 0,
        }
    }

    /// `is_it`: whether the slot with this number has the name.
    pub(super) fn find(&self, parent: u32, name: &[u8], is_it: impl Fn(u32) -> bool) -> Found {
        self.probe(self.hash(parent, name), is_it)
    }

    /// `place` is where `find` would have had the name, and nothing was added since. `name_of`: the directory and the
    /// name of a slot that was added before.
    pub(super) fn add<'a>(
        &mut self,
        place: usize,
        hash: u64,
        slot: u32,
        name_of: impl Fn(u32) -> (u32, &'a [u8]),
    ) {
        self.put(place, slot, hash);
        self.taken += 1;
        if self.taken * 8 > self.places.len() * 7 {
            self.grow(name_of);
        }
    }

    fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    fn probe(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Found {
        let mask = self.places.len() - 1;
        let mut place = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) & mask;
        loop {
            let taken = self.places.get(place).copied().unwrap_or(Place::VACANT);
            // It comes, since some places are vacant.
            let Some(slot) = taken.slot() else {
                return Found::Nowhere { place, hash };
            };
            if taken.0 & !SLOT == tag(hash) && is_it(slot) {
                return Found::Slot(slot);
            }
            place = (place + 1) & mask;
        }
    }

    fn put(&mut self, place: usize, slot: u32, hash: u64) {
        if let (Some(place), Some(taken)) = (self.places.get_mut(place), Place::new(slot, hash)) {
            *place = taken;
        }
    }

    fn grow<'a>(&mut self, name_of: impl Fn(u32) -> (u32, &'a [u8])) {
        let twice = self.places.len() * 2;
        let old = std::mem::replace(&mut self.places, vacant(twice));
        for slot in old.into_iter().filter_map(Place::slot) {
            let (parent, name) = name_of(slot);
            if let Found::Nowhere { place, hash } = self.probe(self.hash(parent, name), |_| false) {
                self.put(place, slot, hash);
            }
        }
    }
}

fn vacant(places: usize) -> Vec<Place> {
    vec![Place::VACANT; places]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds what is not there; returns the slot of each.
    fn check(names: &mut Names, keys: &[(u32, String)]) -> Vec<u32> {
        let mut slots: Vec<&(u32, String)> = Vec::new();
        let mut found = Vec::new();
        for key in keys {
            let is_it = |slot: u32| slots[slot as usize] == key;
            match names.find(key.0, key.1.as_bytes(), is_it) {
                Found::Slot(slot) => found.push(slot),
                Found::Nowhere { place, hash } => {
                    let slot = u32::try_from(slots.len()).unwrap();
                    slots.push(key);
                    names.add(place, hash, slot, |slot| {
                        let (parent, name) = slots[slot as usize];
                        (*parent, name.as_bytes())
                    });
                    found.push(slot);
                }
            }
        }
        found
    }

    #[test]
    fn names_are_found_again_when_there_are_more_than_expected() {
        let mut names = Names::with_capacity(0);
        let keys: Vec<_> = (0..1000)
            .map(|number| (number % 3, format!("{}", number / 3)))
            .collect();
        let once: Vec<u32> = (0..1000).collect();
        let twice = [keys.clone(), keys].concat();
        assert_eq!(check(&mut names, &twice), [once.clone(), once].concat());
    }
}
