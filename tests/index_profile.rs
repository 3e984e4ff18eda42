//! Indexes cut around what a recorded start reads: fewer bytes to the first line, with our snapshotter and with the
//! original.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use harness::containerd::Flavor;
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::scratch::Scratch;
use harness::snapshotter::configuration;
use harness::soci::Soci;
use harness::stack::{machine, with_stack};
use harness::{http, original};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Only what is read is fetched.
const READERS_ONLY: &str = "[background_fetch]\ndisable = true\n[prefetch]\nenable = false\n";

struct Site {
    image: Image,
    scratch: Scratch,
    soci: Soci,
}

impl Site {
    fn new(name: &str) -> Result<Self> {
        let scratch = Scratch::on_disk()?;
        Ok(Self {
            image: Image::get(name, Form::Plain)?,
            soci: Soci::new(scratch.path())?,
            scratch,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Publishes the image with its index under this name.
    fn publish(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let source = format!("oci:{}", self.image.layout.dir().display());
        let publish = ["publish", "--min-layer-size=0", &source, name];
        self.soci.done(&[&publish, arguments].concat())
    }

    /// Bytes of layers that were sent.
    fn sent(&self, registry: &Distribution) -> Result<u64> {
        let layers = self.image.layers()?;
        let reads = layers
            .iter()
            .flat_map(|layer| registry.reads(&layer.digest));
        Ok(reads.map(|read| read.bytes).sum())
    }

    /// Bytes until a container has done what the image is made for. What the start read is exported to `profile`.
    fn starts(&self, name: &str, registry: &Distribution, profile: Option<&Path>) -> Result<u64> {
        let mut needed = 0;
        let config = configuration(READERS_ONLY, registry.address());
        with_stack(Flavor::Transfer, &config, |stack| {
            let before = self.sent(registry)?;
            stack.pull(name)?;
            stack.runs(name, &self.image)?;
            let mounts = stack.snapshotter.lazy_mounts()?;
            ensure!(
                mounts.len() == self.image.layers()?.len(),
                "mounts: {mounts:?}"
            );
            needed = self.sent(registry)? - before;
            let Some(profile) = profile else {
                return Ok(());
            };
            // What was noted is on disk once it ends.
            stack.snapshotter.stop(Signal::SIGTERM)?;
            let root = stack.snapshotter.root().display().to_string();
            let profile = profile.display().to_string();
            let export = [
                "--root",
                &root,
                "prefetch",
                "export",
                "--plain-http",
                "-o",
                &profile,
                name,
            ];
            let said = self.soci.done(&export)?;
            ensure!(said.contains("1 start(s)"), "{said}");
            let listed = self.soci.done(&["--root", &root, "prefetch", "recorded"])?;
            ensure!(listed.lines().count() == 2, "{listed}");
            Ok(())
        })?;
        Ok(needed)
    }
}

/// Bytes of all zTOCs of an image that was just published.
fn ztoc_bytes(registry: &Distribution, repository: &str, report: &str) -> Result<u64> {
    let report: Value = serde_json::from_str(report)?;
    let layers = report
        .pointer("/platforms/0/layers")
        .and_then(Value::as_array);
    let mut bytes = 0;
    for layer in layers.context("no layers")? {
        let digest = layer
            .get("ztoc")
            .and_then(Value::as_str)
            .context("no zTOC")?;
        let path = format!("/v2/{repository}/blobs/{digest}");
        let answer = http::request(registry.address(), "HEAD", &path, &[], b"")?;
        let length = answer.header("content-length").context("no length")?;
        bytes += length.parse::<u64>()?;
    }
    Ok(bytes)
}

#[test]
fn a_start_needs_fewer_bytes_from_an_index_that_is_no_larger() -> Result<()> {
    for image in ["jvm", "python"] {
        let site = Site::new(image)?;
        let registry = Distribution::start(&site.path("registry"))?;
        let name = |tag| format!("{}/{image}:{tag}", registry.address());
        let profile = site.path("profile.json");
        let report = site.publish(&name("plain"), &["--json"])?;
        let plain_ztocs = ztoc_bytes(&registry, image, &report)?;
        let plain = site.starts(&name("plain"), &registry, Some(&profile))?;
        let by = format!("--profile={}", profile.display());
        let report = site.publish(&name("cut"), &["--json", &by])?;
        let ztocs = ztoc_bytes(&registry, image, &report)?;
        site.soci.done(&["verify", "--plain-http", &name("cut")])?;
        let cut = site.starts(&name("cut"), &registry, None)?;
        println!(
            "{image}: a start fetches {plain} bytes of layers by 4 MiB spans, {cut} by spans cut around it; zTOCs {plain_ztocs} and {ztocs}"
        );
        ensure!(
            ztocs <= plain_ztocs,
            "{image}: the zTOCs grew from {plain_ztocs} to {ztocs}"
        );
        ensure!(
            cut * 5 < plain * 3,
            "{image}: {cut} bytes instead of {plain}"
        );
    }
    Ok(())
}

/// The original of the tests takes prefetch artifacts for zTOCs, so that it gets none.
#[test]
fn the_original_snapshotter_runs_an_image_from_an_index_cut_around_a_start() -> Result<()> {
    let site = Site::new("jvm")?;
    let registry = Distribution::start(&site.path("plain"))?;
    let name = format!("{}/jvm:plain", registry.address());
    let profile = site.path("profile.json");
    site.publish(&name, &[])?;
    site.starts(&name, &registry, Some(&profile))?;

    let _machine = machine();
    let original = original::Site::new(site.scratch.path())?;
    let authority = original.authority();
    let mut sent = Vec::new();
    let by = format!("--profile={}", profile.display());
    for (tag, more) in [
        ("uniform", &[][..]),
        ("cut", &["--profile-only=spans", &by]),
    ] {
        let name = format!("{}/{tag}:latest", original.host);
        let arguments = ["--soci-version=v1", "--tlscacert", &authority];
        site.publish(&name, &[&arguments, more].concat())?;
        let before = site.sent(&original.registry)?;
        original.pulled(&site.path(tag), &name, |stack| {
            stack.runs(&name, &site.image)?;
            let mounts = stack.snapshotter.lazy_mounts()?;
            ensure!(
                mounts.len() == site.image.layers()?.len(),
                "mounts: {mounts:?}"
            );
            Ok(())
        })?;
        sent.push(site.sent(&original.registry)? - before);
    }
    println!("the original fetches {sent:?} bytes of layers");
    let (Some(uniform), Some(cut)) = (sent.first(), sent.last()) else {
        anyhow::bail!("nothing was measured");
    };
    ensure!(cut < uniform, "{cut} bytes instead of {uniform}");
    Ok(())
}
