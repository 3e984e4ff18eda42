//! SOCI indexes and prefetch artifacts.

use std::ops::Range;

use oci_spec::image::Digest;
use soci::index::{IndexVersion, SociIndex};
use soci::prefetch::{self, Artifact};
use soci::profile::{FirstRead, LayerProfile};
use soci::{Error, annotations, media_types};

use crate::fixture;

const LAYER_A: &str = "sha256:4c4e733498fea5eb8bfb14b449439975af3a813ba35a27ad7717a825987c5cc4";
const LAYER_B: &str = "sha256:97052f15efc5dd1ee76cb3278294d34b33e263b1114622921a759b797218d0c1";
const ZTOC_A: &str = "sha256:567c838730b30e49415d82d842bd8af0a1284ba4cc46f43aec91924799d4e827";
const ZTOC_B: &str = "sha256:ffbb8cef721b3d1b8ba5a049db5b8ae4f9cac9806f27ca85b7164575fcc8f79b";

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

fn descriptor(media_type: &str, digest: &str, layer: &str, more: &str) -> String {
    let key = annotations::LAYER_DIGEST;
    format!(
        r#"{{"mediaType":"{media_type}","digest":"{digest}","size":7,"annotations":{{"{key}":"{layer}"{more}}}}}"#
    )
}

fn ztoc(digest: &str, layer: &str) -> String {
    descriptor(media_types::ZTOC, digest, layer, "")
}

fn index(config: &str, layers: &[String]) -> Result<SociIndex, Error> {
    let layers = layers.join(",");
    let json = format!(
        r#"{{"schemaVersion":2,"artifactType":"x/y","config":{{"mediaType":"{config}","digest":"{ZTOC_A}","size":2}},
            "layers":[{layers}],"unknown":[{{}}]}}"#
    );
    SociIndex::parse(json.as_bytes())
}

#[test]
fn an_index_of_the_tool_names_the_ztoc_of_each_layer() {
    let index = SociIndex::parse(&fixture::read("index-v2.json")).unwrap();
    assert_eq!(index.version, IndexVersion::V2);
    assert_eq!(index.ztocs().count(), 2);
    for (layer, ztoc) in [(LAYER_A, ZTOC_A), (LAYER_B, ZTOC_B)] {
        let found = index.ztoc(&digest(layer)).unwrap();
        assert_eq!((&found.digest, found.size), (&digest(ztoc), 33_360));
        assert_eq!(found.layer, digest(layer));
        assert!(found.disable_xattrs);
        assert_eq!(index.prefetch(&digest(layer)).unwrap().size(), 66);
    }
    assert!(index.ztoc(&digest(ZTOC_A)).is_none());
}

#[test]
fn a_prefetch_artifact_never_replaces_a_ztoc_and_the_last_ztoc_counts() {
    let prefetch = |digest| descriptor(media_types::PREFETCH, digest, LAYER_A, "");
    let layers = [
        prefetch(LAYER_B),
        ztoc(ZTOC_B, LAYER_A),
        ztoc(ZTOC_A, LAYER_A),
        prefetch(ZTOC_B),
        descriptor("text/plain", "sha512:short", "nonsense", ""),
    ];
    let found = index(media_types::INDEX_V1, &layers[..4]).unwrap();
    assert_eq!(found.version, IndexVersion::V1);
    assert_eq!(found.ztoc(&digest(LAYER_A)).unwrap().digest, digest(ZTOC_A));
    assert_eq!(
        *found.prefetch(&digest(LAYER_A)).unwrap().digest(),
        digest(LAYER_B)
    );
    assert_eq!(found.ztocs().count(), 1);
}

