//! A node that has seen nothing, behind a link, and the registry at the other end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::containerd::Flavor;
use harness::distribution::Distribution;
use harness::image::Image;
use harness::layout::Layout;
use harness::link::{Link, Shape};
use harness::original::EmptyState;
use harness::scratch::Scratch;
use harness::snapshots::{layer_directories, mount_at};
use harness::stack::{Stack, chain_ids};

use crate::mode::Mode;
use crate::start::first_line;

/// A registry with its blobs in memory: it is another machine, and this one's page cache is dropped.
pub(crate) struct Site {
    pub(crate) registry: Distribution,
    _memory: Scratch,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "mounting layers and running containers needs root"
        );
        ensure!(
            Path::new("/dev/fuse").exists(),
            "/dev/fuse is missing: modprobe fuse, or give the container the device"
        );
        let memory = Scratch::in_memory()?;
        let registry = Distribution::start(&memory.path().join("registry"))?;
        Ok(Self {
            registry,
            _memory: memory,
        })
    }

    pub(crate) fn push(&self, name: &str, layout: &Layout) -> Result<()> {
        self.registry.push(name, layout)
    }
}

pub(crate) struct Node {
    pub(crate) stack: Stack,
    pub(crate) link: Link,
    pub(crate) reference: String,
    pub(crate) snapshotter: &'static str,
    // The last to go.
    _state: Option<EmptyState>,
}

impl Node {
    /// Ready to pull `repository`; nothing of it is here, not even in the page cache.
    pub(crate) fn start(site: &Site, shape: Shape, mode: &Mode, repository: &str) -> Result<Self> {
        let link = Link::start(site.registry.address(), shape)?;
        let state = match mode.binary() {
            Some(_) => Some(EmptyState::new()?),
            None => None,
        };
        let stack = Stack::start_binary(Flavor::Transfer, mode.config(), mode.binary())?;
        if let Some((digest, profile)) = mode.profile() {
            let profiles = stack.snapshotter.root().join("profiles");
            std::fs::create_dir_all(&profiles)?;
            std::fs::write(profiles.join(format!("{digest}.json")), profile)?;
        }
        let reference = format!("{}/{repository}:latest", link.address());
        drop_page_cache()?;
        Ok(Self {
            stack,
            link,
            reference,
            snapshotter: mode.snapshotter(),
            _state: state,
        })
    }

    /// How long a pull takes until a container can be made.
    pub(crate) fn pull(&self) -> Result<Duration> {
        let begin = Instant::now();
        self.stack.pull_with(&self.reference, self.snapshotter)?;
        Ok(begin.elapsed())
    }

    /// The same, when only the unpacked layers are left of an earlier pull.
    pub(crate) fn pull_again(&self) -> Result<Duration> {
        let (name, ctr) = (&self.reference, &self.stack.containerd);
        // Holds the layers while everything else goes.
        ctr.run_ctr(&[
            "containers",
            "create",
            "--snapshotter",
            self.snapshotter,
            name,
            "again",
        ])?;
        ctr.run_ctr(&["images", "rm", "--sync", name])?;
        self.pull()
    }

    /// From the request to run what the image is made for until its line; `then` is called at that moment.
    pub(crate) fn run<T>(&self, image: &Image, then: impl FnOnce() -> T) -> Result<(Duration, T)> {
        // Unique on the machine: runc keeps its state in one place for all.
        static CONTAINERS: AtomicU32 = AtomicU32::new(0);
        let number = CONTAINERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{}-{number}", std::process::id());
        let mut command = self.stack.containerd.ctr();
        command
            .args([
                "run",
                "--rm",
                "--snapshotter",
                self.snapshotter,
                &self.reference,
                &name,
            ])
            .args(image.recipe.command);
        first_line(&mut command, image.recipe.prints, then)
            .with_context(|| format!("{} did not run:\n{}", image.name(), self.stack.logs()))
    }

    /// Mounts the image read-only at `target`, as a container of it would see it; returns where its layers are.
    pub(crate) fn view(&self, image: &Image, target: &Path) -> Result<Vec<PathBuf>> {
        let (_, manifest) = image.layout.image()?;
        let chain = chain_ids(&image.layout, &manifest)?;
        let parent = chain.last().context("an image without layers")?;
        let key = format!(
            "view-{}",
            target.file_name().and_then(|n| n.to_str()).unwrap_or("0")
        );
        let mounts = self.stack.snapshots(self.snapshotter)?.view(&key, parent)?;
        std::fs::create_dir_all(target)?;
        mount_at(&mounts, target)?;
        Ok(layer_directories(&mounts))
    }
}

/// What an earlier run unpacked or read must not help the next one.
pub(crate) fn drop_page_cache() -> Result<()> {
    nix::unistd::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the page cache")
}
