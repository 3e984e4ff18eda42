//! Whatever is wrong with an index or a registry, the image runs, and the log says in one line what was wrong.

use anyhow::{Context as _, Result, ensure};
use harness::containerd::Flavor;
use harness::image::{Form, Image, annotated, compose_v2};
use harness::layout::{Descriptor, Index, Layout, Manifest};
use harness::registry::{Faults, Registry};
use harness::snapshotter::configuration;
use harness::stack::{Stack, with_stack};
use serde_json::Value;

/// What the snapshotter shall have done with an image.
struct Expected<'a> {
    /// Layers that nobody downloaded whole.
    lazy_layers: usize,
    /// Every word must be in one line of the log; none: no warning at all.
    said: &'a [&'a str],
}

fn check(image: &Image, layout: &Layout, faults: Faults, expected: &Expected<'_>) -> Result<()> {
    let registry = Registry::start()?;
    registry.set(faults);
    registry.add("image", layout);
    with_stack(
        Flavor::Transfer,
        &configuration("", registry.address()),
        |stack| {
            let reference = registry.reference("image");
            stack.pull(&reference)?;
            let text = stack.run(&reference, image.recipe.command)?;
            ensure!(
                text.contains(image.recipe.prints),
                "the container said {text:?}"
            );
            let is_lazy = |layer: &Descriptor| {
                registry
                    .log()
                    .blob(&layer.digest)
                    .iter()
                    .all(|request| request.status == 206)
            };
            let lazy = image
                .layers()?
                .iter()
                .filter(|layer| is_lazy(layer))
                .count();
            ensure!(
                lazy == expected.lazy_layers,
                "{lazy} lazy layers, not {}",
                expected.lazy_layers
            );
            says(stack, expected.said)
        },
    )
}

fn says(stack: &Stack, words: &[&str]) -> Result<()> {
    if words.is_empty() {
        let warnings = stack.snapshotter.warnings();
        ensure!(
            warnings.is_empty(),
            "warned without a reason: {warnings:#?}"
        );
    }
    let lines = stack.snapshotter.log_lines();
    let mut notable = lines
        .iter()
        .filter(|line| line["level"] != "DEBUG")
        .map(Value::to_string);
    let said = notable.any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(said, "no line of the log has all of {words:?}");
    Ok(())
}

/// A copy of an image's layout whose index is about to be changed.
struct Altered {
    layout: Layout,
    /// The image without an index.
    image: Descriptor,
    ztocs: Vec<Descriptor>,
    _dir: tempfile::TempDir,
}

impl Altered {
    /// Makes the image name an index of `ztocs`. The index is in no image index, or containerd would fetch
    /// what is in it and stumble by itself.
    fn convert(&self) -> Result<Descriptor> {
        compose_v2(&self.layout, &self.image, &self.ztocs)?;
        let root: Index = self.layout.json(&self.layout.root("latest")?.digest)?;
        let [image, index] = root.manifests.as_slice() else {
            anyhow::bail!("{root:?}")
        };
        self.layout.set_roots(&[("latest", image.clone())])?;
        Ok(index.clone())
    }
}

fn altered(name: &str) -> Result<Altered> {
    let plain = Image::get(name, Form::Plain)?;
    let indexed = Image::get(name, Form::V2)?;
    let index: Manifest = indexed.layout.json(&indexed.index()?.digest)?;
    // Hard links must stay on the filesystem of the images.
    let images = harness::cache::root().join("images");
    let dir = tempfile::Builder::new()
        .prefix(".altered-")
        .tempdir_in(images)?;
    let layout = Layout::create(dir.path())?;
    layout.link_all(&indexed.layout)?;
    layout.link_all(&plain.layout)?;
    Ok(Altered {
        layout,
        image: plain.layout.root("latest")?,
        ztocs: index.layers,
        _dir: dir,
    })
}

#[test]
fn an_image_without_an_index_runs() -> Result<()> {
    let image = Image::get("python", Form::Plain)?;
    let expected = Expected {
        lazy_layers: 0,
        said: &[],
    };
    check(&image, &image.layout, Faults::default(), &expected)
}

#[test]
fn an_image_too_small_for_an_index_runs() -> Result<()> {
    let image = Image::get("tiny", Form::Plain)?;
    let expected = Expected {
        lazy_layers: 0,
        said: &[],
    };
    check(&image, &image.layout, Faults::default(), &expected)
}

#[test]
fn an_image_too_small_to_gain_from_its_index_is_unpacked() -> Result<()> {
    let image = Image::get("small", Form::V2)?;
    let expected = Expected {
        lazy_layers: 0,
        said: &["min_image_size"],
    };
    check(&image, &image.layout, Faults::default(), &expected)
}

