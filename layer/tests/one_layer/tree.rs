//! The tree that unpacking would make, from the entries of a tar.

use crate::entries::{
    ROOT, build, check, check_refused, dir, file, hardlink, member, show, symlink,
};
use crate::support::fixture;
use layer::{Inode, Kind, Mtime, Tree, TreeError, TreeOptions};
use soci::toc::Member;

#[test]
fn an_empty_layer_is_an_empty_directory() {
    check(&[], &[ROOT]);
}

#[test]
fn entries_keep_their_attributes() {
    check(
        &[
            dir("d/"),
            file("d/f"),
            symlink("l", "../x"),
            Member {
                device: (8, 1),
                ..member("b", Kind::Block)
            },
            Member {
                device: (1, 3),
                ..member("c", Kind::Char)
            },
            member("p", Kind::Fifo),
            Member {
                mode: 0o6755,
                ..file("s")
            },
        ],
        &[
            "1 d755 0:0 3 /",
            "5 b640 1:2 1 /b 8:1",
            "6 c640 1:2 1 /c 1:3",
            "2 d750 1:2 2 /d",
            "3 -640 1:2 1 /d/f",
            "4 l777 1:2 1 /l -> ../x",
            "7 p640 1:2 1 /p",
            "8 -6755 1:2 1 /s",
        ],
    );
}

#[test]
fn sizes_times_and_blocks_are_those_of_the_unpacked_tree() {
    let members = [
        Member {
            size: 513,
            ..file("f")
        },
        symlink("l", "four"),
        dir("d"),
        Member {
            mtime: None,
            ..file("n")
        },
        Member {
            mtime: Some(Mtime {
                seconds: -1,
                nanos: 5,
            }),
            ..file("old")
        },
        Member {
            mtime: Some(Mtime {
                seconds: 9_223_372_037,
                nanos: 0,
            }),
            ..file("late")
        },
        file("implied/f"),
    ];
    let tree = build(&members).unwrap();
    let get = |name: &str| {
        tree.attr(tree.lookup(Inode::ROOT, name.as_bytes()).unwrap())
            .unwrap()
    };
    let epoch = Mtime {
        seconds: 0,
        nanos: 0,
    };
    assert_eq!((get("f").size, get("f").blocks), (513, 2));
    assert_eq!(
        get("f").mtime,
        Mtime {
            seconds: 1000,
            nanos: 7
        }
    );
    assert_eq!((get("l").size, get("l").blocks), (4, 0));
    assert_eq!((get("d").size, get("d").blocks), (4096, 8));
    for name in ["n", "old", "late", "implied"] {
        assert_eq!(get(name).mtime, epoch, "{name}");
    }
}

#[test]
fn directories_that_nothing_names_are_made() {
    check(
        &[file("a/b/f"), file("x/f"), file("a/g"), dir("a/b/")],
        &[
            "1 d755 0:0 4 /",
            "6 d755 0:0 3 /a",
            "7 d750 1:2 2 /a/b",
            "2 -640 1:2 1 /a/b/f",
            "4 -640 1:2 1 /a/g",
            "8 d755 0:0 2 /x",
            "3 -640 1:2 1 /x/f",
        ],
    );
}

#[test]
fn an_entry_for_the_root_changes_nothing() {
    for name in ["./", ".", "/", "a/.."] {
        check(
            &[dir(name), file("./f")],
            &["1 d755 0:0 2 /", "3 -640 1:2 1 /f"],
        );
    }
}

#[test]
fn names_are_cleaned_and_none_leaves_the_root() {
    check(
        &[
            file("../../f"),
            file("/a//./g"),
            file("a/../h"),
            file("..."),
            file("b/../../i"),
        ],
        &[
            "1 d755 0:0 3 /",
            "5 -640 1:2 1 /...",
            "7 d755 0:0 2 /a",
            "3 -640 1:2 1 /a/g",
            "2 -640 1:2 1 /f",
            "4 -640 1:2 1 /h",
            "6 -640 1:2 1 /i",
        ],
    );
}

#[test]
fn of_equal_names_the_last_counts() {
    check(
        &[
            file("f"),
            Member {
                mode: 0o600,
                ..file("./f")
            },
        ],
        &[ROOT, "3 -600 1:2 1 /f"],
    );
    check(
        &[file("f"), symlink("f", "x")],
        &[ROOT, "3 l777 1:2 1 /f -> x"],
    );
    // A directory over a directory changes what it says, not what it holds.
    check(
        &[
            dir("d"),
            file("d/f"),
            Member {
                mode: 0o700,
                uid: 9,
                ..dir("d/")
            },
        ],
        &["1 d755 0:0 3 /", "2 d700 9:2 2 /d", "3 -640 1:2 1 /d/f"],
    );
    check(
        &[file("d"), dir("d"), file("d/f")],
        &["1 d755 0:0 3 /", "3 d750 1:2 2 /d", "4 -640 1:2 1 /d/f"],
    );
}

