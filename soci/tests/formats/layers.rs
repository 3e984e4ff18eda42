//! Layers indexed by AWS's tool read as the tool says and as the tar is.

use serde_json::{Value, json};
use soci::spans::{Compression, SpanId, SpanTable};
use soci::tar::{Scanner, check_member};
use soci::toc::{Entry, EntryId, Kind, Toc};
use soci::ztoc::Limits;
use soci::{Error, gzip};

use crate::fixture::{self, LAYERS, Layer, gunzip, slice};

fn check(test: impl Fn(&str, &Layer, &str)) {
    for (ztoc, layer, dump) in LAYERS {
        let dump = String::from_utf8(fixture::read(dump)).unwrap();
        test(ztoc, &Layer::load(ztoc, layer), &dump);
    }
}

/// The value of `key=value` in a line of a dump.
fn fact<'a>(line: &'a str, key: &str) -> &'a str {
    let start = line.find(&format!("{key}=")).unwrap() + key.len() + 1;
    let value = &line[start..];
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap(),
        None => value.split(' ').next().unwrap(),
    }
}

fn describe(entry: &Entry<'_>) -> Value {
    let kind = match entry.kind() {
        Kind::Hardlink => "hardlink",
        Kind::Symlink => "symlink",
        Kind::Dir => "dir",
        Kind::Reg => "reg",
        Kind::Char => "char",
        Kind::Block => "block",
        Kind::Fifo => "fifo",
    };
    json!({
        "Name": String::from_utf8_lossy(entry.name()), "Type": kind,
        "UncompressedOffset": entry.offset(), "UncompressedSize": entry.size(),
        "TarHeaderOffset": entry.header_offset(), "Linkname": String::from_utf8_lossy(entry.linkname()),
        "Mode": entry.mode(), "UID": entry.uid(), "GID": entry.gid(),
        "Devmajor": entry.device().0, "Devminor": entry.device().1,
    })
}

#[test]
fn attributes_are_those_the_tool_recorded() {
    check(|name, layer, dump| {
        let entries = dump
            .lines()
            .filter_map(|line| line.trim().strip_prefix("{"));
        let mut count = 0;
        for (index, line) in (0..).zip(entries) {
            let mut expected: Value = serde_json::from_str(&format!("{{{line}")).unwrap();
            let entry = layer.ztoc.toc.entry(EntryId(index)).unwrap();
            let time = expected["ModTime"].take();
            let seconds = match time.as_str().unwrap() {
                "2023-11-14T22:13:20Z" => 1_700_000_000,
                "1970-01-01T00:00:00Z" => 0,
                other => panic!("{other}"),
            };
            assert_eq!(
                entry.mtime().map(|t| (t.seconds, t.nanos)),
                Some((seconds, 0)),
                "{name}"
            );
            let fields = expected.as_object_mut().unwrap();
            fields.retain(|key, _| !["ModTime", "Uname", "Gname", "PAXHeaders"].contains(&&**key));
            assert_eq!(describe(&entry), expected, "{name}");
            count += 1;
        }
        assert!(count >= 2, "{name}");
    });
}

#[test]
fn spans_are_those_the_tool_made() {
    check(|name, layer, dump| {
        let first = dump.lines().next().unwrap();
        let (ztoc, spans) = (&layer.ztoc, &layer.ztoc.spans);
        assert_eq!(ztoc.version, fact(first, "version"), "{name}");
        assert_eq!(ztoc.build_tool, fact(first, "tool"), "{name}");
        assert_eq!(
            spans.compressed_size().to_string(),
            fact(first, "comp"),
            "{name}"
        );
        assert_eq!(
            spans.uncompressed_size().to_string(),
            fact(first, "uncomp"),
            "{name}"
        );
        assert_eq!(spans.len().to_string(), fact(first, "digests"), "{name}");
        let gzip = fact(first, "algo") == "gzip";
        assert_eq!(spans.compression() == Compression::Gzip, gzip, "{name}");

        let mut count = 0;
        for (id, line) in (0..).zip(dump.lines().filter(|line| line.starts_with("  span"))) {
            let span = SpanId(id);
            let (compressed, uncompressed) = (
                spans.compressed(span).unwrap(),
                spans.uncompressed(span).unwrap(),
            );
            let digest: String = spans
                .digest(span)
                .unwrap()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let text = format!(
                "  span{id} comp[{},{}) uncomp[{},{}) sha256:{digest}",
                compressed.start, compressed.end, uncompressed.start, uncompressed.end
            );
            assert_eq!(text, line, "{name}");
            count += 1;
        }
        assert!(count > 0, "{name}");
    });
}

