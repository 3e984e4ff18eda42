//! `convert --standalone` and `publish` between files: the same bytes as the reference, without anything else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers count as code otherwise

mod support;

use std::os::unix::process::CommandExt;

use support::image::{GZIP, Layout, docker_archive, files, gzip, noise, tar};
use support::{Run, fixture, program, soci, text};
use tempfile::tempdir;

/// Digest of the image that the reference tool makes of the fixture.
const CONVERTED: &str = "sha256:c2dc41bbf9cc91a967d855792471d839c3e90c31c2a9cf9bb746c6acfdcd9859";

fn check(arguments: &[&str], source: &str) -> (Run, Vec<u8>) {
    let directory = tempdir().unwrap();
    let output = directory.path().join("out.tar");
    let fixed = ["convert", "--standalone", "--min-layer-size", "0"];
    let run = soci(
        fixed
            .iter()
            .chain(arguments)
            .copied()
            .chain([source, text(&output)]),
    );
    let bytes = std::fs::read(&output).unwrap_or_default();
    (run, bytes)
}

#[test]
fn a_converted_image_is_the_reference_tools_to_the_byte() {
    let options =
        "--all-platforms --optimizations xattr --prefetch-file app/f0 --prefetch-file /app/f1";
    let options: Vec<_> = options.split(' ').collect();
    let (run, tar) = check(&options, text(&fixture()));
    let run = run.quiet();
    assert_eq!(run.last(), CONVERTED);
    assert!(run.stdout.contains(
        "layer sha256:4c4e733498fea5eb8bfb14b449439975af3a813ba35a27ad7717a825987c5cc4 -> ztoc sha256:567c838730b30e49415d82d842bd8af0a1284ba4cc46f43aec91924799d4e827\n"
    ));
    let blob = format!("blobs/sha256/{}", &CONVERTED[7..]);
    assert!(files(&tar).iter().any(|(name, _)| *name == blob));
}

#[test]
fn the_number_of_jobs_does_not_show_in_the_result() {
    let layout = tempdir().unwrap();
    Layout(layout.path()).two_platforms();
    let source = text(layout.path());
    let (one, first) = check(&["--all-platforms", "--jobs", "1"], source);
    let (many, second) = check(&["--all-platforms", "--jobs", "7"], source);
    assert_eq!(one.quiet().stdout, many.quiet().stdout);
    assert!(first == second);
    assert_eq!(
        files(&first)
            .iter()
            .filter(|(name, _)| name.starts_with("blobs/"))
            .count(),
        14
    );
}

#[test]
fn an_image_converted_again_stays_the_same() {
    let layout = tempdir().unwrap();
    Layout(layout.path()).two_platforms();
    let (run, tar) = check(&["--all-platforms"], text(layout.path()));
    let digest = run.quiet().last().to_owned();
    let again = layout.path().join("again.tar");
    std::fs::write(&again, tar).unwrap();
    let (run, _) = check(&["--all-platforms"], text(&again));
    assert_eq!(run.quiet().last(), digest);
}

#[test]
fn what_docker_saves_is_converted_compressed_or_not() {
    let directory = tempdir().unwrap();
    let layer = tar(&[("a", b'0', &noise(1, 5000))]);
    for layer in [layer.clone(), gzip(&layer)] {
        let archive = directory.path().join("saved.tar");
        std::fs::write(&archive, docker_archive(&[&layer])).unwrap();
        let output = directory.path().join("out.tar");
        let converted = [
            "convert",
            "--standalone",
            "--min-layer-size",
            "0",
            text(&archive),
            text(&output),
        ];
        let run = soci(converted).quiet();
        assert!(run.stdout.starts_with("layer sha256:"), "{}", run.stdout);
        soci(["verify", text(&output)]).quiet();
    }
}

#[test]
fn a_layer_that_no_index_serves_is_left_out_and_named() {
    let layout = tempdir().unwrap();
    let good = gzip(&tar(&[("a", b'0', &noise(1, 5000))]));
    let global = gzip(&tar(&[("pax", b'g', b"11 a=bcde\n\n"), ("b", b'0', b"b")]));
    let layout_of = Layout(layout.path());
    let image = layout_of.image("amd64", &[(GZIP, &good), (GZIP, &global)]);
    layout_of.index(&[image]);
    let (run, _) = check(&["--all-platforms"], text(layout.path()));
    let run = run.quiet();
    let skipped: Vec<_> = run
        .stdout
        .lines()
        .filter(|l| l.starts_with("ztoc skipped - layer "))
        .collect();
    assert_eq!(skipped.len(), 1, "{}", run.stdout);
}

