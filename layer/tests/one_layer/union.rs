//! What a layer says to the union it becomes part of: whiteouts, opaque directories, extended attributes.

use crate::entries::{
    ROOT, Xattrs, build, check, check_refused, dir, file, hardlink, member, show, toc,
};
use layer::{Inode, Kind, Tree, TreeError, TreeOptions};
use soci::toc::Member;

#[test]
fn whiteouts_are_devices() {
    check(
        &[
            Member {
                uid: 3,
                mode: 0o644,
                ..file("d/.wh.f")
            },
            dir(".wh.g/"),
        ],
        &[
            "1 d755 0:0 3 /",
            "4 d755 0:0 2 /d",
            "2 c0 3:2 1 /d/f 0:0",
            "3 c0 1:2 1 /g 0:0",
        ],
    );
    // What is in the layer is not hidden by it.
    let shown = [ROOT, "2 -640 1:2 1 /f"];
    check(&[file("f"), file(".wh.f")], &shown);
    check(&[file(".wh.f"), file("f")], &[ROOT, "3 -640 1:2 1 /f"]);
    check(
        &[file(".wh.d"), file("d/f")],
        &["1 d755 0:0 3 /", "4 d755 0:0 2 /d", "3 -640 1:2 1 /d/f"],
    );
    let tree = build(&[file(".wh.f"), file(".wh..wh..opq")]).unwrap();
    for name in [".wh.f", ".wh..wh..opq", ".", "..", ""] {
        assert_eq!(tree.lookup(Inode::ROOT, name.as_bytes()), None, "{name}");
    }
}

#[test]
fn opaque_directories_say_so() {
    let opaque = "trusted.overlay.opaque=y";
    let members = [file("d/.wh..wh..opq"), file("e/f"), file(".wh..wh..opq")];
    check(
        &members,
        &[
            &format!("1 d755 0:0 4 / {opaque}"),
            &format!("5 d755 0:0 2 /d {opaque}"),
            "6 d755 0:0 2 /e",
            "3 -640 1:2 1 /e/f",
        ],
    );
    let options = TreeOptions { userxattr: true };
    let tree = Tree::build(toc(&members), &options).unwrap();
    assert!(tree.has_xattrs());
    assert!(show(&tree)[0].ends_with("/ user.overlay.opaque=y"));
    // Also where the directory's own entry comes later.
    check(
        &[file("d/.wh..wh..opq"), dir("d")],
        &["1 d755 0:0 3 /", &format!("4 d750 1:2 2 /d {opaque}")],
    );
}

#[test]
fn the_metadata_of_other_union_filesystems_is_dropped() {
    check(
        &[
            file(".wh..wh.aufs"),
            dir(".wh..wh.plnk/"),
            file(".wh..wh.plnk/1.2"),
        ],
        &[ROOT],
    );
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    let whiteout = |error: &TreeError| matches!(error, TreeError::Whiteout { .. });
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..", ".wh.d/f"] {
        check_refused(&[file(name)], whiteout);
    }
}

#[test]
fn a_device_of_the_image_is_what_it_is() {
    check(&[member("c", Kind::Char)], &[ROOT, "2 c640 1:2 1 /c 0:0"]);
}

#[test]
fn attributes_add_up_and_the_last_value_counts() {
    let first: Xattrs<'_> = &[(b"user.a", b"1"), (b"user.b", b"1")];
    let second: Xattrs<'_> = &[(b"user.b", b"2"), (b"user.c", b"2")];
    check(
        &[
            Member {
                xattrs: first,
                ..dir("d")
            },
            Member {
                xattrs: second,
                ..dir("d")
            },
        ],
        &[
            "1 d755 0:0 3 /",
            "2 d750 1:2 2 /d user.b=2 user.c=2 user.a=1",
        ],
    );
    check(
        &[
            Member {
                xattrs: first,
                ..file("f")
            },
            Member {
                xattrs: second,
                ..hardlink("g", "f")
            },
        ],
        &[
            ROOT,
            "2 -640 1:2 2 /f user.b=2 user.c=2 user.a=1",
            "2 -640 1:2 2 /g user.b=2 user.c=2 user.a=1",
        ],
    );
    let hostile: Xattrs<'_> = &[
        (b"trusted.overlay.opaque", b"y"),
        (b"trusted.overlay.redirect", b"/etc"),
        (b"user.fine", b"1"),
        (b"user.overlay.opaque", b"y"),
    ];
    let members = [Member {
        xattrs: hostile,
        ..dir("d")
    }];
    check(
        &members,
        &[
            "1 d755 0:0 3 /",
            "2 d750 1:2 2 /d user.fine=1 user.overlay.opaque=y",
        ],
    );
    let options = TreeOptions { userxattr: true };
    let tree = Tree::build(toc(&members), &options).unwrap();
    assert_eq!(tree.xattrs(Inode(2)).count(), 1);
    assert!(tree.has_xattrs());
    let tree = Tree::build(toc(&[file("f")]), &options).unwrap();
    assert!(!tree.has_xattrs());
}

#[test]
fn capabilities_do_not_outlive_a_change_of_owner() {
    let capability = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let xattrs: Xattrs<'_> = &[(b"security.capability", &capability)];
    let with = Member {
        xattrs,
        ..file("f")
    };
    let tree = build(&[with]).unwrap();
    assert_eq!(
        tree.xattr(Inode(2), b"security.capability"),
        Some(&capability[..])
    );
    let tree = build(&[with, hardlink("g", "f")]).unwrap();
    assert_eq!(tree.xattr(Inode(2), b"security.capability"), None);
    let tree = build(&[
        file("f"),
        Member {
            xattrs,
            ..hardlink("g", "f")
        },
    ])
    .unwrap();
    assert!(tree.xattr(Inode(2), b"security.capability").is_some());
}
