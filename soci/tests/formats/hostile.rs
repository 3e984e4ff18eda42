//! Tables of contents that lie.

use std::time::Instant;

use soci::spans::SpanId;
use soci::toc::{EntryId, Kind};
use soci::ztoc::{Limits, Ztoc};
use soci::{EntryFault, Error};

use crate::blob::{self, Blob, Field, File, Writer};

pub(crate) fn parse(change: impl FnOnce(&mut Blob)) -> Result<Ztoc, Error> {
    let mut blob = Blob::default();
    change(&mut blob);
    Ztoc::parse(&blob.build(), &Limits::default())
}

pub(crate) fn refused(change: impl FnOnce(&mut Blob)) -> Error {
    parse(change).map(|_| ()).expect_err("the lie was believed")
}

fn entry_fault(change: impl FnOnce(&mut Blob)) -> EntryFault {
    match refused(change) {
        Error::Entry { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

pub(crate) fn files(blob: &mut Blob) -> &mut Vec<File> {
    blob.files.as_mut().unwrap()
}

#[test]
fn an_honest_blob_in_any_order_is_read() {
    let ztoc = parse(|blob| files(blob).reverse()).unwrap();
    let entries: Vec<_> = ztoc
        .toc
        .iter()
        .map(|(id, e)| {
            (
                id,
                e.name(),
                e.header_offset(),
                e.offset(),
                e.size(),
                e.mode(),
            )
        })
        .collect();
    assert_eq!(
        entries,
        [
            (EntryId(0), b"a".as_slice(), 0, 512, 3, 0o644),
            (EntryId(1), b"b".as_slice(), 1024, 1536, 0, 0o644),
            (EntryId(2), b"c".as_slice(), 1536, 2048, 4096, 0o644),
        ]
    );
    assert_eq!(ztoc.spans.compressed(SpanId(0)), Some(10..2000));
    assert_eq!(ztoc.spans.compressed(SpanId(1)), Some(1999..5000));
    assert_eq!(ztoc.spans.uncompressed(SpanId(1)), Some(4000..8192));
    assert_eq!(ztoc.build_tool, "by hand");
}

#[test]
fn entries_that_leave_no_room_for_a_header_are_refused() {
    assert_eq!(
        entry_fault(|b| files(b)[0].offset = 0),
        EntryFault::NoHeader(0)
    );
    assert_eq!(
        entry_fault(|b| files(b)[1].offset = 512),
        EntryFault::NoHeader(1024)
    );
    assert_eq!(
        entry_fault(|b| files(b)[0].size = 513),
        EntryFault::NoHeader(1536)
    );
    assert_eq!(
        entry_fault(|b| files(b)[1].size = 512),
        EntryFault::NoHeader(2048)
    );
    let link = entry_fault(|b| {
        files(b)[1].kind = "hardlink";
        files(b)[1].size = 1000;
    });
    assert_eq!(link, EntryFault::NoHeader(2560));
}

#[test]
fn entries_outside_the_archive_are_refused() {
    assert_eq!(
        entry_fault(|b| files(b)[2].size = 6_145),
        EntryFault::BeyondArchive
    );
    assert_eq!(
        entry_fault(|b| files(b)[2].size = i64::MAX),
        EntryFault::BeyondArchive
    );
    assert_eq!(
        entry_fault(|b| files(b)[2].offset = 1 << 62),
        EntryFault::BeyondArchive
    );
    assert!(parse(|b| files(b)[2].size = 6_144).is_ok());
    assert_eq!(
        entry_fault(|b| files(b)[2].offset = 2_049),
        EntryFault::Unaligned
    );
    let negative = refused(|b| files(b)[2].size = -1);
    assert!(
        matches!(negative, Error::Negative { value: -1, .. }),
        "{negative}"
    );
    let negative = refused(|b| files(b)[2].offset = -512);
    assert!(
        matches!(negative, Error::Negative { value: -512, .. }),
        "{negative}"
    );
}

#[test]
fn names_the_kernel_could_not_take_are_refused() {
    assert_eq!(
        entry_fault(|b| files(b)[0].name = b"a\0b".to_vec()),
        EntryFault::Nul
    );
    assert_eq!(
        entry_fault(|b| files(b)[0].linkname = b"a\0b".to_vec()),
        EntryFault::Nul
    );
    assert_eq!(
        entry_fault(|b| files(b)[0].name = vec![b'x'; 256]),
        EntryFault::LongComponent
    );
    assert!(parse(|b| files(b)[0].name = vec![b'x'; 255]).is_ok());
    let path = |len: usize| [b"xxxxxxx/".as_slice(); 513].concat()[..len].to_vec();
    assert!(parse(|b| files(b)[0].name = path(4096)).is_ok());
    let long = refused(|b| files(b)[0].name = path(4097));
    assert!(matches!(long, Error::Limit { value: 4097, .. }), "{long}");
    assert_eq!(entry_fault(|b| files(b)[0].major = -1), EntryFault::Device);
}

#[test]
fn only_named_extended_attributes_are_kept_and_no_more_than_64_kib() {
    let pax = |key: &str, len: usize| (key.as_bytes().to_vec(), vec![b'v'; len]);
    let ztoc = parse(|b| {
        files(b)[0].pax = vec![
            pax("path", 9),
            pax("SCHILY.xattr.user.b", 1),
            pax("SCHILY.xattr.user.a", 65_536 - 21),
            pax("SCHILY.xattr.user.b", 0),
        ];
    });
    let ztoc = ztoc.unwrap();
    let entry = ztoc.toc.entry(EntryId(0)).unwrap();
    let xattrs: Vec<_> = entry
        .xattrs()
        .map(|(name, value)| (name, value.len()))
        .collect();
    assert_eq!(
        xattrs,
        [(b"user.a".as_slice(), 65_515), (b"user.b".as_slice(), 0)]
    );

    let over = refused(|b| files(b)[0].pax = vec![pax("SCHILY.xattr.user.a", 65_536 - 5)]);
    assert!(matches!(over, Error::Limit { value: 65_537, .. }), "{over}");
    let nameless = entry_fault(|b| files(b)[0].pax = vec![pax("SCHILY.xattr.", 1)]);
    assert_eq!(nameless, EntryFault::UnnamedAttribute);
    let nul = entry_fault(|b| files(b)[0].pax = vec![pax("SCHILY.xattr.a\0", 1)]);
    assert_eq!(nul, EntryFault::Nul);
}

#[test]
fn unreadable_times_and_unknown_types_do_not_spoil_the_table() {
    let ztoc = parse(|b| {
        files(b)[0].time = "";
        files(b)[1].time = "yesterday";
        files(b)[2].kind = "door";
    });
    let ztoc = ztoc.unwrap();
    assert_eq!(ztoc.toc.entry(EntryId(0)).unwrap().mtime(), None);
    assert_eq!(ztoc.toc.entry(EntryId(1)).unwrap().mtime(), None);
    assert_eq!(ztoc.toc.entry(EntryId(2)).unwrap().kind(), Kind::Reg);
}

#[test]
fn missing_tables_and_unknown_compressions_are_refused() {
    assert_eq!(
        refused(|b| b.files = None),
        Error::Missing("table of contents")
    );
    assert_eq!(refused(|b| b.algorithm = 3), Error::Compression(3));
    assert!(matches!(
        refused(|b| b.compressed_size = -1),
        Error::Negative { .. }
    ));
    assert!(matches!(
        refused(|b| b.uncompressed_size = -1),
        Error::Negative { .. }
    ));
}

/// `count` files of which each has the `slot` of the first, written by `content` after all of them.
fn sharing(slot: usize, count: i64, content: impl FnOnce(&mut Writer, usize)) -> Vec<u8> {
    let link = Some(Field::Link);
    let size = Some(Field::I64(8 << 20));
    let mut writer = Writer::default();
    let root = writer.word();
    let ztoc = writer.table(&[None, None, size, size, link, link]);
    writer.link(root, ztoc.at);
    let toc = writer.table(&[link]);
    writer.link(ztoc.fields[4], toc.at);
    let places = writer.vector(toc.fields[0], usize::try_from(count).unwrap());
    let mut shared = Vec::new();
    for (index, place) in (1..).zip(places) {
        let mut fields = vec![None; slot.max(2) + 1];
        fields[2] = Some(Field::I64(512 * index));
        fields[slot] = link;
        let file = writer.table(&fields);
        writer.link(place, file.at);
        shared.push(file.fields[slot]);
    }
    let target = writer.bytes.len();
    content(&mut writer, shared[0]);
    for place in shared {
        writer.link(place, target);
    }
    let info = writer.table(&[None, None, link, link]);
    writer.link(ztoc.fields[5], info.at);
    let digests = writer.vector(info.fields[2], 1);
    writer.string(digests[0], &blob::digest());
    writer.string(info.fields[3], &blob::checkpoints(1, &[(0, 0, 0)]));
    writer.bytes
}

/// Why a blob with something shared by `few` files is read and by `many` is not.
fn aliased(slot: usize, few: i64, many: i64, content: impl Fn(&mut Writer, usize)) -> &'static str {
    let blob = sharing(slot, few, &content);
    assert!(Ztoc::parse(&blob, &Limits::default()).is_ok());
    let blob = sharing(slot, many, &content);
    match Ztoc::parse(&blob, &Limits::default()) {
        Err(Error::Aliased { what, .. }) => what,
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn entries_that_share_what_would_grow_on_unpacking_are_refused() {
    let name = [b"xxxxxxx/".as_slice(); 512].concat();
    let names = aliased(0, 10, 10_000, |writer, place| {
        writer.string(place, &name);
    });
    assert_eq!(names, "bytes of names");
    let names = aliased(4, 10, 10_000, |writer, place| {
        writer.string(place, &name);
    });
    assert_eq!(names, "bytes of names");

    let records = aliased(13, 1, 5_000, |writer, place| {
        let places = writer.vector(place, 1_000);
        let record = writer.table(&[]);
        for place in places {
            writer.link(place, record.at);
        }
    });
    assert_eq!(records, "PAX records");
}

#[test]
fn more_entries_than_the_blob_could_hold_are_refused() {
    let mut blob = sharing(0, 4_000, |writer, place| {
        writer.string(place, b"a");
    });
    // All that follows the length of the vector becomes elements.
    let vector = blob
        .windows(4)
        .position(|word| word == 4_000_u32.to_le_bytes())
        .unwrap();
    let count = u32::try_from((blob.len() - vector - 4) / 4).unwrap();
    blob[vector..vector + 4].copy_from_slice(&count.to_le_bytes());
    let error = Ztoc::parse(&blob, &Limits::default()).err();
    assert!(
        matches!(
            error,
            Some(Error::Aliased {
                what: "entries",
                ..
            })
        ),
        "{error:?}"
    );
}

#[test]
fn span_digests_that_share_one_text_are_refused() {
    let spans: u32 = 100_000;
    let link = Some(Field::Link);
    let (size, max) = (i64::from(spans), i32::try_from(spans).unwrap() - 1);
    let mut writer = Writer::default();
    let root = writer.word();
    let ztoc = writer.table(&[None, None, Some(Field::I64(size)), None, link, link]);
    writer.link(root, ztoc.at);
    let toc = writer.table(&[]);
    writer.link(ztoc.fields[4], toc.at);
    let info = writer.table(&[Some(Field::I8(2)), Some(Field::I32(max)), link, link]);
    writer.link(ztoc.fields[5], info.at);
    let places = writer.vector(info.fields[2], usize::try_from(spans).unwrap());
    let text = writer.string(places[0], &blob::digest());
    for place in places {
        writer.link(place, text);
    }
    writer.string(info.fields[3], &blob::tar_checkpoints(1, size));
    let error = Ztoc::parse(&writer.bytes, &Limits::default()).err();
    assert!(
        matches!(
            error,
            Some(Error::Aliased {
                what: "span digests",
                ..
            })
        ),
        "{error:?}"
    );
}

#[test]
fn limits_on_the_whole_hold() {
    let blob = Blob::default().build();
    let len = blob.len() as u64;
    let blob_limit = |limit| {
        Ztoc::parse(
            &blob,
            &Limits {
                blob: limit,
                ..Limits::default()
            },
        )
    };
    assert!(blob_limit(len).is_ok());
    assert!(matches!(blob_limit(len - 1), Err(Error::Limit { .. })));
    let entries = |limit| {
        Ztoc::parse(
            &blob,
            &Limits {
                entries: limit,
                ..Limits::default()
            },
        )
    };
    assert!(entries(3).is_ok());
    assert!(matches!(
        entries(2),
        Err(Error::Limit {
            value: 3,
            limit: 2,
            ..
        })
    ));
}

#[test]
fn two_hundred_thousand_entries_are_read_at_once() {
    let many = (0..200_000).map(|index| {
        let name = format!(
            "usr/lib/python3/dist-packages/package{}/module{index}.py",
            index % 700
        );
        File::new(&name, 512 + 1024 * index, 300)
    });
    let blob = Blob {
        uncompressed_size: 1024 * 200_001,
        files: Some(many.collect()),
        compressed_size: 60 << 20,
        checkpoints: blob::checkpoints(
            4,
            &[
                (10, 0, 0),
                (15 << 20, 50 << 20, 1),
                (30 << 20, 100 << 20, 2),
                (45 << 20, 150 << 20, 3),
            ],
        ),
        max_span_id: 3,
        digests: vec![blob::digest(); 4],
        ..Blob::default()
    };
    let blob = blob.build();
    let start = Instant::now();
    let ztoc = Ztoc::parse(&blob, &Limits::default()).unwrap();
    println!(
        "{} bytes, {} entries: {:?}",
        blob.len(),
        ztoc.toc.len(),
        start.elapsed()
    );
    assert_eq!(ztoc.toc.len(), 200_000);
    assert!(start.elapsed().as_secs() < 5);
}
