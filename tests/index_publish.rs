//! `soci publish` works from registry to registry for anybody: nothing twice, nothing on disk, little memory.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use harness::distribution::Distribution;
use harness::http;
use harness::image::{Form, Image};
use harness::layout::{self, Index, Layout, Platform};
use harness::registry::{Faults, Registry};
use harness::scratch::Scratch;
use harness::soci::Soci;
use harness::tar::{Entry, Writer};
use serde_json::Value;

/// What building may take for a layer of 2 GiB and 100,000 files.
const BUILDER: u64 = 64 << 20;
/// Bytes between the network and the builder.
const POOLS: u64 = 8 << 20;

/// Larger than any zTOC of these images, smaller than their layers.
const LARGEST_FILE: u64 = 16 << 20;

fn with_registry(test: impl FnOnce(&Soci, &Distribution, &Image) -> Result<()>) -> Result<()> {
    let image = Image::get("redis", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let registry = Distribution::start(&scratch.path().join("registry"))?;
    registry.push("redis", &image.layout)?;
    let soci = Soci::of_an_ordinary_user(scratch.path(), LARGEST_FILE)?;
    test(&soci, &registry, &image)
}

/// Layer reads and writes since so many requests.
fn since(registry: &Distribution, image: &Image, start: usize) -> Result<(usize, Vec<String>)> {
    let log: Vec<_> = registry.log().into_iter().skip(start).collect();
    let layers = image.layers()?;
    let is_layer = |path: &str| layers.iter().any(|layer| path.ends_with(&layer.digest));
    let reads = log
        .iter()
        .filter(|access| access.method == "GET" && is_layer(&access.path));
    let writes = log
        .iter()
        .filter(|access| !matches!(access.method.as_str(), "GET" | "HEAD"));
    Ok((
        reads.count(),
        writes
            .map(|access| format!("{} {}", access.method, access.path))
            .collect(),
    ))
}

/// Publishes once, again, and again by force.
fn three_times(arguments: &[&str]) -> Result<()> {
    with_registry(|soci, registry, image| {
        let source = registry.reference("redis");
        let layers = image.layers()?.len();
        let publish = [&["publish", &source], arguments].concat();
        let start = registry.log().len();
        let rehearsal = soci.done(&[&publish[..], &["--dry-run"]].concat())?;
        ensure!(rehearsal.contains("would push"), "{rehearsal}");
        let (_, writes) = since(registry, image, start)?;
        ensure!(writes.is_empty(), "a dry run wrote {writes:?}");

        let start = registry.log().len();
        let first = soci.done(&publish)?;
        let (reads, writes) = since(registry, image, start)?;
        ensure!(
            reads == layers && !writes.is_empty(),
            "{reads} reads, {writes:?}"
        );
        ensure!(
            first.lines().last() == rehearsal.lines().last(),
            "{rehearsal}\n{first}"
        );

        let start = registry.log().len();
        let second = soci.done(&publish)?;
        let (reads, writes) = since(registry, image, start)?;
        ensure!(
            reads == 0 && writes.is_empty(),
            "again: {reads} reads, {writes:?}"
        );
        ensure!(second.contains("already there"), "{second}");
        ensure!(
            second.matches(" (already exists)").count() == layers,
            "{second}"
        );
        ensure!(
            first.lines().last() == second.lines().last(),
            "{first}\n{second}"
        );

        let start = registry.log().len();
        let forced = soci.done(&[&publish[..], &["--force"]].concat())?;
        let (reads, _) = since(registry, image, start)?;
        ensure!(reads == layers, "by force: {reads} reads");
        ensure!(!forced.contains("already exists"), "{forced}");
        ensure!(
            first.lines().last() == forced.lines().last(),
            "{first}\n{forced}"
        );
        Ok(())
    })
}

#[test]
fn an_index_beside_an_image_is_built_and_uploaded_once() -> Result<()> {
    three_times(&[])
}

#[test]
fn an_image_with_its_index_is_built_and_uploaded_once() -> Result<()> {
    three_times(&["--tag", "latest-soci"])
}

#[test]
fn the_image_that_was_there_keeps_its_tag() -> Result<()> {
    with_registry(|soci, registry, image| {
        let digest_of = |tag: &str| -> Result<String> {
            let path = format!("/v2/redis/manifests/{tag}");
            let accept = [layout::MANIFEST, layout::INDEX].join(", ");
            let answer = http::get(registry.address(), &path, &[("Accept", &accept)])?;
            Ok(layout::digest(&answer.body))
        };
        let source = registry.reference("redis");
        let said = soci.done(&["publish", &source, "--tag", "indexed"])?;
        ensure!(
            digest_of("latest")? == image.layout.root("latest")?.digest,
            "changed"
        );
        let digest = said.lines().last().context("no digest")?;
        ensure!(digest_of("indexed")? == digest, "{said}");
        Ok(())
    })
}

/// One small image for two platforms.
fn for_two_platforms(scratch: &Scratch) -> Result<Layout> {
    let layout = Layout::create(&scratch.path().join("platforms"))?;
    let mut images = Vec::new();
    for (architecture, name) in [("amd64", "tiny"), ("arm64", "odd")] {
        let image = Image::get(name, Form::Plain)?;
        layout.link_all(&image.layout)?;
        let (_, mut manifest) = image.layout.image()?;
        let mut config: Value = layout.json(&manifest.config.digest)?;
        let entry = config.get_mut("architecture").context("architecture")?;
        *entry = architecture.into();
        manifest.config = layout.put_json(layout::CONFIG, &config)?;
        let mut listed = layout.put_json(layout::MANIFEST, &manifest)?;
        listed.platform = Some(Platform {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
        });
        images.push(listed);
    }
    let root = layout.put_json(layout::INDEX, &Index::of(images))?;
    layout.set_roots(&[("latest", root)])?;
    Ok(layout)
}

#[test]
fn every_platform_of_an_image_gets_an_index() -> Result<()> {
    let scratch = Scratch::in_memory()?;
    let platforms = for_two_platforms(&scratch)?;
    let registry = Distribution::start(&scratch.path().join("registry"))?;
    registry.push("app", &platforms)?;
    let soci = Soci::of_an_ordinary_user(scratch.path(), LARGEST_FILE)?;
    let source = registry.reference("app");
    let publish = ["publish", "--min-layer-size=0", &source];

    let beside = soci.done(&[&publish[..], &["-q"]].concat())?;
    ensure!(beside.lines().count() == 2, "{beside}");
    let within = soci.done(&[&publish[..], &["--tag", "soci", "-q"]].concat())?;
    let path = format!("/v2/app/manifests/{}", within.trim());
    let answer = http::get(registry.address(), &path, &[("Accept", layout::INDEX)])?;
    let index: Index = serde_json::from_slice(&answer.body)?;
    let platforms: Vec<(bool, String)> = index
        .manifests
        .iter()
        .map(|listed| {
            let platform = listed.platform.as_ref();
            let architecture = platform.map(|platform| platform.architecture.clone());
            (
                listed.artifact_type.is_some(),
                architecture.unwrap_or_default(),
            )
        })
        .collect();
    let expected = [
        (false, "amd64"),
        (false, "arm64"),
        (true, "amd64"),
        (true, "arm64"),
    ];
    ensure!(
        platforms == expected.map(|(soci, name)| (soci, name.to_owned())),
        "{platforms:?}"
    );
    for tag in ["latest", "soci"] {
        let name = format!("{}/app:{tag}", registry.address());
        let said = soci.done(&["verify", &name])?;
        ensure!(
            said.contains("checked 2 index(es)") && said.contains(" 0 error(s)"),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn a_connection_that_breaks_again_and_again_is_resumed_where_it_broke() -> Result<()> {
    const PIECE: u64 = 4 << 20;
    const ON_ITS_WAY: u64 = 512 << 10;
    let image = Image::get("redis", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let registry = Registry::start()?;
    registry.add("redis", &image.layout);
    let soci = Soci::new(scratch.path())?;
    let publish = |out: &str| {
        let out = format!("oci:{}", scratch.path().join(out).display());
        soci.done(&["publish", "-q", &registry.reference("redis"), &out])
    };
    let whole = publish("whole")?;
    registry.set(Faults {
        truncate: Some(PIECE),
        ..Faults::default()
    });
    registry.log().clear();
    let broken = publish("broken")?;
    ensure!(whole == broken, "{whole} {broken}");
    for layer in image.layers()? {
        // Once to be indexed and once to be copied.
        let (sent, twice) = (registry.log().sent(&layer.digest), 2 * layer.size);
        let requests = registry.log().blob(&layer.digest).len() as u64;
        ensure!(
            requests >= twice / PIECE,
            "{requests} requests: nothing broke"
        );
        // What was on its way when a connection broke is lost.
        let lost = requests * ON_ITS_WAY;
        ensure!(
            (twice..twice + lost).contains(&sent),
            "{sent} bytes for {twice}"
        );
    }
    Ok(())
}

/// A layer as it may come: files, some that compress and some that do not.
fn large_layer(layout: &Layout, size: u64) -> Result<layout::Descriptor> {
    const FILE: usize = 1 << 20;
    let blob = layout.dir().join("large.tar.gz");
    let mut gzip = Command::new("gzip")
        .args(["-1", "-n"])
        .stdin(Stdio::piped())
        .stdout(File::create(&blob)?)
        .spawn()?;
    let mut content = vec![b'a'; FILE];
    File::open("/dev/urandom")?
        .take(64 << 10)
        .read_exact(content.get_mut(..64 << 10).context("content")?)?;
    let mut tar = Writer::new(gzip.stdin.take().context("stdin")?);
    for number in 0..size / FILE as u64 {
        let file = |name: String| Entry {
            name: name.into_bytes(),
            mode: 0o644,
            ..Entry::default()
        };
        tar.bytes(file(format!("large/{number}")), &content)?;
        // Most files of an image are small.
        for small in 0..50 {
            tar.bytes(file(format!("small/{number}/{small}")), b"small\n")?;
        }
    }
    tar.finish()?.flush()?;
    ensure!(gzip.wait()?.success(), "gzip failed");
    let layer = layout.link(layout::LAYER_GZIP, &blob)?;
    std::fs::remove_file(blob)?;
    Ok(layer)
}

/// Bytes of tar; 2 GiB and 100,000 files, unless the variable says otherwise.
fn large() -> u64 {
    let asked = std::env::var("SOCI_LARGE_MIB").ok();
    asked.and_then(|mib| mib.parse().ok()).unwrap_or(2048_u64) << 20
}

#[test]
fn a_large_layer_takes_little_memory_and_no_disk() -> Result<()> {
    let scratch = Scratch::on_disk()?;
    let layout = Layout::create(&scratch.path().join("large"))?;
    let layer = large_layer(&layout, large())?;
    let image = layout.put_image(std::slice::from_ref(&layer))?;
    layout.set_roots(&[("latest", image)])?;
    let registry = Distribution::start(&scratch.path().join("registry"))?;
    registry.push("large", &layout)?;

    let soci = Soci::of_an_ordinary_user(scratch.path(), 64 << 20)?;
    let tiny = Image::get("tiny", Form::Plain)?;
    registry.push("tiny", &tiny.layout)?;
    let tiny = registry.reference("tiny");
    let base = soci.run(&["publish", "--min-layer-size=0", &tiny])?.peak;
    let start = Instant::now();
    let ended = soci.run(&["publish", &registry.reference("large")])?;
    ensure!(ended.code == 0, "{ended:#?}");
    let (peak, took) = (ended.peak, start.elapsed());
    println!(
        "{} MiB in a registry: peak {} MiB, {} MiB for a tiny image, {took:.1?}",
        layer.size >> 20,
        peak >> 20,
        base >> 20
    );
    ensure!(
        peak - base <= BUILDER + POOLS,
        "{peak} bytes at once, {base} for a tiny image"
    );
    Ok(())
}
