//! What goes over the wire: ranges and not layers, credentials to their host only, and nothing once it is cached.

#[path = "traffic/round_trips.rs"]
mod round_trips;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::containerd::Flavor;
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::layout::Descriptor;
use harness::registry::{Auth, Credentials, Faults, Kind, Registry};
use harness::snapshotter::configuration;
use harness::stack::{Stack, chain_ids, with_stack};
use nix::sys::signal::Signal;

/// Only what is read is fetched, so that requests can be counted.
const NO_BACKGROUND: &str = "[background_fetch]\ndisable = true\n";

/// Without a file name.
const GZIP_HEADER: u64 = 10;

fn check(
    name: &str,
    config: &str,
    test: impl FnOnce(&mut Stack, &Registry, &Image) -> Result<()>,
) -> Result<()> {
    let image = Image::get(name, Form::V2)?;
    let registry = Registry::start()?;
    registry.add("image", &image.layout);
    let config = configuration(config, registry.address());
    with_stack(Flavor::Transfer, &config, |stack| {
        test(stack, &registry, &image)
    })
}

#[test]
fn a_start_reads_a_part_of_each_layer() -> Result<()> {
    check("postgres", NO_BACKGROUND, |stack, registry, image| {
        let reference = registry.reference("image");
        stack.pull(&reference)?;
        stack.runs(&reference, image)?;
        let (mut whole, mut sent) = (0, 0);
        for layer in image.layers()? {
            let requests = registry.log().blob(&layer.digest);
            ensure!(
                requests.iter().all(|request| request.range.is_some()),
                "{requests:?}"
            );
            whole += layer.size;
            sent += registry.log().sent(&layer.digest);
        }
        println!("postgres --version: {sent} of {whole} bytes");
        ensure!(
            sent > 0 && sent * 2 < whole,
            "{sent} of {whole} bytes were read to start"
        );
        Ok(())
    })
}

#[test]
fn debians_docker_registry_serves_ranges_of_every_layer() -> Result<()> {
    let image = Image::get("redis", Form::V2)?;
    let dir = tempfile::tempdir()?;
    let registry = Distribution::start(dir.path())?;
    registry.push("image", &image.layout)?;
    let config = configuration(NO_BACKGROUND, registry.address());
    with_stack(Flavor::Transfer, &config, |stack| {
        let reference = registry.reference("image");
        stack.pull(&reference)?;
        stack.runs(&reference, &image)?;
        ensure!(
            stack.snapshotter.lazy_mounts()?.len() == image.layers()?.len(),
            "not lazy"
        );
        for layer in image.layers()? {
            let reads = registry.reads(&layer.digest);
            ensure!(!reads.is_empty(), "{} was never read", layer.digest);
            ensure!(reads.iter().all(|read| read.status == 206), "{reads:?}");
        }
        Ok(())
    })
}

#[test]
fn what_was_read_once_needs_no_registry_not_even_after_a_restart() -> Result<()> {
    check("perl", NO_BACKGROUND, |stack, registry, image| {
        let reference = registry.reference("image");
        stack.pull(&reference)?;
        stack.runs(&reference, image)?;
        registry.stop();
        stack
            .runs(&reference, image)
            .context("without the registry")?;
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            stack.snapshotter.stop(signal)?;
            std::fs::write("/proc/sys/vm/drop_caches", "3")?;
            stack.restart_snapshotter()?;
            stack
                .runs(&reference, image)
                .with_context(|| format!("after {signal} and a restart without the registry"))?;
        }
        Ok(())
    })
}

#[test]
fn the_rest_arrives_by_itself_and_usage_tells_how_much_there_is() -> Result<()> {
    let eager = "[background_fetch]\nsilence_period_msec = 0\nfetch_period_msec = 0\n";
    check("redis", eager, |stack, registry, image| {
        let reference = registry.reference("image");
        stack.pull(&reference)?;
        let mut snapshots = stack.snapshots("soci")?;
        let mut before = 0;
        let complete = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            let sent = |layer: &Descriptor| registry.log().sent(&layer.digest);
            image.layers().is_ok_and(|layers| {
                // All but the gzip header, which nobody needs; neighbouring spans share a byte.
                layers
                    .iter()
                    .all(|layer| sent(layer) + GZIP_HEADER >= layer.size)
            })
        });
        ensure!(complete, "the layers never became complete");
        for chain_id in chain_ids(&image.layout, &image.layout.image()?.1)? {
            before += snapshots.usage(&chain_id)?;
        }
        ensure!(before > 0, "complete layers take up nothing");
        registry.stop();
        let all = [
            "sh",
            "-c",
            "find / -xdev -type f -exec cat {} + > /dev/null && echo all",
        ];
        let text = stack.run(&reference, &all)?;
        ensure!(text.contains("all"), "{text:?}");
        Ok(())
    })
}

