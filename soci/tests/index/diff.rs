//! Differences in words.

use soci::diff::{self, Difference};

use crate::fixture;
use crate::layout::{self, LAYERS, SOCI_INDEX};

fn texts(differences: &[Difference]) -> Vec<String> {
    let texts = differences.iter();
    texts
        .map(|d| format!("{}: {}", d.subject, d.text))
        .collect()
}

#[test]
fn the_same_has_no_differences() {
    let index = layout::after(SOCI_INDEX);
    assert_eq!(diff::indexes(&index, &index), Ok(Vec::new()));
    let ztoc = fixture::read("pax.ztoc");
    assert_eq!(diff::ztocs(&ztoc, &ztoc), Ok(Vec::new()));
}

#[test]
fn changes_of_an_index_are_told_by_layer() {
    let old = String::from_utf8(layout::after(SOCI_INDEX)).unwrap();
    let check = |from: &str, to: &str, expected: &str| {
        let new = old.replacen(from, to, 1);
        let found = texts(&diff::indexes(old.as_bytes(), new.as_bytes()).unwrap());
        assert!(
            found.iter().any(|text| text.contains(expected)),
            "{found:?}"
        );
    };
    let (layer, ztoc) = LAYERS[0];
    check(
        ztoc,
        &"0".repeat(64),
        &format!("sha256:{layer}: its zTOC was sha256:{ztoc}, is sha256:000"),
    );
    check(
        "4194304",
        "1",
        "its annotation com.amazon.soci.span-size was \"4194304\", is \"1\"",
    );
    check(
        "v0.2",
        "v0.3",
        "build-tool-identifier was \"AWS SOCI CLI v0.2\"",
    );
    check("index.v2", "index.v1", "config type");
    check("octet-stream", "x", "is gone");
    check("{\"schema", "{ \"schema", "in other bytes");
    let (fewer, more) = (old.replacen("octet-stream", "x", 1), &old);
    let found = texts(&diff::indexes(fewer.as_bytes(), more.as_bytes()).unwrap());
    assert_eq!(
        found,
        [format!("sha256:{layer}: it has a zTOC now, sha256:{ztoc}")]
    );
}

#[test]
fn changes_of_a_ztoc_are_told_by_entry_and_span() {
    let (old, new) = (
        fixture::read("tiny-tar.ztoc"),
        fixture::read("tiny-gz.ztoc"),
    );
    let found = texts(&diff::ztocs(&old, &new).unwrap());
    assert!(
        found.iter().any(|text| text.starts_with("compression: ")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|text| text.starts_with("span 0: its digest")),
        "{found:?}"
    );
    let (pax, gnu) = (fixture::read("pax.ztoc"), fixture::read("gnu.ztoc"));
    let there = diff::ztocs(&pax, &gnu).unwrap();
    let back = diff::ztocs(&gnu, &pax).unwrap();
    assert_eq!(there.len(), back.len());
    assert!(!there.is_empty());

    let name = b"\x01\0\0\0s\0";
    let at = old
        .windows(name.len())
        .position(|bytes| bytes == name)
        .unwrap();
    let mut renamed = old.clone();
    renamed[at + 4] = b'r';
    let found = texts(&diff::ztocs(&old, &renamed).unwrap());
    assert_eq!(found, [r#""s": its name was "s", is "r""#]);
}

#[test]
fn what_is_neither_is_refused() {
    assert!(diff::indexes(b"{}", b"{}").is_err());
    assert!(diff::ztocs(b"", b"").is_err());
}
