//! `soci verify` finds whatever is wrong with an index in a registry or layout, and nothing where nothing is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use harness::image::{Form, Image, compose_v2};
use harness::layout::{self, Descriptor, Index, Layout, Manifest};
use harness::registry::{Discovery, Faults, Registry};
use harness::scratch::Scratch;
use harness::soci::Soci;
use serde_json::Value;

const LAYER_DIGEST: &str = "com.amazon.soci.image-layer-digest";
const INDEX_DIGEST: &str = "com.amazon.soci.index-digest";

/// Checks an image; the findings that are errors, by their code.
fn errors(soci: &Soci, image: &str) -> Result<Vec<String>> {
    let ended = soci.run(&["verify", "--json", image])?;
    let report: Value =
        serde_json::from_str(&ended.stdout).with_context(|| format!("no JSON: {ended:#?}"))?;
    let findings = report.get("findings").and_then(Value::as_array);
    let findings = findings.context("no findings")?;
    let errors: Vec<String> = findings
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .filter_map(|finding| finding["code"].as_str().map(str::to_owned))
        .collect();
    let expected = if errors.is_empty() { 0 } else { 4 };
    ensure!(ended.code == expected, "{ended:#?}");
    Ok(errors)
}

/// An image with a v2 index of ours, in a layout that the test may spoil.
struct Planted {
    scratch: Scratch,
    layout: Layout,
    /// The image without an index.
    image: Descriptor,
    ztocs: Vec<Descriptor>,
}

impl Planted {
    fn new() -> Result<Self> {
        let plain = Image::get("odd", Form::Plain)?;
        let scratch = Scratch::in_memory()?;
        let dir = scratch.path().join("layout");
        Soci::new(scratch.path())?.done(&[
            "publish",
            "--min-layer-size=0",
            &format!("oci:{}", plain.layout.dir().display()),
            &format!("oci:{}", dir.display()),
        ])?;
        let layout = Layout::open(&dir)?;
        let root: Index = layout.json(&layout.only_root()?.digest)?;
        let index = root.manifests.last().context("no index")?;
        let ztocs = layout.json::<Manifest>(&index.digest)?.layers;
        ensure!(!ztocs.is_empty(), "no zTOCs");
        let image = plain.layout.root("latest")?;
        layout.put(layout::MANIFEST, &plain.layout.read(&image.digest)?)?;
        Ok(Self {
            scratch,
            layout,
            image,
            ztocs,
        })
    }

    fn place(&self) -> String {
        format!("oci:{}", self.layout.dir().display())
    }

    fn errors(&self) -> Result<Vec<String>> {
        errors(&Soci::new(self.scratch.path())?, &self.place())
    }

    /// Makes the image name an index of the zTOCs as they are now.
    fn compose(&self) -> Result<()> {
        compose_v2(&self.layout, &self.image, &self.ztocs)
    }

    /// Puts another zTOC in the place of one.
    fn replace(&mut self, number: usize, bytes: &[u8]) -> Result<()> {
        let put = self.layout.put("application/octet-stream", bytes)?;
        let ztoc = self.ztocs.get_mut(number).context("zTOC")?;
        (ztoc.digest, ztoc.size) = (put.digest, put.size);
        self.compose()
    }

    /// Changes a blob behind the back of its digest.
    fn spoil(&self, digest: &str, at: usize) -> Result<()> {
        let mut bytes = self.layout.read(digest)?;
        *bytes.get_mut(at).context("too short")? ^= 1;
        // Its own file: the cache's images share theirs.
        fs::remove_file(self.layout.path(digest))?;
        fs::write(self.layout.path(digest), bytes)?;
        Ok(())
    }

    /// The converted image, changed as text.
    fn edit_root(&self, edit: impl FnOnce(&mut Value)) -> Result<()> {
        let root = self.layout.only_root()?;
        let mut json: Value = self.layout.json(&root.digest)?;
        edit(&mut json);
        let root = self.layout.put_json(layout::INDEX, &json)?;
        self.layout.set_roots(&[("latest", root)])
    }
}

/// Plants a fault in what was right; it is found under this name.
fn check(expected: &str, plant: impl FnOnce(&mut Planted) -> Result<()>) -> Result<()> {
    let mut planted = Planted::new()?;
    ensure!(
        planted.errors()?.is_empty(),
        "wrong before: {:?}",
        planted.errors()?
    );
    plant(&mut planted)?;
    let found = planted.errors()?;
    ensure!(
        found.iter().any(|code| code == expected),
        "found {found:?}, not {expected}"
    );
    Ok(())
}

#[test]
fn indexes_of_both_tools_are_clean() -> Result<()> {
    let scratch = Scratch::in_memory()?;
    let soci = Soci::new(scratch.path())?;
    let registry = Registry::start()?;
    for form in Form::INDEXED {
        let image = Image::get("python", form)?;
        registry.set(Faults {
            discovery: Discovery::Tag,
            ..Faults::default()
        });
        registry.add("image", &image.layout);
        let found = errors(&soci, &registry.reference("image"))?;
        ensure!(found.is_empty(), "{}: {found:?}", form.name());
    }
    Ok(())
}

#[test]
fn a_ztoc_of_another_layer_is_found() -> Result<()> {
    check("span-digest", |planted| {
        let other = planted.ztocs.last().context("zTOC")?.digest.clone();
        let bytes = planted.layout.read(&other)?;
        planted.replace(0, &bytes)
    })
}

#[test]
fn a_ztoc_that_is_none_is_found() -> Result<()> {
    check("ztoc-damaged", |planted| {
        planted.replace(0, b"not a zTOC at all")
    })
}

