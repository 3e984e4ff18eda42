//! `soci create`, `convert` and `push` on a real containerd: what they make can be listed, pulled, and outlives
//! its garbage collector just as long as its image.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use harness::containerd::{Containerd, Flavor};
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::scratch::Scratch;
use harness::soci::Soci;
use harness::stack::{machine, with_stack};
use serde_json::Value;

const IMAGE: &str = "localhost/image:latest";

/// A containerd that has one image and nothing else.
fn check(test: impl FnOnce(&Containerd, &Soci, &Image) -> Result<()>) -> Result<()> {
    let _machine = machine();
    let image = Image::get("odd", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let containerd = Containerd::start(&scratch.path().join("c"), Flavor::Transfer, None)?;
    containerd.import("localhost/image", &image.layout)?;
    let soci = Soci::with_containerd(scratch.path(), &containerd)?;
    let outcome = test(&containerd, &soci, &image);
    outcome.with_context(|| containerd.log())
}

fn contents(containerd: &Containerd) -> Result<BTreeSet<String>> {
    let listed = containerd.run_ctr(&["content", "ls", "-q"])?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Waits for a collection: that is what `--sync` does.
fn collect(containerd: &Containerd) -> Result<()> {
    let tiny = Image::get("tiny", Form::Plain)?;
    containerd.import("localhost/other", &tiny.layout)?;
    containerd
        .run_ctr(&["images", "rm", "--sync", "localhost/other:latest"])
        .map(drop)
}

/// What is made stays while `image` is there, and goes with it.
fn lives_with(image: &str, arguments: &[&str]) -> Result<()> {
    check(|containerd, soci, _| {
        let before = contents(containerd)?;
        soci.done(arguments)?;
        let made: Vec<_> = contents(containerd)?.difference(&before).cloned().collect();
        ensure!(
            made.len() >= 3,
            "index, config and zTOC are not among {made:?}"
        );
        collect(containerd)?;
        let kept = contents(containerd)?;
        ensure!(
            made.iter().all(|digest| kept.contains(digest)),
            "{made:?} in {kept:?}"
        );
        containerd.run_ctr(&["images", "rm", "--sync", image])?;
        let rest = contents(containerd)?;
        let left: Vec<_> = made
            .iter()
            .filter(|digest| rest.contains(*digest))
            .collect();
        ensure!(left.is_empty(), "left for ever: {left:?}");
        Ok(())
    })
}

#[test]
fn an_index_lives_as_long_as_its_image() -> Result<()> {
    lives_with(IMAGE, &["create", "--min-layer-size=0", IMAGE])
}

#[test]
fn what_a_converted_image_has_of_its_own_lives_as_long_as_it() -> Result<()> {
    let target = "localhost/converted:latest";
    lives_with(target, &["convert", "--min-layer-size=0", IMAGE, target])
}

#[test]
fn ztocs_are_reused_unless_forced() -> Result<()> {
    check(|_, soci, _| {
        let create = ["create", "--min-layer-size=0", IMAGE];
        let convert = ["convert", "--min-layer-size=0", IMAGE, "localhost/b:1"];
        let reused = |said: String| said.matches("already exists").count();
        ensure!(
            reused(soci.done(&create)?) == 0,
            "before there was anything"
        );
        let indexed = soci.done(&create)?.matches(" -> ztoc ").count();
        ensure!(
            indexed > 0 && reused(soci.done(&create)?) == indexed,
            "not reused"
        );
        ensure!(
            reused(soci.done(&convert)?) == indexed,
            "not reused for a conversion"
        );
        ensure!(
            reused(soci.done(&[&convert[..], &["--force"]].concat())?) == 0,
            "reused by force"
        );
        Ok(())
    })
}

#[test]
fn sizes_choose_the_layers_and_none_is_no_index() -> Result<()> {
    check(|containerd, soci, image| {
        for limit in [0, 4 << 20, 10 << 20] {
            let said = soci.done(&["create", &format!("--min-layer-size={limit}"), IMAGE])?;
            let large = image
                .layers()?
                .into_iter()
                .filter(|layer| layer.size >= limit);
            let unfit = 1; // The layer with an empty attribute.
            let small = image.layers()?.len() - large.clone().count();
            let skipped = said.matches("ztoc skipped - layer ").count();
            let expected = small + if limit < 9 << 20 { unfit } else { 0 };
            ensure!(
                skipped == expected,
                "{limit}: {skipped} skipped, not {expected}: {said}"
            );
        }
        let before = contents(containerd)?;
        let said = soci.run(&["create", "--min-layer-size=1000000000", IMAGE])?;
        ensure!(
            said.code == 3 && said.stderr.starts_with("soci: "),
            "{said:#?}"
        );
        let made: Vec<_> = contents(containerd)?.difference(&before).cloned().collect();
        ensure!(made.is_empty(), "an index of nothing: {made:?}");
        Ok(())
    })
}

#[test]
fn what_was_built_is_listed_removed_and_found_again() -> Result<()> {
    check(|_, soci, _| {
        soci.done(&["create", "--min-layer-size=0", IMAGE])?;
        let list = |what: &str| soci.done(&[what, "list", "-q"]);
        let (index, ztocs) = (list("index")?, list("ztoc")?);
        ensure!(
            index.lines().count() == 1 && ztocs.lines().count() == 2,
            "{index}{ztocs}"
        );
        let table = soci.done(&["index", "list", "--ref", IMAGE])?;
        ensure!(
            table.contains(index.trim()) && table.contains(IMAGE),
            "{table}"
        );
        std::fs::remove_dir_all(soci.home().join("root"))?;
        ensure!(list("index")?.is_empty(), "listed from nowhere");
        soci.done(&["rebuild-db"])?;
        ensure!(
            list("index")? == index && list("ztoc")?.lines().count() == 2,
            "not found"
        );
        soci.done(&["index", "remove", index.trim()])?;
        ensure!(
            list("index")?.is_empty() && list("ztoc")?.is_empty(),
            "not removed"
        );
        Ok(())
    })
}

#[test]
fn a_file_read_through_a_ztoc_is_that_of_the_image() -> Result<()> {
    check(|_, soci, image| {
        soci.done(&["create", "--min-layer-size=0", IMAGE])?;
        let base = image.layers()?.swap_remove(0).digest;
        let layers: Value = serde_json::from_str(&soci.done(&["ztoc", "list", "--json"])?)?;
        let ztoc = layers.as_array().into_iter().flatten().find_map(|ztoc| {
            let is_base = ztoc.to_string().contains(&base);
            is_base
                .then(|| ztoc["digest"].as_str().map(str::to_owned))
                .flatten()
        });
        let ztoc = ztoc.with_context(|| layers.to_string())?;
        let text = soci.done(&["ztoc", "get-file", &ztoc, "usr/lib/os-release"])?;
        ensure!(text.contains("bookworm"), "{text}");
        Ok(())
    })
}

#[test]
fn an_image_converted_in_containerd_is_pushed_and_pulled_lazily() -> Result<()> {
    let image = Image::get("perl", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let registry = Distribution::start(&scratch.path().join("registry"))?;
    let name = registry.reference("perl");
    {
        let _machine = machine();
        let containerd = Containerd::start(&scratch.path().join("c"), Flavor::Transfer, None)?;
        containerd.import("localhost/image", &image.layout)?;
        let soci = Soci::with_containerd(scratch.path(), &containerd)?;
        let said = soci.done(&["convert", "--min-layer-size=0", IMAGE, &name])?;
        let images = containerd.run_ctr(&["images", "ls"])?;
        let digest = said.lines().last().context("no digest")?;
        let record = images.lines().find(|line| line.starts_with(&name));
        ensure!(
            record.is_some_and(|record| record.contains(digest)),
            "{images}{said}"
        );
        containerd.run_ctr(&["images", "push", "--plain-http", &name])?;
    }
    with_stack(Flavor::Transfer, "", |stack| {
        stack.pull(&name)?;
        let mounts = stack.snapshotter.lazy_mounts()?;
        ensure!(mounts.len() == image.layers()?.len(), "{mounts:?}");
        let text = stack.run(&name, image.recipe.command)?;
        ensure!(text.contains(image.recipe.prints), "{text}");
        Ok(())
    })
}
