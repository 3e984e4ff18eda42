//! What a mount would refuse is not indexed.

use soci::build::BuildError::Unsupported;

use crate::layer::{build_tar, empty, file, link, pax, tar};

/// `None`: the members make a tree.
fn check(members: &[Vec<u8>], refused: Option<&str>) {
    let built = build_tar(&tar(members), 4 << 20);
    match (built, refused) {
        (Ok(_), None) => {}
        (Err(Unsupported { what }), Some(reason)) => assert!(what.contains(reason), "{what}"),
        (other, _) => panic!("{other:?}, expected: {refused:?}"),
    }
}

#[test]
fn hard_links_need_their_target_before_them() {
    let a = || file("d/a", b"x");
    let to = |target| link("l", b'1', target);
    check(&[a(), to("d/a")], None);
    check(&[a(), to("./d/../d/a")], None);
    check(&[a(), to("/d/a"), link("m", b'1', "l")], None);
    let reason = Some("l: hard link to d/a, which is not in this layer or comes later");
    check(&[to("d/a"), a()], reason);
    check(&[to("d/a")], reason);
    check(&[a(), to("d")], Some("hard link to a directory, d"));
    check(&[file("l", b"x"), to("l")], Some("hard link to l"));
    check(&[file(".wh.w", b""), to("w")], Some("hard link to w"));
    // What stood under a directory is gone with it.
    let replaced = file("d", b"x");
    check(&[a(), replaced, to("d/a")], reason);
}

#[test]
fn nothing_lies_below_a_file() {
    let reason = Some("d/a: file below something that is not a directory");
    check(&[file("d", b"x"), file("d/a", b"x")], reason);
    check(&[link("d", b'2', "e"), file("d/a", b"x")], reason);
    check(&[file("d/a", b"x"), empty("d/", b'5')], None);
    check(
        &[file("d", b"x"), empty("d/", b'5'), file("d/a", b"x")],
        None,
    );
}

#[test]
fn nothing_lies_in_a_directory_that_is_there_no_longer() {
    let reason = Some("d/b: file below something that is not a directory");
    let a = || file("d/a", b"x");
    for replaced in [file("d", b"x"), file("d/", b"x"), file("./d/", b"x")] {
        check(&[a(), replaced, file("d/b", b"x")], reason);
    }
    for name in ["d", "d/"] {
        let replaced = link(name, b'1', "t");
        check(&[file("t", b"x"), a(), replaced, file("d/b", b"x")], reason);
    }
    let reason = Some("d/e/b: file below something that is not a directory");
    check(
        &[file("d/e/a", b"x"), file("d/", b"x"), file("d/e/b", b"x")],
        reason,
    );
}

#[test]
fn names_that_climb_out_stay_inside() {
    let to = |target| link("l", b'1', target);
    check(&[file("../../a", b"x"), to("a")], None);
    check(&[file("/../a", b"x"), to("../../a")], None);
    check(
        &[
            file("d/../../e/a", b"x"),
            file("d/../../e/b", b"x"),
            to("e/b"),
        ],
        None,
    );
    check(
        &[file("d/../../e/a", b"x"), to("d/e/a")],
        Some("not in this layer"),
    );
    check(&[file("d/a", b"x"), file("d/..", b"x"), to("d/a")], None);
}

#[test]
fn symlinks_that_lead_to_themselves_are_symlinks() {
    let ring = || {
        [
            link("a", b'2', "b"),
            link("b", b'2', "a"),
            link("c", b'2', "c"),
        ]
    };
    check(&ring(), None);
    let with = |member| [&ring()[..], &[member]].concat();
    check(&with(link("h", b'1', "a")), None);
    check(&with(file("c/x", b"x")), Some("c/x: file below something"));
    check(&with(link("h", b'1', "c/x")), Some("not in this layer"));
}

#[test]
fn whiteouts_hide_something() {
    check(&[file("d/.wh.a", b""), file("d/.wh..wh..opq", b"")], None);
    check(
        &[file(".wh..wh.aufs", b""), file(".wh..wh.plnk/x", b"")],
        None,
    );
    check(&[file(".wh.d", b""), file("d/a", b"x")], None);
    check(&[file(".wh.", b"")], Some("whiteout of nothing"));
    check(&[file(".wh...", b"")], Some("whiteout of nothing"));
    check(&[file(".wh.d/a", b"")], Some("file below a whiteout"));
}

#[test]
fn symlinks_point_somewhere() {
    check(&[link("s", b'2', "../anywhere")], None);
    check(&[link("s", b'2', "")], Some("symlink without a target"));
}

#[test]
fn trees_have_a_bottom() {
    let deep = |depth| {
        let path = "d/".repeat(depth);
        [pax(&[("path", path.as_bytes())]), empty("d", b'5')]
    };
    check(&deep(256), None);
    check(&deep(257), Some("more than 256 directories deep"));
}

#[test]
fn the_root_may_be_named() {
    check(
        &[empty("./", b'5'), file("./a", b"x"), empty("/", b'5')],
        None,
    );
}
