//! Two layers that hold every kind of entry, attribute and overlay trick an image may legally have.

use std::io::Write;

use anyhow::Result;

use super::entry::{directory, file, noise};
use crate::tar::{Entry, Kind, Writer};

/// A valid `security.capability` of version 2: `cap_net_raw+ep`.
const NET_RAW: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn special(kind: Kind, name: &str, device: (u64, u64)) -> Entry {
    Entry {
        kind,
        device,
        ..file(name)
    }
}

fn link(kind: Kind, name: &str, target: &str) -> Entry {
    Entry {
        kind,
        link: target.as_bytes().to_vec(),
        mode: 0o777,
        ..file(name)
    }
}

fn xattr(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.to_vec())
}

pub(super) fn first(out: &mut dyn Write) -> Result<()> {
    let mut tar = Writer::new(out);
    tar.bytes(directory("./"), b"")?;
    tar.bytes(directory("odd/"), b"")?;
    tar.bytes(file("odd/hello"), b"hello from odd\n")?;
    tar.bytes(file("./odd/dot"), b"named ./odd/dot\n")?;
    tar.bytes(file("odd/empty"), b"")?;
    tar.bytes(directory("odd/empty-dir/"), b"")?;
    tar.bytes(file("odd/big"), &noise(2, 9 << 20))?;
    tar.bytes(file("odd/zeros"), &vec![0; 5 << 20])?;
    names(&mut tar)?;
    links(&mut tar)?;
    attributes(&mut tar)?;
    for (name, content) in [
        ("odd/replaced", "first\n"),
        ("odd/replaced", "second, longer\n"),
    ] {
        tar.bytes(file(name), content.as_bytes())?;
    }
    tar.bytes(
        file("odd/implicit/of/three/levels"),
        b"nobody made my parents\n",
    )?;
    tar.bytes(file("usr/share/odd-in-a-directory-of-the-base"), b"")?;
    for gone in [
        "odd/gone",
        "odd/gone-dir/a",
        "odd/opaque/below",
        "odd/to-dir",
        "odd/to-file/a",
    ] {
        tar.bytes(file(gone), b"of the first layer\n")?;
    }
    tar.bytes(file("odd/last"), b"end\n")?;
    tar.finish()?;
    Ok(())
}

pub(super) fn second(out: &mut dyn Write) -> Result<()> {
    let mut tar = Writer::new(out);
    tar.bytes(directory("odd/"), b"")?;
    tar.bytes(file("odd/.wh.gone"), b"")?;
    tar.bytes(file("odd/.wh.gone-dir"), b"")?;
    tar.bytes(file("usr/share/.wh.doc"), b"")?;
    tar.bytes(directory("odd/opaque/"), b"")?;
    tar.bytes(file("odd/opaque/.wh..wh..opq"), b"")?;
    tar.bytes(file("odd/opaque/above"), b"only me\n")?;
    tar.bytes(directory("odd/to-dir/"), b"")?;
    tar.bytes(file("odd/to-dir/inside"), b"a directory now\n")?;
    tar.bytes(file("odd/to-file"), b"a file now\n")?;
    tar.bytes(
        Entry {
            mode: 0o600,
            uid: 1000,
            ..file("odd/empty")
        },
        b"not empty any more\n",
    )?;
    tar.bytes(file("odd/noise"), &noise(3, 3 << 20))?;
    tar.finish()?;
    Ok(())
}

fn names<W: Write>(tar: &mut Writer<W>) -> Result<()> {
    tar.bytes(file(b"odd/latin1-\xe9\xff\xfe"), b"not UTF-8\n")?;
    tar.bytes(file("odd/sp ace\tand\nnewline"), b"blank\n")?;
    tar.bytes(file("odd/ümläut-✓"), b"UTF-8\n")?;
    tar.bytes(
        file(format!("odd/{}", "n".repeat(255))),
        b"longest component\n",
    )?;
    let mut deep = String::from("odd/");
    for level in 0..12 {
        deep.push_str(&format!("{}{level}/", "deep".repeat(12)));
        tar.bytes(directory(deep.as_bytes()), b"")?;
    }
    tar.bytes(file(format!("{deep}file")), b"deep down\n")?;
    let long = "l/".repeat(700);
    tar.bytes(link(Kind::Symlink, "odd/long-target", &long), b"")?;
    tar.bytes(link(Kind::Symlink, "odd/dangling", "/no/such/file"), b"")?;
    tar.bytes(link(Kind::Symlink, "odd/up", "../../../etc/passwd"), b"")?;
    Ok(())
}

