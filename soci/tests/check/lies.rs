//! Every statement of a zTOC, changed: each change is found.

use crate::fixture;
use crate::layers::{facts, findings};
use crate::leaves::{Leaf, LeafKind, leaves};

/// Changes of one statement that leave it well formed as far as possible.
fn lies(blob: &[u8], leaf: &Leaf) -> Vec<Vec<u8>> {
    let place = leaf.place.clone();
    let mut lies = Vec::new();
    let mut lie = |change: &dyn Fn(&mut [u8])| {
        let mut changed = blob.to_vec();
        change(&mut changed);
        if changed != blob {
            lies.push(changed);
        }
    };
    let flip = |at: usize, bit: u8| move |blob: &mut [u8]| blob[at] ^= bit;
    match leaf.kind {
        LeafKind::Number => {
            for step in [1, 512, -1_i64, -512] {
                lie(&|blob| {
                    let mut word = [0; 8];
                    word[..place.len()].copy_from_slice(&blob[place.clone()]);
                    let value = i64::from_le_bytes(word).wrapping_add(step).to_le_bytes();
                    blob[place.clone()].copy_from_slice(&value[..place.len()]);
                });
            }
            lie(&|blob| blob[place.clone()].fill(0));
            lie(&flip(place.end - 1, 0x80));
        }
        LeafKind::Text => {
            for at in [
                place.start,
                place.start + place.len() / 2,
                place.end.saturating_sub(1),
            ] {
                if place.contains(&at) {
                    lie(&flip(at, 1));
                    lie(&flip(at, 0x80));
                }
            }
            if !place.is_empty() {
                lie(&|blob| {
                    let len = u32::try_from(place.len() - 1).unwrap();
                    blob[place.start - 4..place.start].copy_from_slice(&len.to_le_bytes());
                });
            }
        }
        LeafKind::Bytes => {
            for at in place.clone().step_by(place.len().div_ceil(7)) {
                lie(&flip(at, 1));
            }
            lie(&flip(place.end - 1, 0x80));
        }
    }
    lies
}

fn check(ztoc: &str, layer: &str, span_size: u64) {
    let (blob, layer) = (fixture::read(ztoc), fixture::read(layer));
    let before = findings(&blob, &layer, facts(&blob, &layer, span_size), 1 << 20);
    let (mut told, mut missed) = (0, Vec::new());
    for leaf in leaves(&blob) {
        for lie in lies(&blob, &leaf) {
            told += 1;
            // As a liar would: the digest is that of the changed zTOC.
            if findings(&lie, &layer, facts(&lie, &layer, span_size), 1 << 20) == before {
                missed.push(leaf.name.clone());
            }
        }
    }
    assert!(told > 50, "{ztoc}: {told} lies");
    assert_eq!(
        missed,
        [""; 0],
        "{ztoc}: {} of {told} lies missed",
        missed.len()
    );
}

#[test]
fn every_lie_about_an_uncompressed_layer_is_found() {
    check("tiny-tar.ztoc", "tiny.tar", 4 << 20);
    check("pax-tar.ztoc", "pax.tar", 128 << 10);
}

#[test]
fn every_lie_about_a_gzip_layer_is_found() {
    check("tiny-gz.ztoc", "tiny.tar.gz", 4 << 20);
    check("pax.ztoc", "pax.tar.gz", 128 << 10);
    check("stored.ztoc", "stored.tar.gz", 128 << 10);
}

#[test]
fn every_lie_about_a_layer_of_two_members_is_found() {
    check("multi-2.ztoc", "multi-2.tar.gz", 128 << 10);
}

#[test]
fn every_lie_about_long_names_is_found() {
    check("gnu.ztoc", "gnu.tar.gz", 128 << 10);
}
