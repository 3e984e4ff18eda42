//! Profiles as they are stored and sent.

use serde::{Deserialize, Serialize};

use super::layer::LayerProfile;
use super::ranges::Piece;
use super::{MAX_LAYERS, MAX_LEN, MAX_RANGES, MAX_RUNS, Profile};
use crate::canonical;
use crate::error::Error;

const VERSION: &str = "1.0";

#[derive(Serialize, Deserialize)]
struct Document {
    version: String,
    runs: u32,
    layers: Vec<Layer>,
}

#[derive(Serialize, Deserialize)]
struct Layer {
    digest: String,
    /// Start and end in the tar, milliseconds, number of starts.
    reads: Vec<(u64, u64, u32, u32)>,
}

pub(super) fn parse(json: &[u8]) -> Result<Profile, Error> {
    limit("bytes of a start-up profile", json.len(), MAX_LEN)?;
    let document: Document = canonical::parse("start-up profile", json)?;
    if document.version != VERSION {
        return Err(Error::ProfileVersion(document.version));
    }
    let layers = document.layers;
    limit(
        "layers of a start-up profile",
        layers.len(),
        MAX_LAYERS as u64,
    )?;
    let mut profile = Profile::new();
    profile.runs = document.runs.clamp(1, MAX_RUNS);
    for Layer { digest, reads } in layers {
        limit(
            "ranges of a layer in a start-up profile",
            reads.len(),
            MAX_RANGES as u64,
        )?;
        let layer = canonical::parse_digest("layer of a start-up profile", &digest)?;
        if profile.layer(&layer).is_some() {
            return Err(Error::ProfileLayer(digest));
        }
        let mut pieces = Vec::with_capacity(reads.len());
        for (start, end, at_ms, runs) in reads {
            super::tar_range(start, end)?;
            pieces.push(Piece {
                start,
                end,
                at_ms,
                runs: runs.clamp(1, profile.runs),
            });
        }
        profile.insert(layer, LayerProfile::from_pieces(pieces));
    }
    Ok(profile)
}

pub(super) fn write(profile: &Profile) -> Result<Vec<u8>, Error> {
    let layers = profile.layers().map(|(digest, layer)| Layer {
        digest: digest.to_string(),
        reads: layer
            .iter()
            .map(|(read, runs)| (read.tar.start, read.tar.end, read.at_ms, runs))
            .collect(),
    });
    canonical::to_vec(&Document {
        version: VERSION.to_owned(),
        runs: profile.runs,
        layers: layers.collect(),
    })
}

fn limit(what: &'static str, value: usize, limit: u64) -> Result<(), Error> {
    let value = value as u64;
    if value > limit {
        return Err(Error::Limit { what, value, limit });
    }
    Ok(())
}
