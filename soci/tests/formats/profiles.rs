//! Start-up profiles: what starts read is kept, in order, and never more than fits.

use std::collections::BTreeMap;

use oci_spec::image::Digest;
use proptest::collection::vec;
use proptest::prelude::*;
use soci::Error;
use soci::profile::{FirstRead, LayerProfile, MAX_LAYERS, MAX_LEN, MAX_RANGES, Profile};

fn digest(number: u64) -> Digest {
    format!("sha256:{number:064x}").parse().unwrap()
}

fn read((start, len, at_ms): (u64, u64, u32)) -> FirstRead {
    FirstRead {
        tar: start..start + len,
        at_ms,
    }
}

fn layer(reads: &[(u64, u64, u32)]) -> LayerProfile {
    LayerProfile::new(reads.iter().copied().map(read))
}

/// Offset, length and time of a read.
type Read = (u64, u64, u32);

fn start(layers: &[(u64, &[Read])]) -> Profile {
    let mut profile = Profile::new();
    for (number, reads) in layers {
        profile.insert(digest(*number), layer(reads));
    }
    profile
}

/// Each byte and when it was first read.
fn bytes(profile: &LayerProfile) -> BTreeMap<u64, u32> {
    let reads = profile.reads().iter();
    reads
        .flat_map(|read| read.tar.clone().map(|byte| (byte, read.at_ms)))
        .collect()
}

#[track_caller]
fn check(profile: &LayerProfile) {
    let order: Vec<_> = profile
        .reads()
        .iter()
        .map(|r| (r.at_ms, r.tar.start))
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    assert!(order.len() <= MAX_RANGES, "{}", order.len());
    let mut ranges: Vec<_> = profile.reads().iter().map(|r| r.tar.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.iter().all(|range| !range.is_empty()), "{ranges:?}");
    let apart = |pair: &[std::ops::Range<u64>]| pair[0].end <= pair[1].start;
    assert!(ranges.windows(2).all(apart), "{ranges:?}");
    let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert_eq!(profile.bytes(), total);
}

fn some_reads() -> impl Strategy<Value = Vec<(u64, u64, u32)>> {
    vec((0..200_u64, 0..40_u64, 0..500_u32), 0..40)
}

proptest! {
    #[test]
    fn every_byte_read_is_kept_with_its_first_time(reads in some_reads()) {
        let profile = layer(&reads);
        check(&profile);
        let mut expected = BTreeMap::new();
        for (start, len, at_ms) in &reads {
            for byte in *start..start + len {
                let first = expected.entry(byte).or_insert(*at_ms);
                *first = (*first).min(*at_ms);
            }
        }
        let found = bytes(&profile);
        prop_assert!(found.keys().eq(expected.keys()));
        for (byte, at_ms) in expected {
            // What was read within moments counts as one read.
            prop_assert!(found[&byte] <= at_ms && at_ms - found[&byte] < 32);
        }
    }

    #[test]
    fn what_was_noted_can_be_noted_again(reads in some_reads()) {
        let profile = layer(&reads);
        prop_assert_eq!(LayerProfile::new(profile.reads().iter().cloned()), profile);
    }

    #[test]
    fn merging_keeps_what_either_start_read_in_either_order(a in some_reads(), b in some_reads()) {
        let (a, b) = (start(&[(1, &a)]), start(&[(1, &b), (2, &a)]));
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.merge(&b);
        ba.merge(&a);
        prop_assert_eq!(&ab, &ba);
        prop_assert_eq!(ab.runs(), 2);
        for (digest, merged) in ab.layers() {
            check(merged);
            let mut expected = BTreeMap::new();
            for profile in [a.layer(digest), b.layer(digest)].into_iter().flatten() {
                for (byte, at_ms) in bytes(profile) {
                    let first = expected.entry(byte).or_insert(at_ms);
                    *first = (*first).min(at_ms);
                }
            }
            let found = bytes(merged);
            prop_assert!(found.keys().eq(expected.keys()));
            prop_assert!(expected.iter().all(|(byte, at_ms)| found[byte] <= *at_ms));
        }
    }

    #[test]
    fn merging_a_start_with_itself_adds_no_byte(reads in some_reads()) {
        let once = start(&[(1, &reads)]);
        let mut twice = once.clone();
        twice.merge(&once);
        let read = |profile: &Profile| profile.layer(&digest(1)).map(bytes);
        prop_assert_eq!(read(&once), read(&twice));
    }

    #[test]
    fn a_stored_profile_comes_back_the_same(a in some_reads(), b in some_reads(), c in some_reads()) {
        let mut profile = start(&[(1, &a), (2, &b)]);
        profile.merge(&start(&[(2, &c), (3, &a)]));
        let json = profile.to_json().unwrap();
        let again = Profile::parse(&json).unwrap();
        prop_assert_eq!(&again, &profile);
        prop_assert_eq!(again.to_json().unwrap(), json);
    }

    #[test]
    fn no_bytes_break_the_parser(json in ".{0,200}", at in 0..300_usize, byte: u8) {
        let _ = Profile::parse(json.as_bytes());
        let mut good = start(&[(1, &[(0, 10, 1), (20, 10, 0)])]).to_json().unwrap();
        if let Some(place) = good.get_mut(at) {
            *place = byte;
        }
        if let Ok(profile) = Profile::parse(&good) {
            profile.layers().for_each(|(_, layer)| check(layer));
        }
    }
}

