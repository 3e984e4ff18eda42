//! Tar headers as various writers make them, read as Go's reader reads them.

use soci::Error;
use soci::tar::{Scanner, check_member};
use soci::toc::{Entry, EntryId, Kind, Mtime, Toc};
use soci::ztoc::Limits;

/// A ustar header of a regular file, to be changed before it is summed.
fn header(name: &str, typeflag: u8, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    put(&mut block, 100, b"0000644\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 124, format!("{size:011o}\0").as_bytes());
    put(&mut block, 136, b"00000000000\0");
    block[156] = typeflag;
    put(&mut block, 257, b"ustar\x0000");
    summed(block)
}

fn put(block: &mut [u8; 512], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn summed(mut block: [u8; 512]) -> [u8; 512] {
    put(&mut block, 148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn changed(change: impl FnOnce(&mut [u8; 512])) -> [u8; 512] {
    let mut block = header("a", b'0', 0);
    change(&mut block);
    summed(block)
}

/// A member with content, padded.
fn member(name: &str, typeflag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, typeflag, content.len()).to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut payload = String::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let len = (body + 1..)
            .find(|len| body + len.to_string().len() == *len)
            .unwrap();
        payload += &format!("{len} {key}={value}\n");
    }
    member("pax", b'x', payload.as_bytes())
}

fn scan(tar: &[u8]) -> Result<Toc, Error> {
    let mut scanner = Scanner::new(&Limits::default());
    scanner.push(tar)?;
    scanner.finish()
}

/// The only member of a tar, which must also pass the check of its own header.
fn check(headers: &[u8], test: impl FnOnce(&Entry<'_>)) {
    let toc = scan(headers).unwrap();
    assert_eq!(toc.len(), 1);
    let entry = toc.entry(EntryId(0)).unwrap();
    let header = &headers[..usize::try_from(entry.offset()).unwrap()];
    assert_eq!(check_member(header, &entry), Ok(()));
    test(&entry);
}

#[test]
fn names_come_from_where_the_format_puts_them() {
    let name = |headers: &[u8], expected: &str| {
        check(headers, |entry| {
            assert_eq!(entry.name().escape_ascii().to_string(), expected)
        });
    };
    let prefixed = |magic: &[u8]| {
        changed(|block| {
            put(block, 257, magic);
            put(block, 345, b"some/dir");
        })
    };
    name(&prefixed(b"ustar\x0000"), "some/dir/a");
    name(&prefixed(b"\0\0\0\0\0\0\0\0"), "a");
    // Not a GNU time, so a prefix by old Go writers.
    name(&prefixed(b"ustar  \0"), "some/dir/a");
    let star = changed(|block| {
        put(block, 345, &[b'p'; 131]);
        put(block, 476, b"00000000000 00000000000 ");
        put(block, 508, b"tar\0");
    });
    name(&star, &format!("{}/a", "p".repeat(131)));
    let gnu_times = changed(|block| {
        put(block, 257, b"ustar  \0");
        put(block, 345, b"00000000001\x0000000000002\0");
    });
    name(&gnu_times, "a");

    let long = "long/".repeat(50);
    let gnu_long = member("././@LongLink", b'L', format!("{long}\0junk").as_bytes());
    let file = header("short", b'0', 0);
    name(&[&gnu_long, file.as_slice()].concat(), &long);
    name(
        &[pax(&[("path", "from pax")]), file.to_vec()].concat(),
        "from pax",
    );
    name(
        &[pax(&[("path", "from pax")]), gnu_long, file.to_vec()].concat(),
        &long,
    );
    name(&[pax(&[("path", "")]), file.to_vec()].concat(), "short");
    name(
        &[pax(&[("path", "x")]), pax(&[("uid", "1")]), file.to_vec()].concat(),
        "short",
    );
    name(&[pax(&[]), file.to_vec()].concat(), "short");
}

#[test]
fn types_follow_the_typeflag_and_old_directories_their_slash() {
    let kind = |name: &str, typeflag, expected| {
        check(&header(name, typeflag, 0), |entry| {
            assert_eq!(entry.kind(), expected)
        });
    };
    kind("a", b'0', Kind::Reg);
    kind("a/", b'0', Kind::Reg);
    kind("a", 0, Kind::Reg);
    kind("a/", 0, Kind::Dir);
    kind("a", b'1', Kind::Hardlink);
    kind("a", b'2', Kind::Symlink);
    kind("a", b'3', Kind::Char);
    kind("a", b'4', Kind::Block);
    kind("a", b'5', Kind::Dir);
    kind("a", b'6', Kind::Fifo);
    let old = [pax(&[("path", "dir/")]), header("a", 0, 0).to_vec()].concat();
    check(&old, |entry| assert_eq!(entry.kind(), Kind::Dir));
}

#[test]
fn what_cannot_be_indexed_is_named() {
    for (tar, expected) in [
        (header("a", b'g', 0).to_vec(), "'g'"),
        (header("a", b'7', 0).to_vec(), "'7'"),
        (header("a", b'S', 0).to_vec(), "'S'"),
        (header("a", b'V', 0).to_vec(), "'V'"),
        (
            [
                pax(&[("GNU.sparse.major", "1")]),
                header("a", b'0', 0).to_vec(),
            ]
            .concat(),
            "sparse",
        ),
    ] {
        let error = scan(&tar).unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported { what } if what.contains(expected)),
            "{error}"
        );
    }
}

#[test]
fn numbers_come_from_pax_then_from_any_encoding() {
    let file = header("a", b'0', 0).to_vec();
    let large = [
        pax(&[("uid", "4294967297"), ("gid", "-1"), ("mtime", "-1.25")]),
        file,
    ]
    .concat();
    check(&large, |entry| {
        assert_eq!((entry.uid(), entry.gid()), (1, u32::MAX));
        assert_eq!(
            entry.mtime(),
            Some(Mtime {
                seconds: -2,
                nanos: 750_000_000
            })
        );
    });
    let binary = changed(|block| {
        put(block, 108, b"\x80\0\0\0\0\x20\0\0");
        put(
            block,
            136,
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        );
        put(block, 329, b"0000010\0");
        put(block, 337, b"0000003\0");
    });
    check(&binary, |entry| {
        assert_eq!(entry.uid(), 0x20_0000);
        assert_eq!(
            entry.mtime(),
            Some(Mtime {
                seconds: -1,
                nanos: 0
            })
        );
        assert_eq!(entry.device(), (8, 3));
    });
    let mut sized = [pax(&[("size", "5")]), header("a", b'0', 0).to_vec()].concat();
    sized.extend_from_slice(b"01234");
    check(&sized, |entry| assert_eq!(entry.size(), 5));
}

#[test]
fn attributes_are_kept_with_empty_values_and_odd_bytes() {
    let records = [
        ("SCHILY.xattr.user.b", "x=y\nz"),
        ("SCHILY.xattr.user.a", ""),
        ("LIBARCHIVE.a", "b"),
    ];
    check(
        &[pax(&records), header("a", b'0', 0).to_vec()].concat(),
        |entry| {
            let xattrs: Vec<_> = entry.xattrs().collect();
            let expected: [(&[u8], &[u8]); 2] = [(b"user.a", b""), (b"user.b", b"x=y\nz")];
            assert_eq!(xattrs, expected);
        },
    );
}

#[test]
fn checksums_of_signed_bytes_are_accepted_and_wrong_ones_are_not() {
    let mut block = changed(|block| put(block, 0, b"\xff\xfe"));
    check(&block, |_| {});
    let sum: i32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            i32::from(if (148..156).contains(&at) {
                32
            } else {
                byte.cast_signed()
            })
        })
        .sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    check(&block, |_| {});
    block[0] = 0xfd;
    assert!(matches!(scan(&block), Err(Error::Tar(_))));
}

