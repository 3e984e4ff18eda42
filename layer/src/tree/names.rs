//! Which slot a name in a directory has, for as long as a tree is being built.

use std::hash::{BuildHasher, RandomState};

const VACANT: u32 = u32::MAX;
const SMALLEST: usize = 16;

/// A hash table of numbers only: the names stay in the table of contents, and 200,000 of them take 2 MB here.
/// Keyed anew for each tree, so that no image can choose names that collide.
pub(super) struct Names {
    hasher: RandomState,
    /// Open addressing, a power of two, at most half full.
    places: Vec<u32>,
    taken: usize,
}

/// Where a name is, or would go.
#[derive(Copy, Clone, Debug)]
pub(super) enum Found {
    Slot(u32),
    Nowhere { place: usize },
}

impl Names {
    pub(super) fn with_capacity(names: usize) -> Names {
        let places = names.saturating_mul(2).next_power_of_two().max(SMALLEST);
        Names {
            hasher: RandomState::new(),
            places: vec![VACANT; places],
            taken: 0,
        }
    }

    pub(super) fn hash(&self, parent: u32, name: &[u8]) -> u32 {
        let hash = self.hasher.hash_one((parent, name));
        // Either half is as good as the other.
        u32::try_from(hash >> 32).unwrap_or(0)
    }

    /// `is_it`: whether the slot with this number has the name.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Found {
        let mut place = self.first(hash);
        loop {
            match self.places.get(place) {
                Some(&slot) if slot != VACANT => {
                    if is_it(slot) {
                        return Found::Slot(slot);
                    }
                }
                // A vacant place comes, since half of them are.
                _ => return Found::Nowhere { place },
            }
            place = self.next(place);
        }
    }

    /// `place` is where `find` would have had the name, and nothing was added since. `hash_of`: of each slot so far.
    pub(super) fn add(&mut self, place: usize, slot: u32, hash_of: impl Fn(u32) -> u32) {
        if let Some(place) = self.places.get_mut(place) {
            *place = slot;
        }
        self.taken += 1;
        if self.taken * 2 > self.places.len() {
            self.grow(hash_of);
        }
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u32) {
        let twice = self.places.len() * 2;
        let old = std::mem::replace(&mut self.places, vec![VACANT; twice]);
        for slot in old.into_iter().filter(|&slot| slot != VACANT) {
            if let Found::Nowhere { place } = self.find(hash_of(slot), |_| false)
                && let Some(place) = self.places.get_mut(place)
            {
                *place = slot;
            }
        }
    }

    fn first(&self, hash: u32) -> usize {
        usize::try_from(hash).unwrap_or(0) & (self.places.len() - 1)
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds what is not there; returns the slot of each.
    fn check(names: &mut Names, keys: &[(u32, String)]) -> Vec<u32> {
        let mut slots: Vec<(u32, String, u32)> = Vec::new();
        let mut found = Vec::new();
        for (parent, name) in keys {
            let hash = names.hash(*parent, name.as_bytes());
            let is_it = |slot: u32| {
                let (of, called, _) = &slots[slot as usize];
                of == parent && called == name
            };
            match names.find(hash, is_it) {
                Found::Slot(slot) => found.push(slot),
                Found::Nowhere { place } => {
                    let slot = u32::try_from(slots.len()).unwrap();
                    slots.push((*parent, name.clone(), hash));
                    names.add(place, slot, |slot| slots[slot as usize].2);
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