#[test]
fn what_is_read_in_turn_becomes_one_range() {
    let reads: Vec<_> = (0..100).map(|n| (n * 65_536, 65_536, 5)).collect();
    assert_eq!(layer(&reads).reads(), [read((0, 6_553_600, 5))]);
    let apart = layer(&[(0, 10, 900), (10, 10, 0), (30, 10, 0)]);
    let expected = [(10, 10, 0), (30, 10, 0), (0, 10, 900)].map(read);
    assert_eq!(apart.reads(), expected);
}

#[test]
fn what_only_one_of_many_starts_read_is_forgotten_and_what_all_read_is_not() {
    let always = (0, 100, 10);
    let mut profile = start(&[(1, &[always, (1_000, 100, 20)]), (2, &[(0, 1, 0)])]);
    for _ in 0..7 {
        profile.merge(&start(&[(1, &[always])]));
    }
    assert_eq!(profile.runs(), 8);
    assert_eq!(profile.layer(&digest(1)).unwrap().bytes(), 200);
    let last = (5_000, 100, 20);
    profile.merge(&start(&[(1, &[always, last])]));
    assert_eq!(profile.runs(), 5);
    assert_eq!(
        profile.layer(&digest(1)).unwrap().reads(),
        [always, last].map(read)
    );
    assert_eq!(profile.layer(&digest(2)), None);
    for _ in 0..100 {
        profile.merge(&start(&[(1, &[always, last])]));
        assert_eq!(profile.layer(&digest(1)).unwrap().bytes(), 200);
    }
}

#[test]
fn many_ranges_are_joined_over_narrow_gaps_first_and_then_the_last_are_left_out() {
    let near = (0..5_000).map(|n| (n * 100, 50, u32::try_from(n).unwrap()));
    let profile = LayerProfile::new(near.map(read));
    check(&profile);
    assert_eq!(profile.reads().len(), MAX_RANGES);
    assert!(profile.bytes() >= 5_000 * 50);
    let far = (0..5_000).map(|n| (n << 30, 50, 5_000 - u32::try_from(n).unwrap()));
    let profile = LayerProfile::new(far.map(read));
    check(&profile);
    assert_eq!(profile.reads().len(), MAX_RANGES);
    assert_eq!(profile.reads()[0], read((4_999 << 30, 50, 1)));
}

