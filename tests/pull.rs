//! Images with an index are pulled lazily and run, whichever way the index is found and whoever pulls.

use std::collections::HashMap;
use std::fs;

use anyhow::{Result, ensure};
use harness::containerd::Flavor;
use harness::image::{Form, Image};
use harness::registry::{Discovery, Faults, Kind, Registry};
use harness::snapshots::{Snapshots, mount_at};
use harness::snapshotter::configuration;
use harness::stack::{Stack, V1, prepare_layers, with_stack};

/// Pulls from a registry that finds indices in one way, and runs what the image is made for.
fn check(flavor: Flavor, form: Form, discovery: Discovery, config: &str) -> Result<()> {
    let image = Image::get("python", form)?;
    let registry = Registry::start()?;
    with_stack(
        flavor,
        &configuration(config, registry.address()),
        |stack| {
            registry.set(Faults {
                discovery,
                ..Faults::default()
            });
            registry.add("library/python", &image.layout);
            let reference = registry.reference("library/python");
            stack.pull(&reference)?;
            is_lazy(stack, &image)?;
            stack.runs(&reference, &image)?;
            let log = registry.log();
            for layer in image.layers()? {
                let whole = log
                    .blob(&layer.digest)
                    .iter()
                    .any(|request| request.range.is_none());
                ensure!(
                    !whole,
                    "layer {} was asked for without a range",
                    layer.digest
                );
            }
            ensure!(
                log.count(Kind::Blob) > 0,
                "nothing was read from the registry"
            );
            Ok(())
        },
    )
}

/// Every layer is a FUSE mount of its own.
fn is_lazy(stack: &Stack, image: &Image) -> Result<()> {
    let mounts = stack.snapshotter.lazy_mounts()?;
    let layers = image.layers()?.len();
    ensure!(
        mounts.len() == layers,
        "{} of {layers} layers are lazy: {mounts:?}",
        mounts.len()
    );
    Ok(())
}

#[test]
fn a_converted_image_is_pulled_lazily_and_runs() -> Result<()> {
    check(Flavor::Transfer, Form::V2, Discovery::Api, "")
}

#[test]
fn an_index_found_with_the_referrers_api_is_used() -> Result<()> {
    check(Flavor::Transfer, Form::V1, Discovery::Api, V1)
}

#[test]
fn an_index_found_under_the_fallback_tag_is_used() -> Result<()> {
    check(Flavor::Transfer, Form::V1, Discovery::Tag, V1)
}

#[test]
fn a_kubelet_pulls_lazily_through_containerd_2() -> Result<()> {
    check(Flavor::Cri, Form::V2, Discovery::Api, "")
}

#[test]
fn a_kubelet_pulls_lazily_through_containerd_1_6() -> Result<()> {
    check(Flavor::DebianCri, Form::V2, Discovery::Api, "")
}

#[test]
fn a_kubelet_finds_a_v1_index_through_containerd_1_6() -> Result<()> {
    check(Flavor::DebianCri, Form::V1, Discovery::Tag, V1)
}

/// nerdctl's `--soci-index-digest` reaches the snapshotter as a label; it counts with every pull mode off.
#[test]
fn an_index_named_by_the_client_is_used_even_with_discovery_off() -> Result<()> {
    let off = "[pull_modes.soci_v1]\nenable = false\n[pull_modes.soci_v2]\nenable = false\n";
    let image = Image::get("python", Form::V1)?;
    let registry = Registry::start()?;
    with_stack(
        Flavor::Transfer,
        &configuration(off, registry.address()),
        |stack| {
            registry.add("library/python", &image.layout);
            let mut snapshots = Snapshots::connect(&stack.snapshotter.socket(), "default", "soci")?;
            let top = prepare_layers(
                &mut snapshots,
                &registry.reference("library/python"),
                &image,
            )?;
            is_lazy(stack, &image)?;
            let mounts = snapshots.prepare("container", &top, HashMap::new())?;
            let target = stack.directory("container")?;
            mount_at(&mounts, &target)?;
            let main = fs::read_to_string(target.join("app/main.py"))?;
            ensure!(main.contains("hello from python"), "{main:?}");
            Ok(())
        },
    )
}
