//! A lazily mounted image is the unpacked one in every attribute, layer by layer and as a whole.

#![allow(
    clippy::print_stdout,
    reason = "libtest shows it with a failure or --nocapture"
)]

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use harness::containerd::Flavor;
use harness::image::{Form, Image, REAL};
use harness::mountinfo;
use harness::registry::Registry;
use harness::snapshots::{layer_directories, mount_at};
use harness::snapshotter::configuration;
use harness::stack::{Stack, V1, chain_ids, with_stack};
use harness::tree::{Tree, compare, dump};

/// What both snapshotters make of an image: each layer, then all of them through overlay.
struct Sides {
    lazy: Vec<Tree>,
    unpacked: Vec<Tree>,
}

fn sides(stack: &Stack, reference: &str, image: &Image) -> Result<Sides> {
    let start = Instant::now();
    stack.pull(reference)?;
    stack.pull_with(reference, "overlayfs")?;
    let pulled = start.elapsed();
    let lazy = stack.snapshotter.lazy_mounts()?.len();
    let layers = image.layers()?.len();
    ensure!(
        lazy == layers,
        "{lazy} of {layers} layers are lazy: nothing to compare"
    );
    let (lazy, unpacked) = std::thread::scope(|scope| {
        let lazy = scope.spawn(|| dumps(stack, "soci", image));
        let unpacked = dumps(stack, "overlayfs", image);
        (lazy.join(), unpacked)
    });
    let lazy = lazy.map_err(|_| anyhow::anyhow!("the dump of the lazy tree panicked"))??;
    let read = start.elapsed() - pulled;
    println!(
        "{}: pulled twice in {pulled:.1?}, read twice in {read:.1?}",
        image.name()
    );
    Ok(Sides {
        lazy,
        unpacked: unpacked?,
    })
}

fn dumps(stack: &Stack, snapshotter: &str, image: &Image) -> Result<Vec<Tree>> {
    let (_, manifest) = image.layout.image()?;
    let chain = chain_ids(&image.layout, &manifest)?;
    let top = chain.last().context("an image without layers")?;
    let mut snapshots = stack.snapshots(snapshotter)?;
    let mounts = snapshots.view("whole", top)?;
    let directories = layer_directories(&mounts);
    ensure!(
        directories.len() == chain.len(),
        "{} layers in {mounts:?}",
        directories.len()
    );
    // The base is that of every image; python's is enough.
    let skipped = usize::from(image.name() != "python");
    let mut trees: Vec<Tree> = directories
        .iter()
        .skip(skipped)
        .map(|dir| dump(dir))
        .collect::<Result<_>>()?;
    // Through overlay, a name of many's big layer says nothing that the layer itself did not say.
    if image.name() != "many" {
        let target = stack.directory(&format!("whole-{snapshotter}"))?;
        mount_at(&mounts, &target)?;
        let whole = dump(&target);
        mountinfo::unmount_under(&target)?;
        trees.push(whole?);
    }
    Ok(trees)
}

fn report(sides: &Sides) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, (lazy, unpacked)) in sides.lazy.iter().zip(&sides.unpacked).enumerate() {
        let found = compare(lazy, unpacked);
        lines.extend(found.iter().map(|found| format!("tree {number} {found}")));
    }
    lines
}

fn check(name: &str) -> Result<()> {
    let form = if std::env::var_os("SOCI_SNAPSHOTTER").is_some() {
        Form::V1
    } else {
        Form::V2
    };
    let image = Image::get(name, form)?;
    let registry = Registry::start()?;
    registry.add(name, &image.layout);
    with_stack(
        Flavor::Transfer,
        &configuration(V1, registry.address()),
        |stack| {
            let sides = sides(stack, &registry.reference(name), &image)?;
            let names: usize = sides.unpacked.iter().map(|tree| tree.nodes.len()).sum();
            ensure!(names > 20, "only {names} names were compared");
            let differences = report(&sides);
            if !differences.is_empty() {
                let shown: Vec<&str> = differences.iter().take(40).map(String::as_str).collect();
                bail!(
                    "{} differences of {name}:\n{}",
                    differences.len(),
                    shown.join("\n")
                );
            }
            println!("{name}: {names} names, no difference");
            Ok(())
        },
    )
}

#[test]
fn images_of_real_software_are_the_same_lazily_and_unpacked() -> Result<()> {
    REAL.iter().try_for_each(|name| check(name))
}

#[test]
fn every_odd_kind_of_entry_is_the_same_lazily_and_unpacked() -> Result<()> {
    check("odd")
}

#[test]
fn two_hundred_thousand_files_are_the_same_lazily_and_unpacked() -> Result<()> {
    check("many")
}

#[test]
fn an_uncompressed_layer_is_the_same_lazily_and_unpacked() -> Result<()> {
    check("plain-tar")
}

/// The comparison is only worth something if it sees what a wrong snapshotter would do.
#[test]
fn a_wrong_mode_in_one_file_of_a_real_image_is_noticed() -> Result<()> {
    let image = Image::get("python", Form::V2)?;
    let registry = Registry::start()?;
    registry.add("python", &image.layout);
    with_stack(Flavor::Transfer, "", |stack| {
        let reference = registry.reference("python");
        stack.pull_with(&reference, "overlayfs")?;
        let unpacked = dumps(stack, "overlayfs", &image)?;
        let mut lazy = unpacked.clone();
        let whole = lazy.last_mut().context("no trees")?;
        let python = Path::new("usr/bin/python3.11");
        let node = whole
            .nodes
            .get_mut(python.as_os_str().as_encoded_bytes())
            .context("no python")?;
        node.mode ^= 0o2;
        let found = report(&Sides { lazy, unpacked });
        ensure!(
            found.len() == 1 && found.iter().all(|line| line.contains("mode")),
            "{found:?}"
        );
        Ok(())
    })
}