fn links<W: Write>(tar: &mut Writer<W>) -> Result<()> {
    tar.bytes(file("odd/link-a"), b"one inode, three names\n")?;
    tar.bytes(link(Kind::Hardlink, "odd/link-b", "odd/link-a"), b"")?;
    tar.bytes(directory("odd/links/"), b"")?;
    tar.bytes(link(Kind::Hardlink, "odd/links/link-c", "odd/link-b"), b"")?;
    tar.bytes(file("odd/other-a"), b"another\n")?;
    tar.bytes(link(Kind::Hardlink, "odd/other-b", "./odd/other-a"), b"")?;
    Ok(())
}

fn attributes<W: Write>(tar: &mut Writer<W>) -> Result<()> {
    for (name, mode) in [
        ("odd/setuid", 0o4755),
        ("odd/setgid", 0o2755),
        ("odd/sticky", 0o1644),
        ("odd/nobody-may", 0o000),
        ("odd/all", 0o7777),
    ] {
        tar.bytes(Entry { mode, ..file(name) }, b"mode\n")?;
    }
    tar.bytes(
        Entry {
            mode: 0o1777,
            ..directory("odd/tmp/")
        },
        b"",
    )?;
    tar.bytes(
        Entry {
            mode: 0o2770,
            gid: 50,
            ..directory("odd/shared/")
        },
        b"",
    )?;
    for (name, mtime) in [
        ("odd/time-ns", (1_700_000_000, 123_456_789)),
        ("odd/time-zero", (0, 0)),
        ("odd/time-before-1970", (-1, 0)),
        ("odd/time-before-1970-ns", (-86_401, 250_000_000)),
        ("odd/time-after-2038", (5_000_000_000, 1)),
    ] {
        tar.bytes(
            Entry {
                mtime,
                ..file(name)
            },
            b"time\n",
        )?;
    }
    for (name, id) in [
        ("odd/id-1000", 1000),
        ("odd/id-31", (1 << 31) + 5),
        ("odd/id-max", 4_294_967_294),
    ] {
        tar.bytes(
            Entry {
                uid: id,
                gid: id - 1,
                ..file(name)
            },
            b"owner\n",
        )?;
    }
    tar.append(
        &special(Kind::Char, "odd/null", (1, 3)),
        &mut std::io::empty(),
    )?;
    tar.append(
        &special(Kind::Block, "odd/loop", (7, 130)),
        &mut std::io::empty(),
    )?;
    tar.append(
        &special(Kind::Fifo, "odd/fifo", (0, 0)),
        &mut std::io::empty(),
    )?;
    let named = vec![
        xattr("user.comment", b"of a file"),
        xattr("user.binary", b"\x00\xff=\n\x00"),
    ];
    tar.bytes(
        Entry {
            xattrs: named,
            ..file("odd/xattrs")
        },
        b"xattrs\n",
    )?;
    let empty = vec![xattr("user.empty", b"")];
    tar.bytes(
        Entry {
            xattrs: empty,
            ..file("odd/xattr-empty")
        },
        b"xattr\n",
    )?;
    let capability = vec![xattr("security.capability", &NET_RAW)];
    tar.bytes(
        Entry {
            xattrs: capability,
            mode: 0o755,
            ..file("odd/capability")
        },
        b"#!/bin/sh\n",
    )?;
    let on_directory = vec![xattr("user.comment", b"of a directory")];
    tar.bytes(
        Entry {
            xattrs: on_directory,
            ..directory("odd/xattr-dir/")
        },
        b"",
    )?;
    Ok(())
}
