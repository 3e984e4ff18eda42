//! A containerd with our snapshotter in it, below one temporary directory that goes with it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parking_lot::{Mutex, MutexGuard};
use proto::snapshots::v1::Info;
use sha2::{Digest as _, Sha256};

use crate::cache::hex;
use crate::containerd::{Containerd, Flavor};
use crate::cri::Cri;
use crate::image::Image;
use crate::layout::{Layout, Manifest};
use crate::scratch::Scratch;
use crate::snapshots::Snapshots;
use crate::snapshotter::Snapshotter;

/// One whole-system test at a time: they share two cores and a kernel.
pub fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock()
}

/// Configuration that turns the discovery of v1 indices on.
pub const V1: &str = "[pull_modes.soci_v1]\nenable = true\n";

/// Runs a test on a stack of its own; when it fails the logs come with the error.
pub fn with_stack(
    flavor: Flavor,
    config: &str,
    test: impl FnOnce(&mut Stack) -> Result<()>,
) -> Result<()> {
    let _machine = machine();
    let mut stack = Stack::start_in(Scratch::in_memory()?, flavor, config, None)?;
    let outcome = test(&mut stack);
    outcome.with_context(|| stack.logs())
}

pub struct Stack {
    // In the order in which they must go.
    pub containerd: Containerd,
    pub snapshotter: Snapshotter,
    scratch: Scratch,
    containers: AtomicU32,
}

impl Stack {
    pub fn start(flavor: Flavor, config: &str) -> Result<Self> {
        Self::start_binary(flavor, config, None)
    }

    /// With another snapshotter than ours.
    pub fn start_binary(flavor: Flavor, config: &str, binary: Option<&Path>) -> Result<Self> {
        Self::start_in(Scratch::on_disk()?, flavor, config, binary)
    }

    fn start_in(
        scratch: Scratch,
        flavor: Flavor,
        config: &str,
        binary: Option<&Path>,
    ) -> Result<Self> {
        let containerd = scratch.path().join("c");
        let config = if config.contains("[content_store]") {
            config.to_owned()
        } else {
            let socket = crate::containerd::socket(&containerd);
            format!("{config}\n[content_store]\ncontainerd_address = {socket:?}\n")
        };
        let snapshotter = Snapshotter::start(&scratch.path().join("s"), &config, binary)?;
        let containerd = Containerd::start(&containerd, flavor, Some(&snapshotter.proxy()))?;
        Ok(Self {
            containerd,
            snapshotter,
            scratch,
            containers: AtomicU32::new(0),
        })
    }

    /// A directory of this stack for the test's own use.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let dir = self.scratch.path().join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Pulls with the flavor's own way: `ctr` through the transfer service, or CRI.
    pub fn pull(&self, reference: &str) -> Result<()> {
        match self.containerd.flavor() {
            Flavor::Transfer => self.pull_with(reference, "soci"),
            Flavor::Cri | Flavor::DebianCri => Cri::connect(self.containerd.socket())?
                .pull(reference)
                .map(drop),
        }
    }

    /// Pulls with `ctr` and unpacks with any snapshotter.
    pub fn pull_with(&self, reference: &str, snapshotter: &str) -> Result<()> {
        self.containerd
            .run_ctr(&[
                "images",
                "pull",
                "--plain-http",
                "--snapshotter",
                snapshotter,
                reference,
            ])
            .with_context(|| self.logs())
            .map(drop)
    }

    /// Runs a command in a new container of a pulled image; its stdout and stderr.
    pub fn run(&self, reference: &str, command: &[&str]) -> Result<String> {
        let number = self.containers.fetch_add(1, Ordering::Relaxed);
        let name = format!("c{number}-{}", std::process::id());
        let mut ctr = self.containerd.ctr();
        ctr.args(["run", "--rm", "--snapshotter", "soci", reference, &name])
            .args(command);
        let output = crate::command::output(&mut ctr)?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        anyhow::ensure!(
            output.status.success(),
            "{command:?} failed: {text}\n{}",
            self.logs()
        );
        // What ctr says of the machine does not come from the container.
        let lines = text.lines().filter(|line| !line.starts_with("time=\""));
        Ok(lines.map(|line| format!("{line}\n")).collect())
    }

