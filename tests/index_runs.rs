//! Containers run lazily from indexes of ours: with our snapshotter, and with the original one.

use anyhow::{Result, ensure};
use harness::containerd::Flavor;
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::original;
use harness::scratch::Scratch;
use harness::snapshotter::configuration;
use harness::soci::Soci;
use harness::stack::{Stack, V1, machine, with_stack};

/// Every layer is a FUSE mount of its own, none was fetched whole, and the image does what it is made for.
fn runs_lazily(stack: &Stack, registry: &Distribution, image: &Image, name: &str) -> Result<()> {
    let mounts = stack.snapshotter.lazy_mounts()?;
    let layers = image.layers()?;
    ensure!(mounts.len() == layers.len(), "mounts: {mounts:?}");
    ensure!(
        mounts.iter().all(|mount| mount.kind == "fuse.rawBridge"),
        "{mounts:?}"
    );
    let text = stack.run(name, image.recipe.command)?;
    ensure!(text.contains(image.recipe.prints), "it said {text:?}");
    for layer in layers {
        let reads = registry.reads(&layer.digest);
        ensure!(
            !reads.is_empty() && reads.iter().all(|read| read.status == 206),
            "{reads:?}"
        );
    }
    Ok(())
}

/// Publishes an index of a plain image with `arguments`, and pulls the image with our snapshotter.
fn with_ours(config: &str, arguments: &[&str], tag: &str) -> Result<()> {
    let image = Image::get("python", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let registry = Distribution::start(&scratch.path().join("registry"))?;
    let name = format!("{}/python", registry.address());
    let source = format!("oci:{}", image.layout.dir().display());
    let soci = Soci::new(scratch.path())?;
    let target = format!("{name}:{tag}");
    let publish = ["publish", "--min-layer-size=0", &source, &target];
    soci.done(&[&publish, arguments].concat())?;
    let config = configuration(config, registry.address());
    with_stack(Flavor::Transfer, &config, |stack| {
        stack.pull(&target)?;
        runs_lazily(stack, &registry, &image, &target)
    })
}

#[test]
fn our_snapshotter_runs_an_image_published_with_its_index() -> Result<()> {
    with_ours("", &[], "indexed")
}

#[test]
fn our_snapshotter_finds_an_index_published_beside_its_image() -> Result<()> {
    with_ours(V1, &["--soci-version=v1"], "plain")
}

/// The original of the tests knows only indexes beside their image.
#[test]
fn the_original_snapshotter_runs_an_image_from_our_index() -> Result<()> {
    let _machine = machine();
    let image = Image::get("python", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let site = original::Site::new(scratch.path())?;
    let name = format!("{}/python:latest", site.host);
    Soci::new(scratch.path())?.done(&[
        "publish",
        "--soci-version=v1",
        "--min-layer-size=0",
        "--tlscacert",
        &site.authority(),
        &format!("oci:{}", image.layout.dir().display()),
        &name,
    ])?;
    site.pulled(scratch.path(), &name, |stack| {
        runs_lazily(stack, &site.registry, &image, &name)
    })
}
