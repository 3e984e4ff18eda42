//! What an image reads when it starts is noted, and fetched before it is asked for the next time.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::containerd::Flavor;
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::registry::{Faults, Kind, Registry};
use harness::scratch::Scratch;
use harness::snapshotter::configuration;
use harness::soci::Soci;
use harness::stack::{Stack, chain_ids, with_stack};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Only what is read, and what a profile names, is fetched, so that requests can be counted.
const NO_BACKGROUND: &str = "[background_fetch]\ndisable = true\n";

struct Site<'a> {
    stack: &'a mut Stack,
    registry: &'a Registry,
    image: &'a Image,
    reference: String,
}

fn check(name: &str, config: &str, test: impl FnOnce(&mut Site<'_>) -> Result<()>) -> Result<()> {
    let image = Image::get(name, Form::V2)?;
    let registry = Registry::start()?;
    registry.add("image", &image.layout);
    let config = configuration(&format!("{NO_BACKGROUND}{config}"), registry.address());
    with_stack(Flavor::Transfer, &config, |stack| {
        test(&mut Site {
            stack,
            registry: &registry,
            image: &image,
            reference: registry.reference("image"),
        })
    })
}

impl Site<'_> {
    fn pull(&self) -> Result<()> {
        self.stack.pull(&self.reference)
    }

    fn run(&self) -> Result<()> {
        self.stack.runs(&self.reference, self.image)
    }

    /// Requests for parts of layers so far.
    fn requests(&self) -> Result<usize> {
        let layers = self.image.layers()?;
        let requests = layers
            .iter()
            .map(|layer| self.registry.log().blob(&layer.digest).len());
        Ok(requests.sum())
    }

    /// How many requests a container makes by itself once the pull is done and whatever it set off as well.
    fn requests_of_a_start(&self) -> Result<usize> {
        self.pull()?;
        let before = settled(|| self.requests())?;
        self.run()?;
        Ok(self.requests()? - before)
    }

    fn written(&self) -> Result<()> {
        let path = self.file()?;
        let written = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            path.exists()
        });
        ensure!(written, "{} is never written", path.display());
        Ok(())
    }

    fn file(&self) -> Result<PathBuf> {
        let digest = self.image.layout.image()?.0.digest;
        let dir = self.stack.snapshotter.root().join("profiles");
        Ok(dir.join(format!("{digest}.json")))
    }

    fn profile(&self) -> Result<Value> {
        let path = self.file()?;
        let json = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// As on a node that has the profile and has never seen the image. Stopping writes down what was noted.
    fn forget_all_but_the_profile(&mut self) -> Result<()> {
        self.stack
            .containerd
            .run_ctr(&["images", "rm", "--sync", &self.reference])?;
        let gone = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            self.stack
                .snapshotter
                .lazy_mounts()
                .is_ok_and(|mounts| mounts.is_empty())
        });
        ensure!(gone, "the layers of a removed image are still mounted");
        self.stack.snapshotter.stop(Signal::SIGTERM)?;
        for dir in ["layers", "content"] {
            fs::remove_dir_all(self.stack.snapshotter.root().join(dir))?;
        }
        self.stack.restart_snapshotter()?;
        self.registry.log().clear();
        Ok(())
    }
}

/// A count that has stopped growing.
fn settled(count: impl Fn() -> Result<usize>) -> Result<usize> {
    let mut before = count()?;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(500));
        let now = count()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    anyhow::bail!("{before} and no end")
}

/// The ranges that a profile names, by layer and in the order of the tar.
fn ranges(profile: &Value) -> Result<Vec<(String, u64, u64)>> {
    let mut ranges = Vec::new();
    for layer in profile["layers"].as_array().context("no layers")? {
        let digest = layer["digest"].as_str().context("no digest")?;
        for read in layer["reads"].as_array().context("no reads")? {
            let number =
                |place: usize| read.get(place).and_then(Value::as_u64).context("no number");
            ranges.push((digest.to_owned(), number(0)?, number(1)?));
        }
    }
    ranges.sort();
    Ok(ranges)
}