#[test]
fn every_span_inflates_to_its_part_of_the_tar() {
    check(|name, layer, _| {
        let spans = &layer.ztoc.spans;
        let mut tar = Vec::new();
        for span in (0..spans.len()).map(SpanId) {
            let compressed = layer.compressed(span);
            assert_eq!(spans.verify(span, compressed), Ok(()), "{name} {span:?}");
            let window = layer.window(span);
            if let Some(place) = spans.window(span) {
                assert_eq!(place.check(window), Ok(()), "{name} {span:?}");
            }
            tar.extend(spans.inflate(span, compressed, window).unwrap());
        }
        assert!(tar == layer.tar[..tar.len()], "{name}");
        assert_eq!(tar.len() as u64, spans.uncompressed_size(), "{name}");
    });
}

#[test]
fn the_bytes_before_the_first_span_are_a_gzip_header() {
    check(|name, layer, _| {
        let spans = &layer.ztoc.spans;
        let header = slice(&layer.compressed, spans.header());
        match spans.compression() {
            Compression::Gzip => assert_eq!(gzip::check_header(header), Ok(()), "{name}"),
            Compression::Tar => assert!(header.is_empty(), "{name}"),
        }
    });
}

#[test]
fn every_entry_matches_the_header_in_its_layer() {
    check(|name, layer, _| {
        for (_, entry) in layer.ztoc.toc.iter() {
            let header = slice(&layer.tar, entry.header_offset()..entry.offset());
            assert_eq!(check_member(header, &entry), Ok(()), "{name} {entry:?}");
        }
    });
}

#[test]
fn no_entry_matches_the_header_of_another() {
    check(|name, layer, _| {
        let entries: Vec<Entry<'_>> = layer.ztoc.toc.iter().map(|(_, entry)| entry).collect();
        for pair in entries.windows(2) {
            let header = slice(&layer.tar, pair[0].header_offset()..pair[0].offset());
            assert!(
                check_member(header, &pair[1]).is_err(),
                "{name} {:?}",
                pair[1]
            );
        }
    });
}

fn scan(tar: &[u8], piece: usize) -> Result<Toc, Error> {
    let mut scanner = Scanner::new(&Limits::default());
    tar.chunks(piece)
        .try_for_each(|piece| scanner.push(piece))?;
    scanner.finish()
}

fn all(toc: &Toc) -> Vec<impl PartialEq + std::fmt::Debug> {
    toc.iter()
        .map(|(id, entry)| {
            let xattrs: Vec<_> = entry
                .xattrs()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect();
            (
                id,
                describe(&entry),
                entry.name().to_vec(),
                entry.mtime(),
                xattrs,
            )
        })
        .collect()
}

#[test]
fn scanning_the_tar_gives_the_table_of_the_ztoc() {
    check(|name, layer, _| {
        for piece in [1, 511, 512, 513, 70_000, usize::MAX] {
            let toc = scan(&layer.tar, piece).unwrap();
            assert_eq!(
                all(&toc),
                all(&layer.ztoc.toc),
                "{name} in pieces of {piece}"
            );
            assert_eq!(
                toc.archive_size(),
                layer.ztoc.spans.uncompressed_size(),
                "{name}"
            );
        }
    });
}

#[test]
fn the_layers_have_attributes_and_entries_beyond_the_dumps() {
    let mut xattrs = 0;
    check(|name, layer, _| {
        if name == "pax.ztoc" {
            assert!(layer.ztoc.toc.len() > 12);
        }
    });
    for (_, entry) in Layer::load("pax.ztoc", "pax.tar.gz").ztoc.toc.iter() {
        xattrs += entry.xattrs().count();
    }
    assert!(xattrs > 0, "the comparison above would be empty");
}

