//! Before an image is measured: pushed, started once to learn what it reads, and its index cut by that.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::image::{Form, Image};
use harness::link::Shape;
use harness::scratch::Scratch;
use harness::soci::Soci;

use crate::mode::{Mode, Profile};
use crate::needed;
use crate::node::{Node, Site};

/// The snapshotter writes a profile when a start has read nothing new for a while.
const LIMIT: Duration = Duration::from_secs(90);

/// Lazy however small the image is.
const READERS_ONLY: &str =
    "[background_fetch]\ndisable = true\n[snapshotter]\nmin_image_size = \"0\"\n";

#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) profile: Profile,
    /// Compressed bytes of the 4 MiB spans that the start touches.
    pub(crate) needed: u64,
}

pub(crate) fn prepare(site: &Site, image: &Image, cut: bool) -> Result<Prepared> {
    site.push(image.name(), &image.layout)?;
    let shape = Shape {
        rate: 1 << 30,
        ..Shape::default()
    };
    let mode = Mode::Ours {
        config: READERS_ONLY,
    };
    let manifest = image.layout.image()?.0.digest;
    let json = {
        let node = Node::start(site, shape, &mode, image.name())?;
        node.pull()?;
        node.run(image, || ())?;
        let file = node
            .stack
            .snapshotter
            .root()
            .join(format!("profiles/{manifest}.json"));
        let begin = Instant::now();
        loop {
            if let Ok(json) = std::fs::read(&file) {
                break json;
            }
            ensure!(
                begin.elapsed() < LIMIT,
                "the start left no profile:\n{}",
                node.stack.logs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let needed = needed::bytes(image, &json)?;
    if cut {
        push_cut(site, image, &json)?;
    }
    let profile = Profile { manifest, json };
    Ok(Prepared { profile, needed })
}

/// The plain image with an index of ours, cut finely where the start reads.
fn push_cut(site: &Site, image: &Image, profile: &[u8]) -> Result<()> {
    let scratch = Scratch::on_disk()?;
    let file = scratch.path().join("profile.json");
    std::fs::write(&file, profile)?;
    let plain = Image::get(image.name(), Form::Plain)?;
    let repository = Mode::Cut.repository(image.name());
    Soci::new(scratch.path())?.done(&[
        "publish",
        "--min-layer-size=0",
        "--profile",
        &file.display().to_string(),
        &format!("oci:{}", plain.layout.dir().display()),
        &site.registry.reference(&repository),
    ])?;
    Ok(())
}