#[test]
fn attributes_are_off_only_for_what_go_calls_true() {
    for (value, expected) in [
        ("true", true),
        ("T", true),
        ("1", true),
        ("yes", false),
        ("", false),
    ] {
        let more = format!(r#","{}":"{value}""#, annotations::DISABLE_XATTRS);
        let layer = descriptor(media_types::ZTOC, ZTOC_A, LAYER_A, &more);
        let index = index(media_types::INDEX_V2, &[layer]).unwrap();
        assert_eq!(
            index.ztoc(&digest(LAYER_A)).unwrap().disable_xattrs,
            expected,
            "{value}"
        );
    }
}

#[test]
fn what_is_no_index_is_refused() {
    let image = index("application/vnd.oci.image.config.v1+json", &[]);
    assert!(matches!(image, Err(Error::IndexType(_))), "{image:?}");
    let sha512 = format!("sha512:{}", "0".repeat(128));
    for layer in ["nonsense", "sha256:00", sha512.as_str()] {
        let bad = index(media_types::INDEX_V2, &[ztoc(ZTOC_A, layer)]);
        assert!(matches!(bad, Err(Error::Digest { .. })), "{bad:?}");
    }
    let bad = index(media_types::INDEX_V2, &[ztoc(&sha512, LAYER_A)]);
    assert!(matches!(bad, Err(Error::Digest { .. })), "{bad:?}");
    for json in ["", "{}", "[]", "null", r#"{"config":{}}"#] {
        let bad = SociIndex::parse(json.as_bytes());
        assert!(matches!(bad, Err(Error::Json { .. })), "{json}");
    }
    let huge = SociIndex::parse(&vec![b' '; (4 << 20) + 1]);
    assert!(matches!(huge, Err(Error::Limit { .. })), "{huge:?}");
    let deep = SociIndex::parse("[".repeat(1 << 20).as_bytes());
    assert!(matches!(deep, Err(Error::Json { .. })), "{deep:?}");
}

fn check(ranges: &str, spans: u32, expected: &[(u32, u32)]) {
    let expected: Vec<Range<u32>> = expected.iter().map(|(start, end)| *start..*end).collect();
    let json = format!(r#"{{"version":"1.0","prefetch_spans":[{ranges}]}}"#);
    assert_eq!(
        prefetch::parse(json.as_bytes(), spans),
        Ok(Artifact::of_spans(expected)),
        "{ranges}"
    );
}

#[test]
fn prefetch_ranges_become_disjoint() {
    let first = prefetch::parse(&fixture::read("prefetch.json"), 1).unwrap();
    assert_eq!(first, Artifact::of_spans(std::iter::once(0..1).collect()));
    check(
        r#"{"start_span":2,"end_span":4,"priority":3}"#,
        5,
        &[(2, 5)],
    );
    check(
        r#"{"start_span":7,"end_span":7},{"start_span":0,"end_span":3},{"start_span":2,"end_span":2},{"start_span":4,"end_span":5}"#,
        8,
        &[(0, 6), (7, 8)],
    );
}

#[test]
fn prefetch_ranges_outside_the_layer_are_refused() {
    for (start, end) in [
        (-1, 0),
        (0, 5),
        (3, 2),
        (0, i64::from(i32::MAX)),
        (1 << 40, 1 << 40),
    ] {
        let json = format!(
            r#"{{"version":"1.0","prefetch_spans":[{{"start_span":{start},"end_span":{end}}}]}}"#
        );
        let expected = Err(Error::PrefetchRange {
            start,
            end,
            spans: 5,
        });
        assert_eq!(prefetch::parse(json.as_bytes(), 5), expected);
    }
    let empty = br#"{"version":"1.0","prefetch_spans":[]}"#;
    assert_eq!(prefetch::parse(empty, 5), Err(Error::PrefetchEmpty));
    let newer = br#"{"version":"2.0","prefetch_spans":[{"start_span":0,"end_span":0}]}"#;
    assert_eq!(
        prefetch::parse(newer, 5),
        Err(Error::PrefetchVersion("2.0".to_owned()))
    );
}

#[test]
fn what_a_start_reads_travels_beside_the_spans() {
    let reads = [(0..70_000, 3), (1 << 20..2 << 20, 0)];
    let reads = reads.map(|(tar, at_ms)| FirstRead { tar, at_ms });
    let artifact = Artifact {
        spans: vec![0..1, 3..4],
        reads: LayerProfile::new(reads).reads().to_vec(),
    };
    let json = artifact.to_json().unwrap();
    assert_eq!(
        String::from_utf8(json.clone()).unwrap(),
        concat!(
            r#"{"version":"1.0","prefetch_spans":[{"start_span":0,"end_span":0},{"start_span":3,"end_span":3}],"#,
            r#""tar_reads":[[1048576,2097152,0],[0,70000,3]]}"#
        )
    );
    assert_eq!(prefetch::parse(&json, 4), Ok(artifact));
}

#[test]
fn reads_that_no_tar_has_are_refused() {
    let check = |reads: &str, expected: Result<usize, &str>| {
        let json = format!(
            r#"{{"version":"1.0","prefetch_spans":[{{"start_span":0,"end_span":0}}],"tar_reads":{reads}}}"#
        );
        match (prefetch::parse(json.as_bytes(), 1), expected) {
            (Ok(artifact), Ok(len)) => assert_eq!(artifact.reads.len(), len, "{reads}"),
            (Err(error), Err(reason)) => {
                assert!(error.to_string().contains(reason), "{reads}: {error}");
            }
            (found, _) => panic!("{reads}: {found:?}"),
        }
    };
    check("null", Ok(0));
    check("[]", Ok(0));
    check("[[0,5,0],[3,9,0]]", Ok(1));
    check("[[5,5,0]]", Err("no tar has such a range"));
    check(
        "[[0,18446744073709551615,0]]",
        Err("no tar has such a range"),
    );
    check("[[0,1]]", Err("not valid JSON"));
    check("{}", Err("not valid JSON"));
    let many = vec!["[0,1,0]"; 4097].join(",");
    check(&format!("[{many}]"), Err("exceeds the limit of 4096"));
}