    /// Starts the snapshotter again where it left off, and waits until containerd has noticed.
    pub fn restart_snapshotter(&mut self) -> Result<()> {
        self.snapshotter.restart()?;
        let start = Instant::now();
        loop {
            match self.snapshots("soci")?.list() {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > Duration::from_secs(20) => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Runs what the image is made for in a new container, and looks for what it prints.
    pub fn runs(&self, reference: &str, image: &Image) -> Result<()> {
        let text = self.run(reference, image.recipe.command)?;
        let expected = image.recipe.prints;
        anyhow::ensure!(text.contains(expected), "the container said {text:?}");
        Ok(())
    }

    /// The snapshots of one of containerd's snapshotters.
    pub fn snapshots(&self, snapshotter: &str) -> Result<Snapshots> {
        Snapshots::connect(
            self.containerd.socket(),
            self.containerd.namespace(),
            snapshotter,
        )
    }

    pub fn logs(&self) -> String {
        let containerd = self.containerd.log();
        let lines: Vec<&str> = containerd.lines().rev().take(20).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        format!(
            "--- snapshotter\n{}\n--- containerd, last lines\n{}\n",
            self.snapshotter.log(),
            last.join("\n")
        )
    }
}

/// The names under which containerd keeps an image's layers, base first.
pub fn chain_ids(layout: &Layout, manifest: &Manifest) -> Result<Vec<String>> {
    let config: serde_json::Value = layout.json(&manifest.config.digest)?;
    let diff_ids = config
        .pointer("/rootfs/diff_ids")
        .and_then(|ids| ids.as_array());
    let mut chain: Vec<String> = Vec::new();
    for id in diff_ids.context("an image config without diff_ids")? {
        let id = id.as_str().context("a diff_id that is no text")?;
        let next = match chain.last() {
            None => id.to_owned(),
            Some(below) => {
                format!(
                    "sha256:{}",
                    hex(&Sha256::digest(format!("{below} {id}").as_bytes()))
                )
            }
        };
        chain.push(next);
    }
    Ok(chain)
}

/// Prepares each layer with the labels that nerdctl sets; returns the name of the top one.
pub fn prepare_layers(snapshots: &mut Snapshots, reference: &str, image: &Image) -> Result<String> {
    let (descriptor, manifest) = image.layout.image()?;
    let index = image.index()?.digest;
    let mut parent = String::new();
    for (layer, chain) in manifest
        .layers
        .iter()
        .zip(chain_ids(&image.layout, &manifest)?)
    {
        let labels = [
            ("containerd.io/snapshot.ref", chain.as_str()),
            ("containerd.io/snapshot/cri.image-ref", reference),
            (
                "containerd.io/snapshot/cri.manifest-digest",
                &descriptor.digest,
            ),
            ("containerd.io/snapshot/cri.layer-digest", &layer.digest),
            ("containerd.io/snapshot/cri.image-layers", &layer.digest),
            (
                "containerd.io/snapshot/remote/soci.size",
                &layer.size.to_string(),
            ),
            ("containerd.io/snapshot/remote/soci.index.digest", &index),
        ];
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let key = format!("extract-{chain}");
        match snapshots.prepare(&key, &parent, labels.collect()) {
            Err(status) if status.code() == tonic::Code::AlreadyExists => {}
            other => anyhow::bail!("layer {} is not already there: {other:?}", layer.digest),
        }
        let mut all = snapshots.list()?.into_iter();
        let label = |info: &Info| {
            info.labels.get("containerd.io/snapshot.ref") == Some(&chain) && info.parent == parent
        };
        parent = all.find(label).context("the layer is not listed")?.name;
    }
    Ok(parent)
}
