//! How many answers the snapshotter waits for, one after the other, until an image is mounted.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::containerd::Flavor;
use harness::image::{SOCI_V2, compose_v1};
use harness::layout::{self, Annotations, Descriptor, Index, Layout, Manifest, digest};
use harness::registry::{Faults, Kind, Registry, Request};
use harness::scratch::Scratch;
use harness::snapshotter::configuration;
use harness::soci::Soci;
use harness::stack::{V1, with_stack};
use harness::tar::{Entry, Writer};

use super::NO_BACKGROUND;

/// Between a request and its answer: longer than whatever the snapshotter does between an answer and what it asks next.
const DELAY: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, PartialEq)]
enum Form {
    V1,
    V2,
    /// v2, and the smaller half of the layers has no zTOC.
    Half,
}

/// An image of so many layers of one file each, every second one larger than 1 MiB.
fn image(dir: &Path, layers: Range<u8>, form: Form) -> Result<Layout> {
    let plain = Layout::create(&dir.join("plain"))?;
    let (mut blobs, mut diff_ids) = (Vec::new(), Vec::new());
    for number in layers {
        let mut tar = Writer::new(Vec::new());
        let file = |name: String| Entry {
            name: name.into_bytes(),
            mode: 0o644,
            ..Entry::default()
        };
        let size = if number % 2 == 0 { 1000 } else { 3 << 20 };
        let content = vec![number; size];
        tar.bytes(file(format!("layer-{number}")), &content)?;
        let tar = tar.finish()?;
        diff_ids.push(digest(&tar));
        blobs.push(plain.put(layout::LAYER_TAR, &tar)?);
    }
    let platform = layout::platform();
    let config = serde_json::json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "config": { "Cmd": ["/none"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let manifest = Manifest {
        schema_version: 2,
        media_type: layout::MANIFEST.to_owned(),
        config: plain.put_json(layout::CONFIG, &config)?,
        layers: blobs,
        subject: None,
        annotations: Annotations::new(),
    };
    let mut root = plain.put_json(layout::MANIFEST, &manifest)?;
    root.platform = Some(platform);
    plain.set_roots(&[("latest", root.clone())])?;

    let (soci, converted) = (Soci::new(dir)?, dir.join("converted"));
    let smallest = if form == Form::Half { "1000000" } else { "0" };
    let paths = [plain.dir(), &converted].map(|dir| dir.display().to_string());
    let [source, target] = paths.each_ref().map(String::as_str);
    soci.done(&[
        "convert",
        "--standalone",
        "--format=oci-dir",
        "--min-layer-size",
        smallest,
        source,
        target,
    ])?;
    let layout = Layout::open(&converted)?;
    if form == Form::V1 {
        let index: Index = layout.json(&layout.only_root()?.digest)?;
        let is_index = |d: &&Descriptor| d.artifact_type.as_deref() == Some(SOCI_V2);
        let index = index.manifests.iter().find(is_index).context("no index")?;
        let index: Manifest = layout.json(&index.digest)?;
        layout.link_all(&plain)?;
        compose_v1(&layout, &root, &index.layers)?;
    } else {
        let root = layout.only_root()?;
        layout.set_roots(&[("latest", root)])?;
    }
    Ok(layout)
}

/// How long the longest chain of requests was in which each can have been caused by the answer to the one before.
///
/// A request that depends on an answer arrives after that answer was given, so whatever really depends on each other
/// is counted; two that happen to come one after the other may be counted as well. The true number is never larger.
fn serial(requests: &[Request]) -> usize {
    let mut depths: Vec<(u64, usize)> = Vec::new();
    let mut by_arrival: Vec<&Request> = requests.iter().collect();
    by_arrival.sort_by_key(|request| request.came);
    for request in by_arrival {
        let before = depths
            .iter()
            .filter(|(answered, _)| *answered < request.came);
        let depth = 1 + before.map(|(_, depth)| *depth).max().unwrap_or_default();
        depths.push((request.answered, depth));
    }
    depths
        .iter()
        .map(|(_, depth)| *depth)
        .max()
        .unwrap_or_default()
}

fn shown(request: &Request) -> String {
    let Request {
        came,
        answered,
        method,
        kind,
        name,
        range,
        status,
        ..
    } = request;
    format!("{came}-{answered}: {method} {kind:?} {name} {range:?} {status}")
}

/// However little is in them.
const SMALL_IMAGES: &str = "[snapshotter]\nmin_image_size = \"0\"\n";

/// The registry only.
const ALONE: &str = "[content_store]\ncontainerd_address = \"\"\n";

/// Where containerd is not asked: three serial round trips and so many requests.
fn check(layers: u8, form: Form, config: &str, requests: [usize; 2]) -> Result<()> {
    let config = format!("{config}{ALONE}");
    let pulls = pulls(layers, form, &config)?;
    for (ours, expected) in pulls.iter().zip(requests) {
        let lines: Vec<String> = ours.iter().map(shown).collect();
        let (depth, count, lines) = (serial(ours), ours.len(), lines.join("\n"));
        ensure!(
            depth <= 3 && count == expected,
            "{depth} serial round trips, {count} requests:\n{lines}"
        );
    }
    Ok(())
}

/// Our requests of two pulls from one registry, of which nothing is known the first time.
fn pulls(layers: u8, form: Form, config: &str) -> Result<Vec<Vec<Request>>> {
    let scratch = Scratch::in_memory()?;
    let registry = Registry::start()?;
    for (number, salt) in ["first", "second"].into_iter().zip([0, 100]) {
        let dir = scratch.path().join(number);
        std::fs::create_dir_all(&dir)?;
        registry.add(number, &image(&dir, salt..salt + layers, form)?);
    }
    registry.set(Faults {
        delay: DELAY,
        ..Faults::default()
    });
    let config = format!("{NO_BACKGROUND}{SMALL_IMAGES}{config}");
    let config = configuration(&config, registry.address());
    let mut pulls = Vec::new();
    with_stack(Flavor::Transfer, &config, |stack| {
        for name in ["first", "second"] {
            registry.log().clear();
            stack.pull(&registry.reference(name))?;
            let mut ours = registry.log().requests();
            ours.retain(|request| request.user_agent.starts_with("soci-snapshotter"));
            pulls.push(ours);
        }
        ensure!(
            stack.snapshotter.lazy_mounts()?.len() == usize::from(layers) * 2,
            "not all layers are ours"
        );
        Ok(())
    })?;
    Ok(pulls)
}

/// containerd has the manifest and the index before it asks for the first layer, and is downloading zTOCs: what it does
/// not begin with soon is asked for, on a quick machine beside the probe of the host.
#[test]
fn what_containerd_downloads_is_not_downloaded_again() -> Result<()> {
    for layers in [3, 30] {
        for ours in pulls(layers, Form::V2, "")? {
            let lines: Vec<String> = ours.iter().map(shown).collect();
            let lines = lines.join("\n");
            let manifests = ours.iter().filter(|request| request.kind == Kind::Manifest);
            ensure!(
                manifests.count() == 0 && serial(&ours) <= 2 && ours.len() <= usize::from(layers),
                "asked for what containerd has:\n{lines}"
            );
        }
    }
    Ok(())
}

/// Manifest; index and one probe of the host; zTOCs.
#[test]
fn three_round_trips_mount_an_image_whatever_the_number_of_its_layers() -> Result<()> {
    check(3, Form::V2, "", [6, 5])?;
    check(30, Form::V2, "", [33, 32])
}

/// Manifest and referrers; index and one probe of the host; zTOCs.
#[test]
fn an_index_among_the_referrers_costs_no_further_round_trip() -> Result<()> {
    check(3, Form::V1, V1, [7, 6])?;
    check(30, Form::V1, V1, [34, 33])
}

/// Manifest; index and one probe of the host; zTOCs, whole layers and the image configuration.
#[test]
fn layers_without_a_ztoc_start_together_with_the_others() -> Result<()> {
    check(3, Form::Half, "", [7, 6])?;
    check(30, Form::Half, "", [34, 33])
}
