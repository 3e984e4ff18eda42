//! How often the kernel has to ask.

// clippy.toml exempts test functions, but not what they share.
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod support;

use std::fs;
use std::io::ErrorKind;

use fuse::{Opcode, Options};
use support::tar::Tar;
use support::{Mounted, mount_tar, mount_whole, uncompressed};

/// Messages of each kind that `work` causes, FORGET aside: the kernel sends those when it likes.
fn asked(mounted: &Mounted, work: impl FnOnce()) -> Vec<(Opcode, u64)> {
    let count = || -> Vec<u64> {
        Opcode::ALL
            .iter()
            .map(|&opcode| mounted.counters().of(opcode))
            .collect()
    };
    let before = count();
    work();
    let forgets = [Opcode::Forget, Opcode::BatchForget];
    let grown = Opcode::ALL.iter().zip(count()).zip(before);
    grown
        .map(|((&opcode, after), before)| (opcode, after - before))
        .filter(|(opcode, more)| *more > 0 && !forgets.contains(opcode))
        .collect()
}

#[track_caller]
fn check(mounted: &Mounted, expect: &[(Opcode, u64)], work: impl FnOnce()) {
    assert_eq!(asked(mounted, work), expect);
}

fn local(name: &str) -> Mounted {
    mount_tar(&uncompressed(name), &Options::default())
}

#[test]
fn a_file_that_was_read_is_opened_and_read_again_without_a_message() {
    let mounted = mount_whole("pax");
    let big = mounted.join("big");
    let first = fs::read(&big).unwrap();
    check(&mounted, &[], || assert_eq!(fs::read(&big).unwrap(), first));
}

#[test]
fn the_first_read_of_resident_bytes_is_one_message() {
    let mounted = local("pax");
    let read = |name: &str| {
        fs::read(mounted.join(name)).unwrap();
    };
    // OPEN and FLUSH are answered once and for all.
    check(
        &mounted,
        &[
            (Opcode::Lookup, 1),
            (Opcode::Open, 1),
            (Opcode::Read, 1),
            (Opcode::Flush, 1),
        ],
        || read("caps"),
    );
    check(&mounted, &[(Opcode::Lookup, 1), (Opcode::Read, 1)], || {
        read("setuid")
    });
    fs::metadata(mounted.join("bigid")).unwrap();
    check(&mounted, &[(Opcode::Read, 1)], || read("bigid"));
}

#[test]
fn a_missing_name_is_asked_for_once() {
    let mounted = local("pax");
    let missing = mounted.join("etc/nothing");
    let stat = || {
        assert_eq!(
            fs::metadata(&missing).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    };
    check(&mounted, &[(Opcode::Lookup, 2)], stat);
    check(&mounted, &[], stat);
}

#[test]
fn a_link_is_read_once() {
    let mounted = local("pax");
    let link = mounted.join("etc/link");
    let read = || assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("passwd"));
    check(
        &mounted,
        &[(Opcode::Lookup, 2), (Opcode::Readlink, 1)],
        read,
    );
    check(&mounted, &[], read);
}

fn many() -> Mounted {
    let files = (0..3000).fold(Tar::default().directory("d/", 0o755), |tar, number| {
        tar.file(&format!("d/file-{number:04}"), 0o644, &[])
    });
    mount_tar(&files.finish(), &Options::default())
}

#[test]
fn a_large_directory_is_listed_in_a_few_messages_and_then_in_none() {
    let mounted = many();
    let list = || assert_eq!(fs::read_dir(mounted.join("d")).unwrap().count(), 3000);
    let first = asked(&mounted, list);
    println!("names: {first:?}");
    assert!(
        first.iter().map(|(_, more)| more).sum::<u64>() <= 20,
        "{first:?}"
    );
    check(&mounted, &[], list);
}

#[test]
fn what_was_listed_is_looked_at_without_a_message() {
    let mounted = many();
    let list = || {
        let listed = fs::read_dir(mounted.join("d")).unwrap();
        // All names first, as `ls` does.
        listed.map(|child| child.unwrap()).collect::<Vec<_>>()
    };
    let names = list();
    let look = || {
        for name in &names {
            name.metadata().unwrap();
        }
    };
    check(&mounted, &[], look);
    check(&mounted, &[], || drop(list()));
}

#[test]
fn a_layer_without_xattrs_is_asked_for_them_once() {
    let mounted = many();
    let file = mounted.join("d/file-0007");
    fs::metadata(&file).unwrap();
    let get = || {
        assert!(xattr::get(&file, "user.a").is_err());
    };
    check(&mounted, &[(Opcode::Getxattr, 1)], get);
    check(&mounted, &[], get);
}

#[test]
fn a_sequential_read_comes_in_requests_of_128_kib() {
    let mounted = local("pax");
    let big = mounted.join("big");
    fs::metadata(&big).unwrap();
    let reads = asked(&mounted, || {
        fs::read(&big).unwrap();
    });
    println!("600000 bytes: {reads:?}");
    let reads = reads
        .iter()
        .find(|(opcode, _)| *opcode == Opcode::Read)
        .unwrap()
        .1;
    assert!(reads <= 8, "{reads} READs for 600000 bytes");
}