#[test]
fn a_ztoc_with_another_digest_than_said_is_found() -> Result<()> {
    check("ztoc-digest", |planted| {
        planted.spoil(&planted.ztocs[0].digest, 1000)
    })
}

#[test]
fn a_ztoc_that_is_missing_is_found() -> Result<()> {
    check("ztoc-missing", |planted| {
        Ok(fs::remove_file(
            planted.layout.path(&planted.ztocs[0].digest),
        )?)
    })
}

#[test]
fn a_layer_changed_on_the_way_is_found() -> Result<()> {
    check("layer-digest", |planted| {
        let layer = planted.ztocs[0].annotations[LAYER_DIGEST].clone();
        planted.spoil(&layer, 1 << 20)
    })
}

#[test]
fn a_ztoc_for_a_layer_that_the_image_lacks_is_found() -> Result<()> {
    check("layer-unknown", |planted| {
        let none = layout::digest(b"no layer");
        planted.ztocs[0]
            .annotations
            .insert(LAYER_DIGEST.to_owned(), none);
        planted.compose()
    })
}

#[test]
fn an_image_that_names_an_index_which_is_gone_is_found() -> Result<()> {
    check("index-missing", |planted| {
        let root: Index = planted.layout.json(&planted.layout.only_root()?.digest)?;
        let index = root.manifests.last().context("index")?.digest.clone();
        planted.edit_root(|json| {
            if let Some(manifests) = json["manifests"].as_array_mut() {
                manifests.pop();
            }
        })?;
        Ok(fs::remove_file(planted.layout.path(&index))?)
    })
}

/// The original's snapshotter writes such a manifest anew and stumbles over the digest.
#[test]
fn a_manifest_that_the_original_cannot_store_is_found() -> Result<()> {
    check("not-canonical", |planted| {
        let root: Index = planted.layout.json(&planted.layout.only_root()?.digest)?;
        let [mut image, mut index] = <[Descriptor; 2]>::try_from(root.manifests)
            .map_err(|listed| anyhow::anyhow!("{listed:?}"))?;
        let json: Value = planted.layout.json(&index.digest)?;
        let pretty = planted
            .layout
            .put(layout::MANIFEST, &serde_json::to_vec_pretty(&json)?)?;
        (index.digest, index.size) = (pretty.digest.clone(), pretty.size);
        let mut manifest: Manifest = planted.layout.json(&image.digest)?;
        manifest
            .annotations
            .insert(INDEX_DIGEST.to_owned(), pretty.digest);
        let changed = planted.layout.put_json(layout::MANIFEST, &manifest)?;
        (image.digest, image.size) = (changed.digest.clone(), changed.size);
        image.annotations = manifest.annotations;
        let key = "com.amazon.soci.image-manifest-digest".to_owned();
        index.annotations.insert(key, changed.digest);
        let root = planted
            .layout
            .put_json(layout::INDEX, &Index::of(vec![image, index]))?;
        planted.layout.set_roots(&[("latest", root)])
    })
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../soci/tests/fixtures")
        .join(name)
}

/// An image of one layer, with a zTOC from a file.
fn image_of(scratch: &Scratch, layer: &str, ztoc: Option<&str>) -> Result<Layout> {
    let layout = Layout::create(&scratch.path().join("fixture"))?;
    let layer = layout.put(layout::LAYER_GZIP, &fs::read(fixture(layer))?)?;
    let platform = layout::platform();
    let config = serde_json::json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
    });
    let manifest = Manifest {
        schema_version: 2,
        media_type: layout::MANIFEST.to_owned(),
        config: layout.put_json(layout::CONFIG, &config)?,
        layers: vec![layer.clone()],
        subject: None,
        annotations: layout::Annotations::new(),
    };
    let image = layout.put_json(layout::MANIFEST, &manifest)?;
    let Some(ztoc) = ztoc else {
        layout.set_roots(&[("latest", image)])?;
        return Ok(layout);
    };
    let mut ztoc = layout.put("application/octet-stream", &fs::read(fixture(ztoc))?)?;
    ztoc.annotations
        .insert(LAYER_DIGEST.to_owned(), layer.digest);
    compose_v2(&layout, &image, &[ztoc])?;
    Ok(layout)
}

#[test]
fn a_ztoc_that_omits_a_file_is_found() -> Result<()> {
    let scratch = Scratch::in_memory()?;
    let (layer, ztoc) = ("neg-omitted-entry.tar.gz", "neg-omitted-entry.ztoc");
    let layout = image_of(&scratch, layer, Some(ztoc))?;
    let place = format!("oci:{}", layout.dir().display());
    let found = errors(&Soci::new(scratch.path())?, &place)?;
    ensure!(!found.is_empty(), "nothing was found");
    Ok(())
}

#[test]
fn a_layer_that_the_original_refuses_is_named_and_never_indexed_wrong() -> Result<()> {
    let scratch = Scratch::in_memory()?;
    let layout = image_of(&scratch, "neg-pax-global.tar.gz", None)?;
    let soci = Soci::new(scratch.path())?;
    let place = format!("oci:{}", layout.dir().display());
    let out = format!("oci:{}", scratch.path().join("out").display());
    let ended = soci.run(&["publish", "--min-layer-size=0", &place, &out])?;
    ensure!(
        ended.code == 3 && ended.stderr.starts_with("soci: "),
        "{ended:#?}"
    );
    ensure!(
        ended.stdout.contains("global"),
        "the reason is not said: {ended:#?}"
    );
    Ok(())
}
