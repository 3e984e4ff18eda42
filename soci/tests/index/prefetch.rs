//! From paths to spans.

use std::ops::Range;

use soci::prefetch::{self, Artifact, Requests};
use soci::spans::SpanTable;
use soci::toc::{Kind, Member, Toc, TocBuilder};
use soci::ztoc::Limits;
use soci::{Error, canonical};

use crate::layout::{self, PREFETCH};

/// Spans of one block each, so that a span is where its bytes are.
const SPAN: u64 = 512;

/// A layer with these files of one block; names that end in a slash are directories.
fn layer(names: &[&str]) -> Toc {
    let mut builder = TocBuilder::new(&Limits::default());
    let mut offset = 512;
    for name in names {
        let (name, target) = name.split_once("->").unwrap_or((name, ""));
        let kind = match target {
            "" if name.ends_with('/') => Kind::Dir,
            "" => Kind::Reg,
            _ => Kind::Hardlink,
        };
        let size = if kind == Kind::Reg { 512 } else { 0 };
        let member = Member {
            name: name.as_bytes(),
            linkname: target.as_bytes(),
            kind,
            size,
            offset,
            ..Member::default()
        };
        builder.push(&member).unwrap();
        offset += size + 512;
    }
    builder.finish(offset).unwrap()
}

fn spans(requests: &mut Requests, names: &[&str]) -> Vec<Range<u32>> {
    let toc = layer(names);
    requests.layer(&toc, &SpanTable::whole(toc.archive_size(), SPAN))
}

/// What the paths find in a single layer: names, by position, or nothing at all.
fn check(paths: &[&str], names: &[&str], expected: &[Range<u32>]) {
    let mut requests = Requests::new(paths.iter().copied()).unwrap();
    assert_eq!(
        spans(&mut requests, names),
        expected,
        "{paths:?} in {names:?}"
    );
    assert_eq!(
        requests.missing().next().is_some(),
        expected.is_empty(),
        "{paths:?}"
    );
}

#[test]
fn a_name_is_found_however_it_is_written() {
    for name in ["usr/bin/app", "./usr/bin/app", "/usr/bin/app"] {
        for path in [
            "usr/bin/app",
            "/usr/bin/app",
            "./usr//bin/../bin/app",
            "  /usr/bin/app\n",
        ] {
            check(&[path], &["other", name, "usr/bin/apple"], &[2..4]);
        }
    }
    check(&["usr/bin/ap"], &["usr/bin/app"], &[]);
    check(&["app"], &["usr/bin/app"], &[]);
}

#[test]
fn a_directory_stands_for_all_below_it() {
    let names = ["a/", "a/x", "ab", "a/b/", "a/b/y", "z"];
    check(&["a"], &names, &[1..3, 6..8]);
    check(&["/a/b/"], &names, &[6..8]);
    check(&["/"], &names, &[1..5, 6..10]);
    // Also where it has no entry of its own.
    check(&["c"], &["c/d/e"], &[0..2]);
}

#[test]
fn globs_stand_for_files() {
    let names = ["lib/a.so", "lib/b.txt", "lib/x/c.so", "lib/[d].so"];
    check(&["lib/*.so"], &names, &[0..2, 6..8]);
    check(&["**/*.so"], &names, &[0..2, 4..8]);
    check(&["lib/?.txt"], &names, &[2..4]);
    check(&["lib/[d].so"], &names, &[6..8]);
    check(&["lib/*"], &["lib/x/"], &[]);
    check(&["li*"], &names, &[]);
}

#[test]
fn a_hard_link_loads_the_file_it_stands_for() {
    check(&["b"], &["./a", "x", "b->/a"], &[0..2, 4..5]);
}

#[test]
fn upper_layers_hide_what_is_below_them() {
    let check = |paths: &[&str], layers: &[(&[&str], &[Range<u32>])], missing: usize| {
        let mut requests = Requests::new(paths.iter().copied()).unwrap();
        for (names, expected) in layers {
            assert_eq!(
                spans(&mut requests, names),
                *expected,
                "{paths:?} in {names:?}"
            );
        }
        assert_eq!(requests.missing().count(), missing, "{paths:?}");
    };
    check(&["a"], &[(&["a"], &[0..2]), (&["a"], &[])], 0);
    check(
        &["d/*"],
        &[(&["d/a"], &[0..2]), (&["./d/a", "d/b"], &[2..4])],
        0,
    );
    check(&["d/a"], &[(&["d/.wh.a"], &[]), (&["d/a"], &[])], 1);
    check(&["d/e/a"], &[(&[".wh.d"], &[]), (&["d/e/a"], &[])], 1);
    check(
        &["d"],
        &[(&["d/.wh..wh..opq", "d/b"], &[2..4]), (&["d/a"], &[])],
        0,
    );
    check(&["a"], &[(&["x"], &[]), (&["a"], &[0..2])], 0);
    // A whiteout hides nothing of its own layer, and is no file.
    check(&["d/a"], &[(&["d/.wh.a", "d/a"], &[2..4])], 0);
    check(&["d/.wh.a"], &[(&["d/.wh.a"], &[])], 1);
}

#[test]
fn only_spans_with_bytes_of_the_file_are_loaded() {
    let toc = layer(&["a", "b", "c"]);
    // Two blocks a span: header and content of each file.
    let table = SpanTable::whole(toc.archive_size(), 2 * SPAN);
    let mut requests = Requests::new(["b"]).unwrap();
    assert_eq!(requests.layer(&toc, &table), [1..2]);
}

#[test]
fn missing_paths_are_told_as_given() {
    let mut requests = Requests::new(["/no/such", "  ", "a", "*.none"]).unwrap();
    spans(&mut requests, &["a"]);
    assert_eq!(
        requests.missing().collect::<Vec<_>>(),
        ["/no/such", "*.none"]
    );
    assert!(Requests::new(["", " "]).unwrap().is_empty());
}

#[test]
fn paths_no_file_can_have_are_refused() {
    let long = "x".repeat(5000);
    for path in ["a\0b", long.as_str()] {
        let refused = Requests::new([path]);
        assert!(
            matches!(refused, Err(Error::PrefetchPath { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_json_file_is_a_list_of_paths() {
    let paths = Requests::paths_from_json(br#"["/a", "b/*"]"#).unwrap();
    assert_eq!(paths, ["/a", "b/*"]);
    for json in [r#"{"files":[]}"#, r#"["a",]"#, r#"[1]"#, ""] {
        assert!(
            Requests::paths_from_json(json.as_bytes()).is_err(),
            "{json}"
        );
    }
}

fn artifact<const N: usize>(spans: [Range<u32>; N]) -> Result<Vec<u8>, Error> {
    Artifact::of_spans(spans.to_vec()).to_json()
}

#[test]
fn an_artifact_has_the_bytes_of_the_reference_tool() {
    let json = artifact([0..1]).unwrap();
    assert_eq!(json, layout::after(PREFETCH));
    assert_eq!(canonical::digest(&json).unwrap(), layout::digest(PREFETCH));
}

#[test]
fn an_artifact_lists_disjoint_ranges_that_can_be_read_again() {
    let json = artifact([7..8, 0..2, 1..4, 9..9]).unwrap();
    assert_eq!(
        String::from_utf8(json.clone()).unwrap(),
        r#"{"version":"1.0","prefetch_spans":[{"start_span":0,"end_span":3},{"start_span":7,"end_span":7}]}"#
    );
    assert_eq!(
        prefetch::parse(&json, 8),
        Ok(Artifact::of_spans(vec![0..4, 7..8]))
    );
    assert_eq!(artifact([]), Err(Error::PrefetchEmpty));
}