/// Whether `all` names every byte that `some` names.
fn covers(all: &Value, some: &Value) -> Result<bool> {
    let all = ranges(all)?;
    Ok(ranges(some)?.into_iter().all(|(layer, start, end)| {
        let mut at = start;
        for (digest, from, to) in &all {
            if *digest == layer && *from <= at && at < *to {
                at = *to;
            }
        }
        at >= end
    }))
}

#[test]
fn what_the_first_start_read_is_here_before_the_second_one_asks() -> Result<()> {
    for name in ["python", "jvm"] {
        check(name, "", |site| {
            let first = site.requests_of_a_start()?;
            ensure!(
                first > 4,
                "{name}: a start without a profile asks only {first} times"
            );
            site.forget_all_but_the_profile()?;
            let second = site.requests_of_a_start()?;
            println!("{name}: {first} requests by readers without a profile, {second} with it");
            // Not none: what follows in files that are read in order is fetched ahead, and threads do not always run alike.
            ensure!(
                second * 5 <= first,
                "{name}: readers had to ask {second} times, {first} without a profile"
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_profile_is_written_once_the_container_is_quiet_and_says_nothing_but_ranges() -> Result<()> {
    check("python", "", |site| {
        site.pull()?;
        site.run()?;
        site.written()?;
        let profile = site.profile()?;
        let layers: Vec<String> = site
            .image
            .layers()?
            .into_iter()
            .map(|layer| layer.digest)
            .collect();
        let ranges = ranges(&profile)?;
        ensure!(!ranges.is_empty(), "nothing was noted");
        ensure!(
            ranges.iter().all(|(layer, ..)| layers.contains(layer)),
            "{ranges:?}"
        );
        let text = profile.to_string();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let keys = ["version", "runs", "layers", "digest", "reads", "sha256"];
        let others: Vec<&str> = words
            .filter(|word| !keys.contains(word) && !word.chars().all(|c| c.is_ascii_hexdigit()))
            .collect();
        ensure!(others.is_empty(), "a profile speaks of {others:?}");
        // Again, from the page cache: nothing is learnt, so nothing is written.
        site.run()?;
        site.stack.snapshotter.stop(Signal::SIGTERM)?;
        let after = site.profile()?;
        ensure!(
            covers(&after, &profile)?,
            "a warm start made {after} of {profile}"
        );
        ensure!(
            profile["runs"] == after["runs"],
            "a warm start counts: {after}"
        );
        Ok(())
    })
}

#[test]
fn starts_add_up() -> Result<()> {
    check("perl", "", |site| {
        site.pull()?;
        site.stack.run(&site.reference, &["true"])?;
        site.forget_all_but_the_profile()?;
        let first = site.profile()?;
        site.pull()?;
        site.run()?;
        site.forget_all_but_the_profile()?;
        let second = site.profile()?;
        ensure!(
            covers(&second, &first)?,
            "{second} has lost something of {first}"
        );
        ensure!(
            !covers(&first, &second)?,
            "the second start taught nothing: {second}"
        );
        ensure!(second["runs"] == 2, "{second}");
        let asked = site.requests_of_a_start()?;
        ensure!(asked <= 2, "readers had to ask {asked} times");
        Ok(())
    })
}

#[test]
fn a_broken_profile_does_no_harm_and_is_replaced() -> Result<()> {
    check("redis", "", |site| {
        let path = site.file()?;
        let broken = [&b"{\"version\":"[..], &[0xff; 5000], &vec![b'['; 2 << 20]];
        for (before, broken) in broken.into_iter().enumerate() {
            fs::write(&path, broken)?;
            site.pull()?;
            site.run()?;
            let said = site.stack.snapshotter.warnings();
            let said = said
                .iter()
                .filter(|line| line.contains("start-up profile is not usable"));
            ensure!(
                said.count() == before + 1,
                "{:#?}",
                site.stack.snapshotter.warnings()
            );
            site.forget_all_but_the_profile()?;
            ensure!(!ranges(&site.profile()?)?.is_empty(), "not replaced");
        }
        Ok(())
    })
}

#[test]
fn profiles_can_be_turned_off() -> Result<()> {
    check(
        "redis",
        "[profile]\nrecord = false\nuse = false\n",
        |site| {
            site.pull()?;
            site.run()?;
            site.stack.snapshotter.stop(Signal::SIGTERM)?;
            ensure!(!site.file()?.exists(), "a profile was written");
            Ok(())
        },
    )
}

/// On a node that has lost its cache the container's creation sets off the fetches, without any reader.
#[test]
fn a_profile_is_fetched_by_several_requests_at_once() -> Result<()> {
    check("python", "", |site| {
        site.pull()?;
        site.run()?;
        site.stack.snapshotter.stop(Signal::SIGTERM)?;
        fs::remove_dir_all(site.stack.snapshotter.root().join("layers"))?;
        site.stack.restart_snapshotter()?;
        site.registry.log().clear();
        site.registry.set(Faults {
            black_hole: true,
            ..Faults::default()
        });
        let (_, manifest) = site.image.layout.image()?;
        let chain = chain_ids(&site.image.layout, &manifest)?;
        let top = chain.last().context("an image without layers")?;
        site.stack
            .snapshots("soci")?
            .prepare("container", top, HashMap::new())?;
        let mut open = 0;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(50));
            open = site.registry.log().count(Kind::Blob);
            if open >= 2 {
                return Ok(());
            }
        }
        anyhow::bail!("only {open} request at once")
    })
}

/// One node learns, somebody publishes what it learnt with the index, another node starts with that.
#[test]
fn a_profile_that_comes_with_the_index_serves_a_node_that_never_saw_the_image() -> Result<()> {
    let image = Image::get("python", Form::Plain)?;
    let scratch = Scratch::on_disk()?;
    let soci = Soci::new(scratch.path())?;
    let registry = Distribution::start(&scratch.path().join("registry"))?;
    let profile = scratch.path().join("profile.json");
    let by = format!("--profile={}", profile.display());
    let layers = image.layers()?;
    let requests = || -> Result<usize> {
        let requests = layers
            .iter()
            .map(|layer| registry.reads(&layer.digest).len());
        Ok(requests.sum())
    };
    let start = |tag: &str, options: &[&str], export: Option<&Path>| -> Result<usize> {
        let name = format!("{}/python:{tag}", registry.address());
        let source = format!("oci:{}", image.layout.dir().display());
        let publish = ["publish", "--min-layer-size=0", &source, &name];
        soci.done(&[&publish, options].concat())?;
        let mut asked = 0;
        let config = configuration(NO_BACKGROUND, registry.address());
        with_stack(Flavor::Transfer, &config, |stack| {
            stack.pull(&name)?;
            let before = settled(requests)?;
            stack.runs(&name, &image)?;
            asked = requests()? - before;
            let Some(export) = export else { return Ok(()) };
            stack.snapshotter.stop(Signal::SIGTERM)?;
            let root = stack.snapshotter.root().display().to_string();
            let file = export.display().to_string();
            let export = [
                "--root",
                &root,
                "prefetch",
                "export",
                "--plain-http",
                "-o",
                &file,
                &name,
            ];
            soci.done(&export).map(drop)
        })?;
        Ok(asked)
    };
    let first = start("learning", &[], Some(&profile))?;
    let second = start("shipped", &["--profile-only=prefetch", &by], None)?;
    println!("{first} requests by readers without a profile, {second} with one from the index");
    ensure!(
        first > 4,
        "a start without a profile asks only {first} times"
    );
    ensure!(
        second * 5 <= first,
        "readers had to ask {second} times, {first} without a profile"
    );
    Ok(())
}
