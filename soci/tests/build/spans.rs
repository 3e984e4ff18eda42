//! Where spans start, and that each of them gives back its piece of the tar.

use std::io::Write;

use flate2::write::GzEncoder;
use soci::build::Built;
use soci::spans::{SpanId, WINDOW};
use soci::toc::EntryId;
use soci::ztoc::{Limits, Ztoc};

use crate::layer::{build_gzip, build_tar, file, gzip, noise, tar};

/// Reads every span back as a mounted layer would, and returns where they start: offset in the layer, in the
/// tar.
pub(crate) fn check(built: &Built, blob: &[u8], content: &[u8]) -> Vec<(u64, u64)> {
    let ztoc = Ztoc::parse(&built.ztoc, &Limits::default()).unwrap();
    assert_eq!(ztoc.spans.len(), built.spans);
    assert_eq!(ztoc.spans.compressed_size(), blob.len() as u64);
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let mut starts = Vec::new();
    let mut end = 0;
    for span in (0..built.spans).map(SpanId) {
        let compressed = ztoc.spans.compressed(span).unwrap();
        let bytes = &blob[at(compressed.start)..at(compressed.end)];
        ztoc.spans.verify(span, bytes).unwrap();
        let window = ztoc.spans.window(span);
        let window = window.map_or(&[][..], |window| {
            &built.ztoc[at(window.blob.start)..at(window.blob.end)]
        });
        let range = ztoc.spans.uncompressed(span).unwrap();
        let expected = &content[at(range.start)..at(range.end)];
        assert!(
            ztoc.spans.inflate(span, bytes, window).unwrap() == expected,
            "{span:?}"
        );
        starts.push((compressed.start, range.start));
        end = range.end;
    }
    assert_eq!(end, ztoc.spans.uncompressed_size());
    starts
}

fn big_tar(seed: u32) -> Vec<u8> {
    tar(&[
        file("a", &noise(300_000, seed)),
        file("b", b""),
        file("c", &noise(400_000, seed + 1)),
    ])
}

#[test]
fn every_span_gives_back_its_piece_of_the_tar() {
    let content = big_tar(1);
    let blob = gzip(&content);
    for span_size in [0, 1, 10_000, 100_000, 1 << 20] {
        let built = build_gzip(&blob, span_size).unwrap();
        let starts = check(&built, &blob, &content);
        assert_eq!(starts[0], (10, 0));
        for pair in starts.windows(2) {
            assert!(pair[1].1 - pair[0].1 > span_size, "{starts:?}");
        }
        assert_eq!(starts.len() == 1, span_size == 1 << 20, "{starts:?}");
    }
}

#[test]
fn a_plain_tar_is_cut_at_multiples_of_the_span_size() {
    let content = tar(&[file("a", &noise(2_000, 1))]);
    assert_eq!(content.len(), 3_584);
    let starts = |span_size| {
        let built = build_tar(&content, span_size).unwrap();
        let starts = check(&built, &content, &content);
        starts.iter().map(|start| start.0).collect::<Vec<_>>()
    };
    assert_eq!(starts(1_000), [0, 1_000, 2_000, 3_000]);
    assert_eq!(starts(1_792), [0, 1_792]);
    assert_eq!(starts(3_584), [0]);
    assert_eq!(starts(u64::MAX >> 1), [0]);
}

#[test]
fn spans_reach_across_the_members_of_a_gzip_stream() {
    let content = big_tar(7);
    // One block each, so that spans can only start right behind a member's header.
    let pieces: Vec<_> = content.chunks(10_000).map(gzip).collect();
    let blob = pieces.concat();
    let built = build_gzip(&blob, 50_000).unwrap();
    let starts = check(&built, &blob, &content);
    let headers = pieces.iter().scan(0, |end, piece| {
        let start = *end;
        *end += piece.len() as u64;
        Some(start + 10)
    });
    let headers: Vec<_> = (0..)
        .zip(headers)
        .map(|(index, header)| (header, index * 10_000))
        .step_by(6)
        .collect();
    assert_eq!(starts, headers);
}

