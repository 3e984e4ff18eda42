//! Checkpoint blobs that lie, and spans as older builders made them.

use std::io::Write;

use soci::Error;
use soci::spans::SpanId;
use soci::ztoc::{Limits, Ztoc};

use crate::blob::{self, Blob};
use crate::fixture::{self, Layer};
use crate::hostile::{files, parse, refused};

#[test]
fn checkpoint_counts_must_agree_with_the_blob() {
    for have in [i32::MIN, -1, 0, 1, 4, 5, i32::MAX] {
        let error = refused(|b| b.checkpoints[..4].copy_from_slice(&have.to_le_bytes()));
        assert!(
            matches!(error, Error::CheckpointLength { .. }),
            "{have}: {error}"
        );
    }
    for len in [0, 3, 11, 12, 13, 12 + 32_785, 12 + 2 * 32_785 - 1] {
        let error = refused(|b| b.checkpoints.truncate(len));
        assert!(
            matches!(
                error,
                Error::CheckpointLength { .. } | Error::Checkpoint { .. }
            ),
            "{len}: {error}"
        );
    }
    let error = refused(|b| b.checkpoints.push(0));
    assert!(matches!(error, Error::CheckpointLength { .. }), "{error}");
    for max in [-1, 0, 2, i32::MAX, i32::MIN] {
        let error = refused(|b| b.max_span_id = max);
        assert!(
            matches!(error, Error::SpanCount { spans: 2, .. }),
            "{error}"
        );
    }
    for count in [0, 1, 3] {
        let error = refused(|b| b.digests = vec![blob::digest(); count]);
        assert!(
            matches!(error, Error::SpanCount { spans: 2, .. }),
            "{error}"
        );
    }
}

#[test]
fn digests_must_be_lowercase_sha256() {
    let hex = "0".repeat(64);
    for text in [
        String::new(),
        "sha256:".to_owned(),
        hex.clone(),
        format!("sha256:{hex}0"),
        format!("sha256:{}A", &hex[1..]),
        format!("sha512:{hex}"),
        format!("sha256:{}g", &hex[1..]),
    ] {
        let error = refused(|b| b.digests[1] = text.clone().into_bytes());
        assert!(matches!(error, Error::Digest { .. }), "{text}: {error}");
    }
}

#[test]
fn checkpoints_out_of_order_are_refused() {
    for records in [
        [(10, 1, 0), (2_000, 4_000, 3)],
        [(10, 0, 1), (2_000, 4_000, 3)],
        [(10, 0, 0), (10, 4_000, 3)],
        [(10, 0, 0), (9, 4_000, 3)],
        [(10, 0, 0), (2_000, 0, 3)],
        [(10, 0, 0), (5_001, 4_000, 0)],
        [(10, 0, 0), (2_000, 4_000, 8)],
        [(10, 0, 0), (2_000, 4_000, 255)],
        [(-10, 0, 0), (2_000, 4_000, 3)],
        [(10, 0, 0), (2_000, i64::MIN, 3)],
    ] {
        let error = refused(|b| b.checkpoints = blob::checkpoints(2, &records));
        assert!(
            matches!(error, Error::Checkpoint { .. }),
            "{records:?}: {error}"
        );
    }
}

#[test]
fn spans_too_large_to_hold_are_refused() {
    let big = 64 << 20;
    let at = |compressed, uncompressed| {
        parse(|b| {
            b.compressed_size = compressed;
            b.uncompressed_size = uncompressed;
            files(b).truncate(2);
        })
    };
    assert!(at(1_999 + big, 8_192).is_ok());
    assert!(matches!(at(2_000 + big, 8_192), Err(Error::Limit { .. })));
    assert!(at(1_999 + big, 4_000 + big).is_ok());
    assert!(matches!(
        at(1_999 + big, 4_001 + big),
        Err(Error::Limit { .. })
    ));
    assert!(at(5_000, 4_000 + 3_001 * 1_032).is_ok());
    assert!(matches!(
        at(5_000, 4_001 + 3_001 * 1_032),
        Err(Error::SpanRatio { span: 1, .. })
    ));
}

#[test]
fn a_tar_that_ends_before_the_last_span_leaves_that_span_empty() {
    let ztoc = parse(|b| {
        b.uncompressed_size = 3_584;
        files(b)[2].size = 1_536;
    });
    let spans = ztoc.unwrap().spans;
    assert_eq!(spans.uncompressed(SpanId(1)), Some(4_000..4_000));
    assert_eq!(spans.covering(0..u64::MAX), 0..1);
    let (compressed, window) = (vec![0; 3_001], vec![0; 32_768]);
    assert_eq!(
        spans.inflate(SpanId(1), &compressed, &window),
        Ok(Vec::new())
    );
}

fn tar_blob(span_size: i64, size: i64, spans: i32) -> impl FnOnce(&mut Blob) {
    move |b| {
        b.algorithm = 2;
        b.compressed_size = 10_240;
        b.checkpoints = blob::tar_checkpoints(span_size, size);
        b.max_span_id = spans - 1;
        b.digests = vec![blob::digest(); usize::try_from(spans).unwrap()];
    }
}