#[test]
fn links_with_a_size_have_no_data() {
    let tar = [header("l", b'1', 1000).to_vec(), member("a", b'0', b"abc")].concat();
    let toc = scan(&tar).unwrap();
    let sizes: Vec<_> = toc
        .iter()
        .map(|(_, e)| (e.header_offset(), e.offset(), e.size()))
        .collect();
    assert_eq!(sizes, [(0, 512, 0), (512, 1024, 3)]);
    assert_eq!(
        check_member(&tar[..512], &toc.entry(EntryId(0)).unwrap()),
        Ok(())
    );
}

#[test]
fn the_archive_ends_at_its_second_zero_block_or_where_it_stops() {
    let file = member("a", b'0', b"abc");
    for (tail, expected) in [(0, 1024), (512, 1536), (1024, 2048), (10_240, 2048)] {
        let tar = [file.clone(), vec![0; tail]].concat();
        assert_eq!(scan(&tar).unwrap().archive_size(), expected, "{tail}");
    }
    assert_eq!(scan(&file[..515]).unwrap().archive_size(), 515);
    assert_eq!(scan(&[]).unwrap().archive_size(), 0);
    let garbage = [file, vec![0; 1024], vec![7; 100]].concat();
    assert_eq!(scan(&garbage).unwrap().archive_size(), 2048);
}