#[test]
fn a_read_waits_for_a_registry_that_comes_back() -> Result<()> {
    check("odd", NO_BACKGROUND, |stack, registry, _| {
        let reference = registry.reference("image");
        stack.pull(&reference)?;
        stack.run(&reference, &["cat", "/odd/hello"])?;
        registry.stop();
        let text = std::thread::scope(|scope| {
            let read = scope.spawn(|| stack.run(&reference, &["sh", "-c", "wc -c < /odd/zeros"]));
            // Until one request has used up its retries: from there on it is the reader who waits.
            let waits = || {
                stack
                    .snapshotter
                    .log()
                    .contains("a read waits for its source")
            };
            let waited = (0..600).any(|_| {
                std::thread::sleep(Duration::from_millis(100));
                waits()
            });
            registry.restart()?;
            ensure!(waited, "no read ever waited");
            read.join()
                .map_err(|_| anyhow::anyhow!("the reader panicked"))?
        })?;
        ensure!(text.trim() == "5242880", "{text:?}");
        Ok(())
    })
}

#[test]
fn bytes_changed_on_the_way_never_reach_a_container() -> Result<()> {
    check("odd", NO_BACKGROUND, |stack, registry, image| {
        let reference = registry.reference("image");
        stack.pull(&reference)?;
        stack.run(&reference, &["cat", "/odd/hello"])?;
        let layers = image.layers()?;
        let layer = layers.get(1).context("a second layer")?;
        let flip = Some((layer.digest.clone(), layer.size / 2));
        registry.set(Faults {
            flip,
            ..Faults::default()
        });
        let read = stack.run(&reference, &["cat", "/odd/big"]);
        ensure!(
            read.is_err(),
            "a container read a file that was changed on the way"
        );
        registry.set(Faults::default());
        let size = stack.run(&reference, &["sh", "-c", "wc -c < /odd/big"])?;
        ensure!(size.trim() == "9437184", "{size:?}");
        Ok(())
    })
}

const SECRET: &str = "correct-horse-battery-staple";

fn with_login(auth: impl FnOnce(Credentials) -> Auth) -> Result<()> {
    check("redis", NO_BACKGROUND, |stack, registry, image| {
        let credentials = Credentials {
            username: "user".to_owned(),
            password: SECRET.to_owned(),
        };
        registry.set(Faults {
            auth: auth(credentials),
            redirect: true,
            ..Faults::default()
        });
        stack
            .snapshotter
            .log_in(&registry.address().to_string(), "user", SECRET)?;
        let reference = registry.reference("image");
        let login = format!("user:{SECRET}");
        let pull = [
            "images",
            "pull",
            "--plain-http",
            "--snapshotter",
            "soci",
            "--user",
            &login,
            &reference,
        ];
        stack.containerd.run_ctr(&pull)?;
        // Longer than a token of this registry lives.
        std::thread::sleep(Duration::from_millis(1500));
        stack.runs(&reference, image)?;
        ensure!(
            stack.snapshotter.lazy_mounts()?.len() == image.layers()?.len(),
            "not lazy"
        );
        let requests = registry.log().requests();
        // Not containerd's own, which minds the host's name only.
        let at_store = requests.iter().filter(|request| {
            request.at_store
                && request.kind == Kind::Blob
                && !request.user_agent.starts_with("containerd")
        });
        let credentials: Vec<_> = at_store
            .clone()
            .filter_map(|r| r.authorization.clone())
            .collect();
        ensure!(at_store.count() > 0, "no redirect was followed");
        ensure!(
            credentials.is_empty(),
            "credentials went to another host: {credentials:?}"
        );
        let log = stack.snapshotter.log();
        for secret in [SECRET, "of-the-registry", "signature=secret"] {
            ensure!(!log.contains(secret), "{secret} is in the log");
        }
        Ok(())
    })
}

#[test]
fn a_password_from_the_docker_config_opens_a_private_registry() -> Result<()> {
    with_login(Auth::Basic)
}

#[test]
fn a_token_that_expires_is_fetched_again() -> Result<()> {
    with_login(|credentials| Auth::Bearer(credentials, Duration::from_secs(1)))
}