#[test]
fn a_member_may_not_reach_back_into_the_one_before() {
    // Fixed codes: a match of three bytes, one back, with nothing before it.
    let reaching = [0x03, 0x02, 0x00];
    let mut blob = gzip(&tar(&[]));
    blob.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    blob.extend(reaching);
    blob.extend(crc(b"\0\0\0"));
    let error = build_gzip(&blob, 1 << 20).unwrap_err().to_string();
    assert!(error.contains("invalid deflate data"), "{error}");
}

fn crc(content: &[u8]) -> [u8; 8] {
    let member = gzip(content);
    *member.last_chunk().unwrap()
}

#[test]
fn empty_blocks_and_members_before_the_data_start_no_span() {
    let content = big_tar(3);
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.flush().unwrap();
    encoder.write_all(&content).unwrap();
    let flushed = encoder.finish().unwrap();
    let behind_empty = [gzip(b""), gzip(b""), gzip(&content)].concat();
    for blob in [flushed, behind_empty] {
        for span_size in [0, 100_000] {
            let built = build_gzip(&blob, span_size).unwrap();
            let starts = check(&built, &blob, &content);
            assert_eq!(starts[0], (10, 0));
            assert!(starts[1].1 > 0, "{starts:?}");
        }
    }
}

#[test]
fn a_long_gzip_header_precedes_the_first_span() {
    let content = big_tar(4);
    let mut encoder = flate2::GzBuilder::new()
        .filename("layer.tar")
        .comment("made by a test")
        .extra(vec![1; 300])
        .write(Vec::new(), flate2::Compression::new(1));
    encoder.write_all(&content).unwrap();
    let blob = encoder.finish().unwrap();
    let built = build_gzip(&blob, 100_000).unwrap();
    let starts = check(&built, &blob, &content);
    assert_eq!(starts[0], (10 + 2 + 300 + 10 + 15, 0));
}

#[test]
fn padding_behind_the_tar_belongs_to_no_file() {
    let mut content = big_tar(5);
    let end = content.len() as u64;
    content.resize(content.len() + 700_000, 0);
    let blob = gzip(&content);
    let built = build_gzip(&blob, 100_000).unwrap();
    let ztoc = Ztoc::parse(&built.ztoc, &Limits::default()).unwrap();
    assert_eq!(ztoc.spans.uncompressed_size(), end);
}

#[test]
fn a_window_is_the_history_whatever_the_length() {
    // The first block is shorter than a window: its front stays zero.
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    let content = tar(&[file("a", &noise(100_000, 6))]);
    encoder.write_all(&content[..5_000]).unwrap();
    encoder.flush().unwrap();
    encoder.write_all(&content[5_000..]).unwrap();
    let blob = encoder.finish().unwrap();
    let built = build_gzip(&blob, 0).unwrap();
    check(&built, &blob, &content);
    let ztoc = Ztoc::parse(&built.ztoc, &Limits::default()).unwrap();
    let (span, start) = (0..built.spans)
        .map(|span| (SpanId(span), ztoc.spans.uncompressed(SpanId(span)).unwrap()))
        .find(|(_, range)| range.start >= 5_000)
        .unwrap();
    assert_eq!(start.start, 5_000);
    let window = ztoc.spans.window(span).unwrap().blob;
    let window =
        &built.ztoc[usize::try_from(window.start).unwrap()..usize::try_from(window.end).unwrap()];
    assert!(window[..WINDOW - 5_000].iter().all(|byte| *byte == 0));
    assert!(window[WINDOW - 5_000..] == content[..5_000]);
}

#[test]
fn links_and_directories_have_no_size_whatever_their_header_says() {
    let mut dir = file("d", b"");
    dir[..512].copy_from_slice(&crate::layer::Header::new("d/", b'5', 4_096).block());
    let content = tar(&[dir, file("d/a", b"abc")]);
    let built = build_tar(&content, 4 << 20).unwrap();
    let ztoc = Ztoc::parse(&built.ztoc, &Limits::default()).unwrap();
    let entry = |id| ztoc.toc.entry(EntryId(id)).unwrap();
    assert_eq!((entry(0).size(), entry(0).offset()), (0, 512));
    assert_eq!((entry(1).size(), entry(1).offset()), (3, 1_024));
}
