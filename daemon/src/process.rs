//! The parts of the daemon put together, from a configuration to an orderly end.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use layer::{Background, BackgroundOptions, Cache, CacheOptions};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use registry::{DockerConfig, Registry};
use soci::ztoc::Limits;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{BackgroundFetch, Config, DropPolicy};
use crate::containerd::Containerd;
use crate::content::Content;
use crate::image::{self, Images, Opener, Ways};
use crate::mounts::{Mounts, Parts};
use crate::profiles::{self, Profiles};
use crate::records::Records;
use crate::server::{self, Address};
use crate::service::Service;
use crate::snapshotter::Snapshotter;

/// How long requests under way may take to end once the daemon is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Compressed bytes the background asks for at a time: what a reader may have to share the link with.
const BACKGROUND_REQUEST: u64 = 4 << 20;

/// Serves until SIGINT or SIGTERM.
pub async fn serve(root: &Path, address: &str, config: Config) -> anyhow::Result<()> {
    raise_file_limit();
    // Beside everything else that has to be done before the first image.
    tokio::task::spawn_blocking(image::compile_reference_parser);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .with_context(|| format!("cannot make the root directory {}", root.display()))?;
    let mounts = Arc::new(assemble(root, &config)?);
    let snapshotter = {
        let (dir, layers) = (root.join("snapshotter"), Arc::clone(&mounts));
        let check = !config.skip_check_snapshotter_supported;
        tokio::task::spawn_blocking(move || {
            let snapshotter = Snapshotter::open(&dir, layers)?;
            if check {
                crate::overlay_check::check(&dir)?;
            }
            anyhow::Ok(snapshotter)
        })
        .await?
        .with_context(|| format!("cannot use the root directory {}", root.display()))?
    };
    let begin = Instant::now();
    let recovered = snapshotter.recover().await?;
    let took = begin.elapsed().as_micros();
    let listener = Address::from(address).listen()?;
    tracing::info!(
        address,
        root = %root.display(),
        version = env!("CARGO_PKG_VERSION"),
        snapshots = recovered.snapshots,
        layers = recovered.restored,
        failed = recovered.failed,
        restored_in_us = u64::try_from(took).unwrap_or(u64::MAX),
        "ready",
    );
    let routes = tonic::service::Routes::new(Service::server(snapshotter));
    let served = server::serve(listener, routes, stop()?, DRAIN).await;
    tokio::task::spawn_blocking(move || mounts.shut_down()).await?;
    Ok(served?)
}

fn assemble(root: &Path, config: &Config) -> anyhow::Result<Mounts> {
    let registry = Registry::new(config.registry_options(), Arc::new(DockerConfig))?;
    let content = Arc::new(Content::open(root).context("cannot open the content directory")?);
    let cache = Cache::open(&root.join("layers"), cache_options(config))?;
    let background = Background::start(&cache, background_options(&config.background_fetch));
    let background = Arc::new(background);
    let opener = Arc::new(Opener::new(
        Arc::clone(&content),
        Arc::clone(&cache),
        Limits::default(),
        layer_options(config),
    ));
    let profiles = Profiles::open(
        root.join("profiles"),
        Arc::clone(&background),
        profile_options(config),
    )
    .context("cannot open the directory of start-up profiles")?;
    let address = &config.content_store.containerd_address;
    let containerd = Containerd::at(address).with_context(|| {
        format!("content_store.containerd_address = {address:?} is no path of a socket")
    })?;
    let images = Arc::new(Images::new(
        registry.clone(),
        containerd,
        Arc::clone(&opener),
        profiles.clone(),
        image_options(config),
    ));
    let records = Records::open(root.join("mounts")).context("cannot open the mount records")?;
    Mounts::new(Parts {
        registry,
        images,
        opener,
        content,
        cache,
        background,
        profiles,
        records,
        fuse: fuse_options(config),
        runtime: tokio::runtime::Handle::current(),
    })
    .context("cannot read the mount records")
}

fn cache_options(config: &Config) -> CacheOptions {
    CacheOptions {
        quota: match config.layer.cache_quota.0 {
            0 => u64::MAX,
            quota => quota,
        },
        memory: config.layer.memory.0,
        in_flight: config.layer.memory.0,
        disk: config.filesystem_cache_type != "memory",
        ..CacheOptions::default()
    }
}

fn background_options(config: &BackgroundFetch) -> BackgroundOptions {
    BackgroundOptions {
        enabled: !config.disable,
        silence_period: Duration::from_millis(config.silence_period_msec),
        fetch_period: Duration::from_millis(config.fetch_period_msec),
        max_bandwidth: Some(config.max_bandwidth.0).filter(|&rate| rate > 0),
        paused: config.pause,
        request: BACKGROUND_REQUEST,
        queue: usize::try_from(config.max_queue_size).unwrap_or(usize::MAX),
        drop: match config.drop_policy {
            DropPolicy::Newest => layer::DropPolicy::Newest,
            DropPolicy::Oldest => layer::DropPolicy::Oldest,
        },
        ..BackgroundOptions::default()
    }
}

fn layer_options(config: &Config) -> layer::Options {
    /// What the reference takes a negative number of refetches for.
    const NEGATIVE_RETRIES: u32 = 3;
    layer::Options {
        max_span_verification_retries: u32::try_from(config.blob.max_span_verification_retries)
            .unwrap_or(NEGATIVE_RETRIES),
        disable_verification: config.disable_verification,
        max_request: config.layer.max_request.0,
        outage: Duration::from_secs(config.fuse.read_deadline_sec),
        tree: layer::TreeOptions {
            userxattr: crate::overlay::needs_userxattr(),
        },
    }
}

fn image_options(config: &Config) -> image::Options {
    image::Options {
        ways: Ways {
            v1: config.pull_modes.soci_v1.enable,
            v2: config.pull_modes.soci_v2.enable,
        },
        min_layer_size: u64::try_from(config.snapshotter.min_layer_size).unwrap_or(0),
        min_image_size: config.snapshotter.min_image_size.0,
        mount_timeout: Duration::from_secs(config.mount_timeout_sec),
        max_concurrency: usize::try_from(config.max_concurrency).unwrap_or(usize::MAX),
        prefetch: config.prefetch.enable,
    }
}

fn profile_options(config: &Config) -> profiles::Options {
    profiles::Options {
        record: config.profile.record,
        apply: config.profile.apply,
        max_images: usize::try_from(config.profile.max_images).unwrap_or(usize::MAX),
    }
}

fn fuse_options(config: &Config) -> fuse::Options {
    fuse::Options {
        deadline: Duration::from_secs(config.fuse.read_deadline_sec),
        read_ahead: config.fuse.read_ahead_kib,
    }
}

/// Every mount holds descriptors; the soft limit is made for programs that use select(2).
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn stop() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
