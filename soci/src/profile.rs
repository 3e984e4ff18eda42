//! Start-up profiles: what the starts of an image read of its layers, and in which order.
//!
//! Ranges are of the uncompressed tars, so that a profile fits any index of the same layers.

mod first_read;
mod json;
mod layer;
mod ranges;

use std::collections::BTreeMap;
use std::ops::Range;

use oci_spec::image::Digest;

use crate::error::Error;

pub use first_read::FirstRead;
pub use layer::LayerProfile;

/// Most ranges of one layer.
pub const MAX_RANGES: usize = 4096;
/// Most layers of one image.
pub const MAX_LAYERS: usize = 127;
/// Longest profile that is read, and no profile is written longer.
pub const MAX_LEN: u64 = 1 << 20;
/// Most ranges of all layers: what fits [`MAX_LEN`] with every number at its longest.
const MAX_TOTAL: usize = 16 << 10;
/// Starts that count. Before one more is added those before it count half, and what only one of them read
/// is forgotten.
const MAX_RUNS: u32 = 8;

/// A range that a tar can have.
pub(crate) fn tar_range(start: u64, end: u64) -> Result<Range<u64>, Error> {
    if start < end && i64::try_from(end).is_ok() {
        return Ok(start..end);
    }
    Err(Error::ProfileRange { start, end })
}

/// What the starts of one image read. Bounded in size whatever is put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Between 1 and [`MAX_RUNS`].
    runs: u32,
    /// By the text of the digest; none is empty.
    layers: BTreeMap<String, (Digest, LayerProfile)>,
}

impl Default for Profile {
    fn default() -> Self {
        Self::new()
    }
}

impl Profile {
    /// The profile of one start, which has read nothing yet.
    pub fn new() -> Self {
        Self {
            runs: 1,
            layers: BTreeMap::new(),
        }
    }

    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        json::parse(json)
    }

    /// One line, the same for the same profile, no longer than [`MAX_LEN`].
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        json::write(self)
    }

    /// How many starts it stands for; those long ago no longer count.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    pub fn layer(&self, layer: &Digest) -> Option<&LayerProfile> {
        self.layers.get(layer.as_ref()).map(|(_, profile)| profile)
    }

    /// In the order of their digests.
    pub fn layers(&self) -> impl Iterator<Item = (&Digest, &LayerProfile)> {
        self.layers
            .values()
            .map(|(digest, profile)| (digest, profile))
    }

    /// Takes what was read of a layer, in place of what was known of it. Nothing is kept of a layer that was
    /// not read, nor of the layers that were read last when there are more than [`MAX_LAYERS`].
    pub fn insert(&mut self, layer: Digest, profile: LayerProfile) {
        let key = layer.to_string();
        if profile.reads().is_empty() {
            self.layers.remove(&key);
            return;
        }
        self.layers.insert(key, (layer, profile));
        self.bound();
    }

    /// Adds the starts that another profile stands for. The order of the two does not matter.
    ///
    /// What either has read is in the result, with its earliest time; but when more than [`MAX_RUNS`] starts
    /// come together, the older side counts half, and what only one of its starts has read is forgotten.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.runs + other.runs > MAX_RUNS {
            let (mine, theirs) = (self.runs, other.runs);
            if mine >= theirs {
                self.halve();
            }
            if theirs >= mine {
                other.halve();
            }
        }
        self.runs += other.runs;
        for (key, (digest, theirs)) in other.layers {
            match self.layers.get_mut(&key) {
                Some((_, mine)) => mine.merge(&theirs),
                None => {
                    self.layers.insert(key, (digest, theirs));
                }
            }
        }
        self.bound();
    }

    fn halve(&mut self) {
        self.runs = (self.runs / 2).max(1);
        self.layers.retain(|_, (_, profile)| {
            profile.halve();
            !profile.reads().is_empty()
        });
    }

    fn bound(&mut self) {
        while self.layers.len() > MAX_LAYERS {
            let first = |profile: &LayerProfile| profile.reads().first().map(|read| read.at_ms);
            let last = self
                .layers
                .iter()
                .max_by_key(|(key, (_, profile))| (first(profile), *key))
                .map(|(key, _)| key.clone());
            last.and_then(|last| self.layers.remove(&last));
        }
        let lengths = || self.layers.values().map(|(_, p)| p.reads().len());
        if lengths().sum::<usize>() <= MAX_TOTAL {
            return;
        }
        // The longest give way.
        let (mut fits, mut too_many) = (0, MAX_RANGES + 1);
        while too_many - fits > 1 {
            let middle = fits.midpoint(too_many);
            if lengths().map(|len| len.min(middle)).sum::<usize>() <= MAX_TOTAL {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        for (_, profile) in self.layers.values_mut() {
            profile.bound(fits);
        }
    }
}
