//! Which layers get a zTOC.

use soci::plan::{self, LayerPlan, Skip};
use soci::spans::Compression;

fn check(media_type: &str, expected: LayerPlan) {
    assert_eq!(plan::layer(media_type, 100, 100), expected, "{media_type}");
}

#[test]
fn the_media_type_says_how_a_layer_is_read() {
    let gzip = LayerPlan::Index(Compression::Gzip);
    let tar = LayerPlan::Index(Compression::Tar);
    let zstd = LayerPlan::Skip(Skip::Zstd);
    let unsupported = LayerPlan::Skip(Skip::Unsupported);
    for (name, expected) in [
        ("v1.tar+gzip", gzip),
        ("nondistributable.v1.tar+gzip", gzip),
        ("v1.tar", tar),
        ("v1.tar+zstd", zstd),
        ("nondistributable.v1.tar+zstd", zstd),
        ("nondistributable.v1.tar", unsupported),
        ("v1.tar+encrypted", unsupported),
        ("v1.tar+gzip+encrypted", unsupported),
    ] {
        check(&format!("application/vnd.oci.image.layer.{name}"), expected);
    }
    for (name, expected) in [
        ("diff.tar.gzip", gzip),
        ("foreign.diff.tar.gzip", gzip),
        ("diff.tar", tar),
        ("foreign.diff.tar", tar),
        ("diff.tar.zstd", zstd),
        ("diff.tar.gzip+encrypted", unsupported),
    ] {
        check(
            &format!("application/vnd.docker.image.rootfs.{name}"),
            expected,
        );
    }
}

#[test]
fn what_is_no_layer_is_told_apart() {
    for media_type in [
        "application/vnd.in-toto+json",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "application/octet-stream",
        "application/vnd.docker.image.rootfs.",
        "",
    ] {
        check(media_type, LayerPlan::NotALayer);
    }
    let prefetch = "application/vnd.amazon.soci.prefetch.v1+json";
    check(prefetch, LayerPlan::Skip(Skip::Prefetch));
}

#[test]
fn a_layer_of_just_the_minimum_is_indexed() {
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let small = LayerPlan::Skip(Skip::TooSmall { size: 99, min: 100 });
    assert_eq!(plan::layer(gzip, 99, 100), small);
    check(gzip, LayerPlan::Index(Compression::Gzip));
    // A small layer that is none is still none.
    assert_eq!(plan::layer("x/y", 1, 100), LayerPlan::NotALayer);
}