#[test]
fn a_tar_cut_inside_a_member_is_refused() {
    let meta = pax(&[("path", "b")]);
    let tar = [meta, member("a", b'0', b"abc"), vec![0; 1024]].concat();
    for (len, what) in [
        (1, "header"),
        (511, "header"),
        (513, "extended header"),
        (1538, "file"),
    ] {
        assert_eq!(
            scan(&tar[..len]).unwrap_err(),
            Error::TarTruncated(what),
            "{len}"
        );
    }
    assert_eq!(
        scan(&tar[..2560 + 100]).unwrap_err(),
        Error::TarTruncated("header")
    );
    let broken = [
        member("a", b'0', b"abc"),
        vec![0; 512],
        member("b", b'0', b""),
    ]
    .concat();
    assert!(matches!(scan(&broken), Err(Error::Tar(_))));
}

#[test]
fn extended_headers_beyond_a_mebibyte_are_refused_before_they_are_held() {
    let at_limit = member("L", b'L', &vec![b'x'; 1 << 20]);
    let name = [at_limit, header("a", b'0', 0).to_vec()].concat();
    assert!(matches!(
        scan(&name),
        Err(Error::Limit {
            value: 1_048_576,
            limit: 4096,
            ..
        })
    ));
    let over = scan(&header("L", b'L', (1 << 20) + 1));
    assert!(
        matches!(
            over,
            Err(Error::Limit {
                limit: 1_048_576,
                ..
            })
        ),
        "{over:?}"
    );
}

#[test]
fn each_field_of_an_entry_is_held_against_the_header() {
    let records = [("SCHILY.xattr.user.a", "1"), ("mtime", "1.5")];
    let meta = pax(&records);
    let file = member("a", b'0', b"abc");
    let tar = [meta, file].concat();
    let toc = scan(&tar).unwrap();
    let entry = toc.entry(EntryId(0)).unwrap();
    let offset = usize::try_from(entry.offset()).unwrap();
    let differs = |records: &[(&str, &str)], change: &dyn Fn(&mut [u8; 512])| {
        let mut block = header("a", b'0', 3);
        change(&mut block);
        let header = [pax(records), summed(block).to_vec()].concat();
        check_member(&header, &entry)
    };
    assert_eq!(check_member(&tar[..offset], &entry), Ok(()));
    assert_eq!(differs(&records, &|_| {}), Ok(()));
    for (field, change) in [
        ("name", &|block: &mut [u8; 512]| block[0] = b'b'),
        ("link name", &|block: &mut [u8; 512]| block[157] = b'b'),
        ("type", &|block: &mut [u8; 512]| block[156] = b'5'),
        ("mode", &|block: &mut [u8; 512]| block[106] = b'5'),
        ("owner", &|block: &mut [u8; 512]| block[114] = b'5'),
        ("group", &|block: &mut [u8; 512]| block[122] = b'5'),
        ("device number", &|block: &mut [u8; 512]| block[329] = b'5'),
        ("size", &|block: &mut [u8; 512]| block[134] = b'5'),
    ] as [(&str, &dyn Fn(&mut [u8; 512])); 8]
    {
        assert_eq!(differs(&records, change), Err(Error::Mismatch(field)));
    }
    let [xattr, mtime] = records;
    assert_eq!(
        differs(&[xattr], &|_| {}),
        Err(Error::Mismatch("modification time"))
    );
    assert_eq!(
        differs(&[mtime], &|_| {}),
        Err(Error::Mismatch("extended attributes"))
    );
    let twice = [&tar[..offset], &header("a", b'0', 3)].concat();
    assert_eq!(
        check_member(&twice, &entry),
        Err(Error::Mismatch("length of the header"))
    );
    assert_eq!(
        check_member(&[], &entry),
        Err(Error::TarTruncated("header"))
    );
    assert_eq!(
        check_member(&tar[..offset - 512], &entry),
        Err(Error::TarTruncated("header"))
    );
    assert!(check_member(&[0; 512], &entry).is_err());
}