#[test]
fn layers_that_the_index_leaves_out_are_unpacked() -> Result<()> {
    let image = Image::get("jvm", Form::Sparse)?;
    let index: Manifest = image.layout.json(&image.index()?.digest)?;
    let lazy_layers = index.layers.len();
    ensure!(
        lazy_layers < image.layers()?.len(),
        "the index leaves nothing out"
    );
    check(
        &image,
        &image.layout,
        Faults::default(),
        &Expected {
            lazy_layers,
            said: &[],
        },
    )
}

#[test]
fn a_ztoc_that_is_no_ztoc_costs_its_layer_only() -> Result<()> {
    let image = Image::get("python", Form::V2)?;
    let mut altered = altered("python")?;
    let layers = altered.ztocs.len();
    let ztoc = altered.ztocs.get_mut(1).context("a second layer")?;
    let layer = ztoc
        .annotations
        .values()
        .find(|v| v.starts_with("sha256:"))
        .cloned();
    let garbage = altered.layout.put(&ztoc.media_type, &[0xa5; 4096])?;
    (ztoc.digest, ztoc.size) = (garbage.digest, garbage.size);
    altered.convert()?;
    let layer = layer.context("a zTOC without its layer")?;
    let said = ["local-snapshot-prepared", "zTOC", layer.as_str()];
    let expected = Expected {
        lazy_layers: layers - 1,
        said: &said,
    };
    check(&image, &altered.layout, Faults::default(), &expected)
}

#[test]
fn a_ztoc_changed_on_the_way_costs_its_layer_only() -> Result<()> {
    let image = Image::get("python", Form::V2)?;
    let altered = altered("python")?;
    altered.convert()?;
    let ztoc = altered.ztocs.get(1).context("a second layer")?;
    let faults = Faults {
        flip: Some((ztoc.digest.clone(), 100)),
        ..Faults::default()
    };
    let said = ["local-snapshot-prepared", ztoc.digest.as_str()];
    let expected = Expected {
        lazy_layers: altered.ztocs.len() - 1,
        said: &said,
    };
    check(&image, &altered.layout, faults, &expected)
}

#[test]
fn an_index_that_is_no_index_is_as_good_as_none() -> Result<()> {
    let image = Image::get("python", Form::V2)?;
    let altered = altered("python")?;
    let index = altered.layout.put(
        harness::layout::MANIFEST,
        br#"{"schemaVersion":2,"layers":7}"#,
    )?;
    let converted = annotated(&altered.layout, &altered.image, &index.digest)?;
    altered.layout.set_roots(&[("latest", converted)])?;
    let said = [index.digest.as_str()];
    let expected = Expected {
        lazy_layers: 0,
        said: &said,
    };
    check(&image, &altered.layout, Faults::default(), &expected)
}

#[test]
fn an_index_that_was_never_pushed_is_as_good_as_none() -> Result<()> {
    let image = Image::get("python", Form::V2)?;
    let altered = altered("python")?;
    let index = altered.convert()?.digest;
    let faults = Faults {
        missing: [index.clone()].into(),
        ..Faults::default()
    };
    check(
        &image,
        &altered.layout,
        faults,
        &Expected {
            lazy_layers: 0,
            said: &[&index, "not found"],
        },
    )
}

#[test]
fn a_registry_without_ranges_still_serves_images() -> Result<()> {
    let image = Image::get("python", Form::V2)?;
    let faults = Faults {
        no_ranges: true,
        ..Faults::default()
    };
    let expected = Expected {
        lazy_layers: 0,
        said: &["local-snapshot-prepared", "range"],
    };
    check(&image, &image.layout, faults, &expected)
}

/// zTOCs that the original made of several gzip members before it could are of no use.
#[test]
fn a_layer_of_several_gzip_members_is_read_right() -> Result<()> {
    let image = Image::get("multi-member", Form::V2)?;
    let registry = Registry::start()?;
    registry.add("image", &image.layout);
    with_stack(
        Flavor::Transfer,
        &configuration("", registry.address()),
        |stack| {
            let reference = registry.reference("image");
            stack.pull(&reference)?;
            for (command, says) in [
                (["cat", "/multi/hello"], "hello from multi"),
                (["cat", "/multi/last"], "the end"),
            ] {
                let text = stack.run(&reference, &command)?;
                ensure!(text.contains(says), "the container said {text:?}");
            }
            Ok(())
        },
    )
}