#[test]
fn a_profile_never_outgrows_what_is_read() {
    let mut profile = Profile::new();
    for round in 0..20_u64 {
        let mut run = Profile::new();
        for number in 0..200 {
            let far = (0..5_000).map(|n| FirstRead {
                tar: (n << 50) + (round << 40)..(n << 50) + (round << 40) + (1 << 39),
                at_ms: u32::MAX - u32::try_from(n).unwrap(),
            });
            run.insert(digest(round * 50 + number), LayerProfile::new(far));
        }
        profile.merge(&run);
        assert_eq!(profile.layers().count(), MAX_LAYERS);
    }
    profile.layers().for_each(|(_, layer)| check(layer));
    let json = profile.to_json().unwrap();
    assert!(json.len() as u64 <= MAX_LEN, "{}", json.len());
    assert_eq!(Profile::parse(&json).unwrap(), profile);
}

#[test]
fn a_layer_that_was_not_read_is_not_listed() {
    let mut profile = start(&[(1, &[]), (2, &[(0, 1, 0)])]);
    assert_eq!(profile.layers().count(), 1);
    profile.insert(digest(2), LayerProfile::default());
    assert!(profile.is_empty());
}

#[test]
fn what_is_no_profile_is_refused_with_its_reason() {
    let check = |json: &str, reason: &str| {
        let error = Profile::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{json}: {error}");
    };
    let d = digest(1);
    let one = |reads: &str| {
        format!(r#"{{"version":"1.0","runs":1,"layers":[{{"digest":"{d}","reads":[{reads}]}}]}}"#)
    };
    assert!(Profile::parse(one("[0,1,0,1]").as_bytes()).is_ok());
    check("", "start-up profile is not valid JSON of its kind");
    check("[]", "not valid JSON of its kind");
    check(
        r#"{"version":"2.0","runs":1,"layers":[]}"#,
        "has version \"2.0\"",
    );
    check(&one("[1,1,0,1]"), "bytes 1 to 1");
    check(&one("[2,1,0,1]"), "bytes 2 to 1");
    check(
        &one("[0,9223372036854775808,0,1]"),
        "no tar has such a range",
    );
    check(&one("[0,-1,0,1]"), "not valid JSON of its kind");
    check(&one("[0,1,0]"), "not valid JSON of its kind");
    check(&one("[0,1,4294967296,1]"), "not valid JSON of its kind");
    check(
        &one(&["[0,1,0,1]"; 4097].join(",")),
        "exceeds the limit of 4096",
    );
    check(
        &one("[0,1,0,1]").replace("sha256", "sha512"),
        "not a sha256 digest",
    );
    let twice = format!(r#"{{"digest":"{d}","reads":[[0,1,0,1]]}}"#);
    let twice = format!(r#"{{"version":"1.0","runs":1,"layers":[{twice},{twice}]}}"#);
    check(&twice, "twice");
    let many: Vec<_> = (0..128)
        .map(|n| format!(r#"{{"digest":"{}","reads":[]}}"#, digest(n)))
        .collect();
    let many = format!(
        r#"{{"version":"1.0","runs":1,"layers":[{}]}}"#,
        many.join(",")
    );
    check(&many, "exceeds the limit of 127");
    let huge = Profile::parse(&vec![b' '; (1 << 20) + 1]);
    assert!(matches!(huge, Err(Error::Limit { .. })), "{huge:?}");
}

#[test]
fn counts_beyond_what_counts_are_cut() {
    let json = format!(
        r#"{{"version":"1.0","runs":4000000000,"layers":[{{"digest":"{}","reads":[[0,1,0,4000000000],[5,9,0,0]]}}]}}"#,
        digest(1)
    );
    let mut profile = Profile::parse(json.as_bytes()).unwrap();
    assert_eq!(profile.runs(), 8);
    for _ in 0..4 {
        profile.merge(&Profile::new());
    }
    assert_eq!(
        profile.layer(&digest(1)).unwrap().reads(),
        [read((0, 1, 0))]
    );
}