#[test]
fn spans_of_an_uncompressed_layer_are_of_one_size() {
    let spans = parse(tar_blob(4_096, 10_240, 3)).unwrap().spans;
    assert_eq!(spans.compressed(SpanId(2)), Some(8_192..10_240));
    assert_eq!(spans.uncompressed(SpanId(2)), Some(8_192..8_192));
    assert_eq!(spans.uncompressed(SpanId(1)), Some(4_096..8_192));
    assert_eq!(spans.header(), 0..0);
    assert_eq!(parse(tar_blob(5_120, 10_240, 2)).unwrap().spans.len(), 2);

    assert!(matches!(
        refused(tar_blob(5_120, 10_240, 3)),
        Error::SpanCount { spans: 2, .. }
    ));
    assert!(matches!(
        refused(tar_blob(0, 10_240, 3)),
        Error::Checkpoint { .. }
    ));
    assert!(matches!(
        refused(tar_blob(-1, 10_240, 3)),
        Error::Checkpoint { .. }
    ));
    assert!(matches!(
        refused(tar_blob(i64::MIN, 10_240, 1)),
        Error::Checkpoint { .. }
    ));
    assert!(matches!(
        refused(tar_blob(4_096, 10_239, 3)),
        Error::LayerSize { .. }
    ));
    let tiny = refused(tar_blob(1, 10_240, 3));
    assert!(
        matches!(tiny, Error::SpanCount { spans: 10_240, .. }),
        "{tiny}"
    );
}

/// The first checkpoint of old blobs is not written but supposed.
#[test]
fn a_version_1_checkpoint_blob_reads_like_version_2() {
    let layer = Layer::load("pax.ztoc", "pax.tar.gz");
    let window = layer.ztoc.spans.window(SpanId(1)).unwrap().blob.start;
    let first = usize::try_from(window).unwrap() - 17 - 32_785;
    let stored = |start| &layer.blob[start..first + 5 * 32_785];
    for (name, start) in [("version 2", first), ("version 1", first + 32_785)] {
        let blob = Blob {
            compressed_size: 409_259,
            uncompressed_size: 617_984,
            files: Some(Vec::new()),
            max_span_id: 4,
            digests: vec![blob::digest(); 5],
            checkpoints: [&blob::checkpoints(5, &[]), stored(start)].concat(),
            ..Blob::default()
        };
        let blob = blob.build();
        let spans = Ztoc::parse(&blob, &Limits::default()).unwrap().spans;
        for span in (0..5).map(SpanId) {
            assert_eq!(
                spans.compressed(span),
                layer.ztoc.spans.compressed(span),
                "{name}"
            );
            let window = spans
                .window(span)
                .map_or([].as_slice(), |w| fixture::slice(&blob, w.blob));
            assert_eq!(window, layer.window(span), "{name}");
            let inflated = spans.inflate(span, layer.compressed(span), window).unwrap();
            let expected = fixture::slice(&layer.tar, spans.uncompressed(span).unwrap());
            assert!(inflated == expected, "{name} {span:?}");
        }
    }
}

/// One span over all of `members`, as builders before multi-member support made it.
fn inflate_members(members: &[Vec<u8>], len: usize) -> Result<Vec<u8>, Error> {
    let layer = members.concat();
    let blob = Blob {
        compressed_size: i64::try_from(layer.len()).unwrap(),
        uncompressed_size: i64::try_from(len).unwrap(),
        files: Some(Vec::new()),
        max_span_id: 0,
        digests: vec![blob::digest()],
        checkpoints: blob::checkpoints(1, &[(10, 0, 0)]),
        ..Blob::default()
    };
    let spans = Ztoc::parse(&blob.build(), &Limits::default())
        .unwrap()
        .spans;
    spans.inflate(SpanId(0), &layer[10..], &[])
}

fn member(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_span_runs_through_the_members_it_holds() {
    let content = b"several members make one stream. ".repeat(1000);
    let mut named = member(&content[10..5_000]);
    named[3] = 8;
    named.splice(10..10, *b"name\0");
    let members = [
        member(&content[..10]),
        member(b""),
        named,
        member(b""),
        member(&content[5_000..]),
    ];
    for len in [1, 9, 10, 11, 4_999, 5_000, 5_001, content.len()] {
        assert_eq!(
            inflate_members(&members, len).as_deref(),
            Ok(&content[..len]),
            "{len}"
        );
    }
    let short = inflate_members(&members, content.len() + 1);
    let (expected, actual) = (content.len() as u64 + 1, content.len() as u64);
    assert_eq!(
        short,
        Err(Error::SpanShort {
            span: 0,
            expected,
            actual
        })
    );
}

#[test]
fn damage_between_members_is_noticed() {
    let content = b"0123456789".repeat(10);
    let whole = [member(&content), member(&content), member(&content)];
    let broken = |member: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut members = whole.clone();
        change(&mut members[member]);
        inflate_members(&members, 300)
    };
    assert!(broken(0, &|_| {}).is_ok());
    let checksum = broken(1, &|member| *member.iter_mut().rev().nth(5).unwrap() ^= 1);
    assert!(
        matches!(checksum, Err(Error::Inflate { .. })),
        "{checksum:?}"
    );
    let magic = broken(1, &|member| member[0] = 0);
    assert!(matches!(magic, Err(Error::Inflate { .. })), "{magic:?}");
    let garbage = broken(1, &|member| member.push(0));
    assert!(matches!(garbage, Err(Error::Inflate { .. })), "{garbage:?}");
    let cut = broken(2, &|member| member.truncate(15));
    assert!(
        matches!(cut, Err(Error::SpanShort { actual: 200.., .. })),
        "{cut:?}"
    );
}
