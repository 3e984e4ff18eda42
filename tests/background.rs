//! The background as its owner wants it: paused, or held to a bandwidth.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::containerd::Flavor;
use harness::image::{Form, Image};
use harness::layout::Descriptor;
use harness::registry::Registry;
use harness::snapshotter::configuration;
use harness::stack::{Stack, with_stack};

/// What is asked for at the start of a blob to find out whether its host serves ranges.
const PROBE: u64 = 4096;

struct Site<'a> {
    stack: &'a mut Stack,
    registry: &'a Registry,
    image: &'a Image,
    reference: String,
}

fn check(config: &str, test: impl FnOnce(&mut Site<'_>) -> Result<()>) -> Result<()> {
    let image = Image::get("redis", Form::V2)?;
    let registry = Registry::start()?;
    registry.add("image", &image.layout);
    let config = format!("[background_fetch]\nsilence_period_msec = 0\n{config}");
    let config = configuration(&config, registry.address());
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
    /// Bytes of one layer that were asked for so far.
    fn asked(&self, layer: &Descriptor) -> u64 {
        let requests = self.registry.log().blob(&layer.digest);
        let length = |range: &std::ops::Range<u64>| range.end.min(layer.size) - range.start;
        let lengths = requests
            .iter()
            .filter_map(|request| request.range.as_ref().map(length));
        lengths.filter(|length| *length > PROBE).sum()
    }

    fn asked_of_all(&self) -> Result<u64> {
        let layers = self.image.layers()?;
        Ok(layers.iter().map(|layer| self.asked(layer)).sum())
    }

    /// Until so many bytes were asked for.
    fn wait_for(&self, bytes: impl Fn() -> Result<u64>, enough: u64) -> Result<()> {
        for _ in 0..1200 {
            if bytes()? >= enough {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("only {} bytes were ever asked for", bytes()?)
    }

    /// What an earlier start has read: the first bytes of a layer's tar.
    fn put_profile(&self, layer: &Descriptor, bytes: u64) -> Result<()> {
        let digest = self.image.layout.image()?.0.digest;
        let dir = self.stack.snapshotter.root().join("profiles");
        let layer = serde_json::json!({ "digest": layer.digest, "reads": [[0, bytes, 0, 1]] });
        let profile = serde_json::json!({ "version": "1.0", "runs": 1, "layers": [layer] });
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{digest}.json"));
        fs::write(path, profile.to_string()).context("the profile")
    }
}

#[test]
fn while_the_background_is_paused_only_profiles_and_readers_ask() -> Result<()> {
    check("pause = true\n", |site| {
        let layers = site.image.layers()?;
        let largest = layers.iter().max_by_key(|layer| layer.size);
        let largest = largest.context("an image without layers")?;
        site.put_profile(largest, 1000)?;
        site.stack.pull(&site.reference)?;
        site.wait_for(|| Ok(site.asked(largest)), 1)?;
        // An unpaused one has asked for everything by then.
        std::thread::sleep(Duration::from_secs(2));
        let asked = site.asked_of_all()?;
        ensure!(asked == site.asked(largest), "{asked} bytes of all layers");
        let requests = site.registry.log().blob(&largest.digest);
        ensure!(
            asked * 4 < largest.size,
            "more than the profile names: {requests:?}"
        );
        site.stack.runs(&site.reference, site.image)?;
        let read = site.asked_of_all()?;
        ensure!(read > asked, "the container read nothing");
        std::thread::sleep(Duration::from_secs(2));
        let whole: u64 = layers.iter().map(|layer| layer.size).sum();
        let asked = site.asked_of_all()?;
        ensure!(
            asked < whole,
            "{asked} of {whole} bytes: the rest came as well"
        );
        Ok(())
    })
}

/// Holds whatever the machine does meanwhile: a slow one only asks for less.
#[test]
fn the_background_keeps_to_its_bandwidth() -> Result<()> {
    const RATE: u64 = 2 << 20;
    /// A capped background asks for a tenth of a second's bytes at a time.
    const REQUEST: u64 = RATE / 10;
    let cap = format!("max_bandwidth = \"{}KiB\"\n", RATE >> 10);
    check(&cap, |site| {
        let begin = Instant::now();
        site.stack.pull(&site.reference)?;
        let within_the_cap = || -> Result<u64> {
            let asked = site.asked_of_all()?;
            let allowed = begin.elapsed().as_millis() * u128::from(RATE) / 1000;
            let allowed = u64::try_from(allowed)? + REQUEST;
            ensure!(
                asked <= allowed,
                "{asked} bytes were asked for where {allowed} are allowed"
            );
            Ok(asked)
        };
        site.wait_for(within_the_cap, 3 * RATE)
    })
}
