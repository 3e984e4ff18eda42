//! Containers run lazily from indexes of ours: with our snapshotter, and with the original one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use harness::cache;
use harness::certificate::Certificate;
use harness::command::run;
use harness::containerd::Flavor;
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::mountinfo;
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

/// The original keeps what it fetched in this place, whatever root it is given.
const STATE: &str = "/var/lib/soci-snapshotter-grpc";

/// Nothing in that place from other runs, and nothing left in it, as long as this lives.
struct EmptyState {
    was_there: bool,
}

impl EmptyState {
    fn new() -> Result<Self> {
        let was_there = Path::new(STATE).exists();
        fs::create_dir_all(STATE)?;
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", STATE]))?;
        Ok(Self { was_there })
    }
}

impl Drop for EmptyState {
    fn drop(&mut self) {
        let unmounted = mountinfo::unmount_under(Path::new(STATE));
        if unmounted.is_ok() && !self.was_there {
            // Not ours to empty.
            let _ = fs::remove_dir(STATE);
        }
    }
}

/// The original of the tests knows only indexes beside their image, and only registries with TLS.
#[test]
fn the_original_snapshotter_runs_an_image_from_our_index() -> Result<()> {
    let _machine = machine();
    let image = Image::get("python", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let certificate = Certificate::make(&scratch.path().join("certificate"))?;
    let registry = Distribution::start_tls(&scratch.path().join("registry"), &certificate)?;
    // It takes loopback addresses for registries without TLS in one place and with TLS in another.
    let host = format!("0.0.0.0:{}", registry.address().port());
    let name = format!("{host}/python:latest");
    let authority = certificate.authority.display().to_string();
    Soci::new(scratch.path())?.done(&[
        "publish",
        "--soci-version=v1",
        "--min-layer-size=0",
        "--tlscacert",
        &authority,
        &format!("oci:{}", image.layout.dir().display()),
        &name,
    ])?;

    let original = scratch.path().join("original");
    let program = cache::reference("soci-snapshotter-grpc")?;
    let script = format!(
        "#!/bin/sh\nmkdir -p \"$4\"\nSSL_CERT_FILE={authority} exec {} \"$@\"\n",
        program.display()
    );
    fs::write(&original, script)?;
    fs::set_permissions(&original, fs::Permissions::from_mode(0o755))?;
    let hosts = scratch.path().join("hosts");
    fs::create_dir_all(hosts.join(&host))?;
    fs::write(
        hosts.join(&host).join("hosts.toml"),
        format!("server = \"https://{host}\"\nca = \"{authority}\"\n"),
    )?;

    let _state = EmptyState::new()?;
    let stack = Stack::start_binary(Flavor::Transfer, "", Some(&original))?;
    let hosts = hosts.display().to_string();
    let pull = [
        "images",
        "pull",
        "--snapshotter",
        "soci",
        "--hosts-dir",
        &hosts,
        &name,
    ];
    stack.containerd.run_ctr(&pull)?;
    let outcome = runs_lazily(&stack, &registry, &image, &name);
    outcome.map_err(|error| error.context(stack.logs()))
}