#[test]
fn a_damaged_layer_fails_by_name_and_writes_nothing() {
    let layout = tempdir().unwrap();
    let mut cut = gzip(&tar(&[("a", b'0', &noise(1, 5000))]));
    cut.truncate(3000);
    let layout_of = Layout(layout.path());
    let image = layout_of.image("amd64", &[(GZIP, &cut)]);
    layout_of.index(&[image]);
    let (run, tar) = check(&[], text(layout.path()));
    run.fails(1, &support::image::digest(&cut));
    assert!(tar.is_empty());
}

#[test]
fn nothing_to_index_has_its_own_exit_code() {
    let directory = tempdir().unwrap();
    let output = directory.path().join("out.tar");
    let run = soci(["convert", "--standalone", text(&fixture()), text(&output)]);
    let run = run.fails(3, "--min-layer-size");
    assert!(run.stdout.contains("ztoc skipped - layer sha256:"));
    assert!(!output.exists());
}

#[test]
fn wrong_input_is_told_from_failure() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, gzip(&noise(1, 5000))).unwrap();
    check(&[], text(&path)).0.fails(1, "gunzip");
    std::fs::write(&path, b"no tar at all").unwrap();
    check(&[], text(&path)).0.fails(1, "tar");
    check(&[], "/nonexistent").0.fails(1, "/nonexistent");
    check(&["--platform", "linux/s390x"], text(&fixture()))
        .0
        .fails(1, "linux/amd64");
    check(&["--platform", "a/b/c/d"], text(&fixture()))
        .0
        .fails(2, "a/b/c/d");
    check(&["--prefetch-file", "no/such"], text(&fixture()))
        .0
        .fails(1, "no/such");
    assert_eq!(check(&["--span-size", "0"], text(&fixture())).0.code, 2);
}

#[test]
fn a_directory_with_other_files_is_not_written_to() {
    let directory = tempdir().unwrap();
    std::fs::write(directory.path().join("precious"), "x").unwrap();
    let arguments = [
        "convert",
        "--standalone",
        "--format",
        "oci-dir",
        "--min-layer-size",
        "0",
    ];
    let paths = [
        text(&fixture()).to_owned(),
        text(directory.path()).to_owned(),
    ];
    let all = arguments.iter().map(|a| (*a).to_owned()).chain(paths);
    soci(all).fails(2, "choose a new or empty directory");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_partial_copy_is_an_image_of_the_platforms_it_has() {
    let layout = tempdir().unwrap();
    let layout_of = Layout(layout.path());
    let layer = gzip(&tar(&[("a", b'0', b"a")]));
    let here = layout_of.image("arm64", &[(GZIP, &layer)]);
    let mut absent = here.clone();
    absent["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    absent["platform"]["architecture"] = "amd64".into();
    layout_of.index(&[absent, here]);
    let (run, _) = check(&["--json"], text(layout.path()));
    let json: Vec<_> = run.stdout.lines().collect();
    let json: serde_json::Value = serde_json::from_str(&json.join("\n")).unwrap();
    assert_eq!(json["platforms"][0]["platform"], "linux/arm64");
}

#[test]
fn an_ordinary_user_needs_nothing_but_the_files() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("out");
    let mut command = program();
    command.args([
        "convert",
        "--standalone",
        "--min-layer-size",
        "0",
        "--format",
        "oci-dir",
    ]);
    command.args([text(&fixture()), text(&path)]);
    command.env_clear();
    // Where the tests run as root, the program does not.
    if std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).unwrap();
        let copy = directory.path().join("soci");
        std::fs::copy(env!("CARGO_BIN_EXE_soci"), &copy).unwrap();
        let source = directory.path().join("in");
        copy_tree(&fixture(), &source);
        command = std::process::Command::new(copy);
        command.args([
            "convert",
            "--standalone",
            "--min-layer-size",
            "0",
            "--format",
            "oci-dir",
        ]);
        command
            .args([text(&source), text(&path)])
            .env_clear()
            .uid(65534)
            .gid(65534);
    }
    Run::of(command.output().unwrap()).quiet();
    soci(["verify", text(&path)]).quiet();
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
