//! `soci convert --standalone` between the files that other tools write and read.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use harness::command::run;
use harness::image::{Form, Image};
use harness::layout::Layout;
use harness::scratch::Scratch;
use harness::soci::Soci;

/// What skopeo reads in a file or directory.
fn inspected(place: &str) -> Result<serde_json::Value> {
    let json = run(Command::new("skopeo").args(["inspect", "--raw", place]))?;
    Ok(serde_json::from_str(&json)?)
}

#[test]
fn a_directory_and_a_tar_become_one_and_the_same_image() -> Result<()> {
    let image = Image::get("redis", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let soci = Soci::new(scratch.path())?;
    let path = |name: &str| scratch.path().join(name).display().to_string();
    image
        .layout
        .archive(scratch.path().join("in.tar").as_path())?;
    let directory = image.layout.dir().display().to_string();
    let mut digests = Vec::new();
    for (source, name) in [(&directory, "from-dir"), (&path("in.tar"), "from-tar")] {
        for format in ["oci-archive", "oci-dir"] {
            let out = path(&format!("{name}-{format}"));
            let said = soci.done(&["convert", "--standalone", "--format", format, source, &out])?;
            digests.push(said.lines().last().context("no digest")?.to_owned());
            let kind = if format == "oci-dir" {
                "oci"
            } else {
                "oci-archive"
            };
            let read = inspected(&format!("{kind}:{out}"))?;
            let listed = read["manifests"].as_array().context("no image index")?;
            ensure!(listed.len() == 2, "{read:#}");
            let again = path(&format!("{name}-{format}-again"));
            let said = soci.done(&["convert", "--standalone", &out, &again])?;
            digests.push(said.lines().last().context("no digest")?.to_owned());
            soci.done(&["verify", &again])?;
        }
    }
    digests.dedup();
    ensure!(digests.len() == 1, "{digests:?}");
    Ok(())
}

#[test]
fn what_docker_saves_becomes_an_image_with_an_index() -> Result<()> {
    let image = Image::get("redis", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let saved = scratch.path().join("saved.tar");
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "-q"])
        .arg(format!("oci:{}:latest", image.layout.dir().display()))
        .arg(format!("docker-archive:{}:redis:latest", saved.display())))?;
    let soci = Soci::new(scratch.path())?;
    let (saved, out) = (saved.display().to_string(), scratch.path().join("out"));
    let target = out.display().to_string();
    let said = soci.done(&[
        "convert",
        "--standalone",
        "--format=oci-dir",
        &saved,
        &target,
    ])?;
    ensure!(
        said.matches(" -> ztoc ").count() == image.layers()?.len(),
        "{said}"
    );
    soci.done(&["verify", &target])?;
    Layout::open(&out)?;
    Ok(())
}

#[test]
fn wrong_input_is_a_reason_and_no_output() -> Result<()> {
    let scratch = Scratch::in_memory()?;
    let soci = Soci::new(scratch.path())?;
    let out = scratch.path().join("out");
    let target = out.display().to_string();
    soci.refused(1, &["convert", "--standalone", "/nowhere", &target])?;
    let wrong = soci.run(&[
        "convert",
        "--standalone",
        "--format=zip",
        "/nowhere",
        &target,
    ])?;
    ensure!(wrong.code == 2, "{wrong:#?}");
    let missing = soci.run(&["convert", "--standalone", "/nowhere"])?;
    ensure!(missing.code == 2, "{missing:#?}");
    let empty = scratch.path().join("empty");
    Layout::create(&empty)?;
    soci.refused(
        1,
        &[
            "convert",
            "--standalone",
            &empty.display().to_string(),
            &target,
        ],
    )?;
    ensure!(!out.exists(), "something was written");
    Ok(())
}
