//! Layers of the reference tool, and negative ones.

use soci::canonical;
use soci::check::{LayerCheck, LayerFacts};
use soci::finding::{Finding, Severity};
use soci::ztoc::Limits;

use crate::fixture::{self, LAYERS};

pub(crate) fn facts(ztoc: &[u8], layer: &[u8], span_size: u64) -> LayerFacts {
    LayerFacts {
        layer: canonical::digest(layer).unwrap(),
        size: layer.len() as u64,
        ztoc: canonical::digest(ztoc).unwrap(),
        ztoc_size: ztoc.len() as u64,
        span_size: Some(span_size),
        disable_xattrs: false,
    }
}

pub(crate) fn findings(ztoc: &[u8], layer: &[u8], facts: LayerFacts, piece: usize) -> Vec<Finding> {
    let mut check = LayerCheck::new(ztoc, facts, &Limits::default());
    layer.chunks(piece).for_each(|piece| check.push(piece));
    check.finish()
}

pub(crate) fn codes(findings: &[Finding]) -> Vec<&str> {
    let mut codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    codes.dedup();
    codes
}

fn span_size(ztoc: &str) -> u64 {
    if ztoc.starts_with("tiny") {
        4 << 20
    } else {
        128 << 10
    }
}

#[test]
fn layers_of_the_tool_are_right() {
    for (name, layer, _) in LAYERS {
        let (ztoc, layer) = (fixture::read(name), fixture::read(layer));
        let expected: &[&str] = match name {
            "multi-2.ztoc" => &["multi-member-gzip"],
            _ => &[],
        };
        for piece in [1 << 20, 4096, 1000] {
            let facts = facts(&ztoc, &layer, span_size(name));
            let found = findings(&ztoc, &layer, facts, piece);
            assert_eq!(codes(&found), expected, "{name}: {found:#?}");
        }
    }
}

#[test]
fn a_layer_that_comes_byte_by_byte_is_the_same_layer() {
    for (name, layer) in [
        ("tiny-gz.ztoc", "tiny.tar.gz"),
        ("multi-2.ztoc", "multi-2.tar.gz"),
    ] {
        let (ztoc, layer) = (fixture::read(name), fixture::read(layer));
        let whole = findings(
            &ztoc,
            &layer,
            facts(&ztoc, &layer, span_size(name)),
            1 << 30,
        );
        let bytes = findings(&ztoc, &layer, facts(&ztoc, &layer, span_size(name)), 1);
        assert_eq!(whole, bytes, "{name}");
    }
}

fn check(name: &str, ztoc: &[u8], layer: &[u8], facts: LayerFacts, expected: &str) {
    let found = findings(ztoc, layer, facts, 4096);
    let codes = codes(&found);
    assert!(codes.contains(&expected), "{name}: {found:#?}");
}

#[test]
fn an_omitted_entry_is_found() {
    let ztoc = fixture::read("neg-omitted-entry.ztoc");
    let layer = fixture::read("neg-omitted-entry.tar.gz");
    check(
        "omitted",
        &ztoc,
        &layer,
        facts(&ztoc, &layer, 4 << 20),
        "omitted-entry",
    );
}

#[test]
fn a_global_header_is_found() {
    let ztoc = fixture::read("tiny-gz.ztoc");
    let layer = fixture::read("neg-pax-global.tar.gz");
    check(
        "global",
        &ztoc,
        &layer,
        facts(&ztoc, &layer, 4 << 20),
        "unsupported-member",
    );
}

#[test]
fn what_the_index_says_of_the_layer_is_compared() {
    let (ztoc, layer) = (fixture::read("pax.ztoc"), fixture::read("pax.tar.gz"));
    let right = || facts(&ztoc, &layer, 128 << 10);
    let other = canonical::digest(b"other").unwrap();
    let cases = [
        (
            "layer-digest",
            LayerFacts {
                layer: other.clone(),
                ..right()
            },
        ),
        (
            "ztoc-digest",
            LayerFacts {
                ztoc: other,
                ..right()
            },
        ),
        ("layer-size", LayerFacts { size: 1, ..right() }),
        (
            "ztoc-size",
            LayerFacts {
                ztoc_size: 1,
                ..right()
            },
        ),
        (
            "span-size",
            LayerFacts {
                span_size: Some(1),
                ..right()
            },
        ),
        (
            "disable-xattrs",
            LayerFacts {
                disable_xattrs: true,
                ..right()
            },
        ),
    ];
    for (code, facts) in cases {
        let found = findings(&ztoc, &layer, facts, 4096);
        assert_eq!(codes(&found), [code], "{found:#?}");
    }
}

#[test]
fn a_damaged_layer_is_found_wherever_it_is_damaged() {
    for (ztoc, layer) in [
        ("pax.ztoc", "pax.tar.gz"),
        ("multi-2.ztoc", "multi-2.tar.gz"),
    ] {
        let (ztoc, layer) = (fixture::read(ztoc), fixture::read(layer));
        for at in (0..layer.len()).step_by(layer.len() / 60) {
            let mut damaged = layer.clone();
            damaged[at] ^= 0x10;
            let found = findings(&ztoc, &damaged, facts(&ztoc, &layer, 128 << 10), 4096);
            let codes = codes(&found);
            assert!(codes.contains(&"layer-digest"), "byte {at}: {found:#?}");
            let in_header = at < 10;
            assert!(
                in_header || codes.contains(&"span-digest"),
                "byte {at}: {found:#?}"
            );
        }
        for len in [0, 5, 10, 11, layer.len() / 2, layer.len() - 1] {
            let cut = &layer[..len];
            check(
                "cut",
                &ztoc,
                cut,
                facts(&ztoc, cut, 128 << 10),
                "layer-truncated",
            );
            let whole = facts(&ztoc, cut, 128 << 10);
            check("cut", &ztoc, cut, whole, "layer-size");
        }
        let mut longer = layer.clone();
        longer.extend([0; 100]);
        let facts = facts(&ztoc, &longer, 128 << 10);
        check("padded", &ztoc, &longer, facts.clone(), "layer-size");
        check("padded", &ztoc, &longer, facts, "trailing-bytes");
    }
}

#[test]
fn a_million_faults_are_counted_not_listed() {
    let (ztoc, layer) = (fixture::read("pax-tar.ztoc"), fixture::read("pax.tar"));
    let other = fixture::read("gnu.tar.gz");
    let found = findings(
        &ztoc,
        &fixture::gunzip(&other),
        facts(&ztoc, &layer, 128 << 10),
        4096,
    );
    assert!(found.len() < 200, "{}", found.len());
    assert!(found.is_sorted_by_key(|finding| finding.severity));
    assert!(
        found
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    );
}