#[test]
fn what_replaces_a_directory_removes_what_it_held() {
    let below = [
        dir("d"),
        dir("d/e"),
        file("d/e/f"),
        file("d/.wh.w"),
        file("d/.wh..wh..opq"),
    ];
    let mut members = below.to_vec();
    members.push(file("d"));
    check(&members, &[ROOT, "7 -640 1:2 1 /d"]);
    members.push(dir("d"));
    members.push(file("d/g"));
    check(
        &members,
        &["1 d755 0:0 3 /", "8 d750 1:2 2 /d", "9 -640 1:2 1 /d/g"],
    );
    let tree = build(&members).unwrap();
    for gone in [2, 3, 4, 5, 6, 7, 10, 1000] {
        assert_eq!(tree.attr(Inode(gone)), None, "inode {gone}");
        assert!(tree.children(Inode(gone)).is_none());
        assert_eq!(tree.xattrs(Inode(gone)).count(), 0);
    }
}

#[test]
fn a_hard_link_is_its_target() {
    // The last of the names says whose it is, as an unpacker sets owner and mode once per name.
    check(
        &[
            file("a"),
            hardlink("d/b", "./a"),
            Member {
                uid: 7,
                ..hardlink("c", "/d/b")
            },
        ],
        &[
            "1 d755 0:0 3 /",
            "2 -640 7:2 3 /a",
            "2 -640 7:2 3 /c",
            "5 d755 0:0 2 /d",
            "2 -640 7:2 3 /d/b",
        ],
    );
    let tree = build(&[
        Member {
            size: 300,
            ..file("a")
        },
        hardlink("b", "a"),
    ])
    .unwrap();
    assert_eq!(tree.attr(Inode(2)).unwrap().size, 300);
    assert_eq!(tree.data(Inode(2)).unwrap().0.0, 0);
    // The name goes, the file stays under its other one.
    check(
        &[
            file("a"),
            hardlink("b", "a"),
            Member {
                mode: 0o600,
                ..file("a")
            },
        ],
        &[ROOT, "4 -600 1:2 1 /a", "2 -640 1:2 1 /b"],
    );
    check(
        &[symlink("l", "x"), hardlink("m", "l")],
        &[ROOT, "2 l777 1:2 2 /l -> x", "2 l777 1:2 2 /m -> x"],
    );
}

#[test]
fn a_hard_link_needs_its_target_before_it() {
    let missing = |error: &TreeError| matches!(error, TreeError::MissingTarget { .. });
    check_refused(&[hardlink("b", "a")], missing);
    check_refused(&[hardlink("b", "a"), file("a")], missing);
    check_refused(&[file("a"), hardlink("a", "a")], missing);
    check_refused(&[file("d/a"), hardlink("d", "d/a")], missing);
}

#[test]
fn nothing_lies_below_what_is_not_a_directory() {
    let refused = |error: &TreeError| matches!(error, TreeError::NotADirectory { .. });
    check_refused(&[file("f"), file("f/g")], refused);
    check_refused(&[symlink("l", "/etc"), file("l/passwd")], refused);
    check_refused(
        &[dir("d"), file("d/f"), symlink("d", "/etc"), file("d/f")],
        refused,
    );
    check_refused(&[dir("d"), hardlink("e", "d")], |error| {
        matches!(error, TreeError::LinkedDirectory { .. })
    });
}

#[test]
fn bad_symlinks_are_refused() {
    let refused = |error: &TreeError| matches!(error, TreeError::SymlinkTarget { .. });
    check_refused(&[symlink("l", "")], refused);
    check_refused(&[symlink("l", &"a/".repeat(2048))], refused);
    assert!(build(&[symlink("l", &"a/".repeat(2047))]).is_ok());
}

#[test]
fn depth_has_a_limit() {
    assert!(build(&[dir(&"d/".repeat(256))]).is_ok());
    let deep = |error: &TreeError| matches!(error, TreeError::Deep { .. });
    check_refused(&[dir(&"d/".repeat(257))], deep);
    let parent = "d/".repeat(256);
    let child = format!("{parent}f");
    check_refused(&[dir(&parent), file(&child)], deep);
}

#[test]
fn a_real_layer_has_its_tree() {
    let tree = Tree::build(fixture("gnu").toc(), &TreeOptions::default()).unwrap();
    let lines = show(&tree);
    let shown: Vec<_> = lines
        .iter()
        .map(|line| &line[line.find(' ').unwrap() + 1..])
        .collect();
    for expected in [
        "d755 0:0 8 /",
        "c666 0:0 1 /dev/null 1:3",
        "c0 0:0 1 /etc/gone 0:0",
        "-644 0:0 2 /etc/passwd",
        "l777 0:0 1 /etc/link -> passwd",
        "d755 0:0 2 /opq trusted.overlay.opaque=y",
        "d1777 0:0 2 /sticky",
    ] {
        assert!(
            shown.contains(&expected),
            "{expected} is not among {shown:#?}"
        );
    }
}
