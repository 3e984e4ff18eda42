//! Which slot a name in a directory has, for as long as a tree is being built.

use std::hash::{BuildHasher, RandomState};

const SMALLEST: usize = 16;

/// A hash table of numbers only: the names stay in the table of contents, and 200,000 of them take 4 MB here.
/// Keyed anew for each tree, so that no image can choose names that collide.
pub(super) struct Names {
    hasher: RandomState,
    /// Open addressing, a power of two, at most half full.
    places: Vec<Place>,
    taken: usize,
}

/// The hash is here too, so that another name is told apart without looking at it.
#[derive(Copy, Clone)]
struct Place {
    slot: u32,
    hash: u32,
}

impl Place {
    const VACANT: Place = Place {
        slot: u32::MAX,
        hash: 0,
    };

    fn is_vacant(self) -> bool {
        self.slot == Place::VACANT.slot
    }
}

/// Where a name is, or would go.
#[derive(Copy, Clone, Debug)]
pub(super) enum Found {
    Slot(u32),
    Nowhere { place: usize, hash: u32 },
}

impl Names {
    pub(super) fn with_capacity(names: usize) -> Names {
        let places = names.saturating_mul(2).next_power_of_two().max(SMALLEST);
        Names {
            hasher: RandomState::new(),
            places: vec![Place::VACANT; places],
            taken: 0,
        }
    }

    /// `is_it`: whether the slot with this number has the name.
    pub(super) fn find(&self, parent: u32, name: &[u8], is_it: impl Fn(u32) -> bool) -> Found {
        // Either half is as good as the other.
        let hash = u32::try_from(self.hasher.hash_one((parent, name)) >> 32).unwrap_or(0);
        self.probe(hash, is_it)
    }

    /// `place` is where `find` would have had the name, and nothing was added since.
    pub(super) fn add(&mut self, place: usize, hash: u32, slot: u32) {
        self.put(place, Place { slot, hash });
        self.taken += 1;
        if self.taken * 2 > self.places.len() {
            self.grow();
        }
    }

    fn probe(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Found {
        let mask = self.places.len() - 1;
        let mut place = usize::try_from(hash).unwrap_or(0) & mask;
        loop {
            match self.places.get(place) {
                Some(taken) if !taken.is_vacant() => {
                    if taken.hash == hash && is_it(taken.slot) {
                        return Found::Slot(taken.slot);
                    }
                }
                // It comes, since half of the places are vacant.
                _ => return Found::Nowhere { place, hash },
            }
            place = (place + 1) & mask;
        }
    }

    fn put(&mut self, place: usize, taken: Place) {
        if let Some(place) = self.places.get_mut(place) {
            *place = taken;
        }
    }

    fn grow(&mut self) {
        let twice = self.places.len() * 2;
        let old = std::mem::replace(&mut self.places, vec![Place::VACANT; twice]);
        for taken in old.into_iter().filter(|place| !place.is_vacant()) {
            if let Found::Nowhere { place, .. } = self.probe(taken.hash, |_| false) {
                self.put(place, taken);
            }
        }
    }
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
                    names.add(place, hash, slot);
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