#[test]
fn a_member_the_table_leaves_out_is_noticed_at_the_next_file() {
    let layer = Layer::load("neg-omitted-entry.ztoc", "neg-omitted-entry.tar.gz");
    let mut refused = 0;
    for (_, entry) in layer.ztoc.toc.iter() {
        let header = slice(&layer.tar, entry.header_offset()..entry.offset());
        refused += u32::from(check_member(header, &entry).is_err());
    }
    assert_eq!(refused, 1);
}

#[test]
fn a_pax_global_header_leaves_the_layer_to_a_normal_pull() {
    let tar = gunzip(&fixture::read("neg-pax-global.tar.gz"));
    let error = scan(&tar, 100).unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported { what } if what.contains("'g'")),
        "{error}"
    );
}

#[test]
fn a_layer_is_covered_span_by_span() {
    check(|name, layer, _| {
        let spans = &layer.ztoc.spans;
        let end = spans.uncompressed_size();
        assert_eq!(spans.covering(0..end), 0..spans.len(), "{name}");
        assert_eq!(spans.covering(0..u64::MAX), 0..spans.len(), "{name}");
        assert!(spans.covering(end..u64::MAX).is_empty(), "{name}");
        assert!(spans.covering(7..7).is_empty(), "{name}");
        for id in 0..spans.len() {
            let span = spans.uncompressed(SpanId(id)).unwrap();
            assert_eq!(spans.covering(span.clone()), id..id + 1, "{name}");
            assert_eq!(
                spans.covering(span.start..span.start + 1),
                id..id + 1,
                "{name}"
            );
            assert_eq!(spans.covering(span.end - 1..span.end), id..id + 1, "{name}");
        }
        assert_eq!(spans.compressed(SpanId(spans.len())), None, "{name}");
    });
}

#[test]
fn a_local_tar_is_served_in_equal_chunks() {
    for (size, chunk, lengths) in [
        (10, 4, [4, 4, 2].as_slice()),
        (8, 4, &[4, 4]),
        (3, 4, &[3]),
        (0, 4, &[]),
        (2, 0, &[1, 1]),
    ] {
        let table = SpanTable::whole(size, chunk);
        let spans: Vec<_> = (0..table.len())
            .map(|id| table.uncompressed(SpanId(id)).unwrap())
            .collect();
        let actual: Vec<u64> = spans.iter().map(|span| span.end - span.start).collect();
        assert_eq!(actual, lengths, "{size} in {chunk}");
        assert_eq!(table.covering(0..size), 0..table.len());
        if !table.is_empty() {
            let bytes = [7, 8, 9, 10];
            let first = fixture::slice(&bytes, spans[0].clone());
            assert_eq!(table.verify(SpanId(0), first), Ok(()));
            assert_eq!(table.inflate(SpanId(0), first, &[]).as_deref(), Ok(first));
        }
    }
    assert!(!SpanTable::whole(u64::MAX, 1).is_empty());
}

#[test]
fn damaged_or_misplaced_bytes_are_refused() {
    let layer = Layer::load("pax.ztoc", "pax.tar.gz");
    let (spans, span) = (&layer.ztoc.spans, SpanId(1));
    let (compressed, window) = (layer.compressed(span), layer.window(span));
    let mut damaged = compressed.to_vec();
    damaged[100] ^= 1;
    assert_eq!(
        spans.verify(span, &damaged),
        Err(Error::SpanDigest { span: 1 })
    );
    let short = spans.verify(span, &compressed[1..]);
    assert!(
        matches!(short, Err(Error::SpanLength { span: 1, .. })),
        "{short:?}"
    );
    let other = spans.verify(SpanId(9), compressed);
    assert_eq!(other, Err(Error::NoSpan { span: 9, spans: 5 }));
    let unprimed = spans.inflate(span, compressed, &[]);
    assert!(
        matches!(unprimed, Err(Error::WindowLength { span: 1, .. })),
        "{unprimed:?}"
    );
    let mut window = window.to_vec();
    window[5] ^= 1;
    assert_eq!(
        spans.window(span).unwrap().check(&window),
        Err(Error::WindowDigest)
    );
}
