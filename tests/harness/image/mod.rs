//! Real images made from Debian packages and odd ones made by hand, each plain and with SOCI indices.

mod entry;
mod index;
mod large;
mod odd;
mod recipe;
mod step;
mod synthetic;
mod upper;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::cache;
use crate::layout::{self, Descriptor, Layout};

pub use index::{SOCI_V1, SOCI_V2, annotated, compose_v1, compose_v2};
pub use recipe::{ALL, REAL, Recipe};

/// How an image's index can be found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Form {
    /// No index.
    Plain,
    /// The image as it was; a v1 index refers to it.
    V1,
    /// A converted image whose manifest names a v2 index, with a zTOC for every layer.
    V2,
    /// The same with zTOCs for layers of 10 MiB and more only, as `soci convert` does by default.
    Sparse,
}

impl Form {
    pub const INDEXED: [Self; 3] = [Self::V1, Self::V2, Self::Sparse];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Sparse => "sparse",
        }
    }
}

/// A layer on disk: its blob, and the digest of the tar in it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) blob: PathBuf,
    pub(crate) media_type: &'static str,
    pub(crate) diff_id: String,
}

/// An image as an OCI layout with the tag `latest`.
#[derive(Clone, Debug)]
pub struct Image {
    pub recipe: &'static Recipe,
    pub form: Form,
    pub layout: Layout,
}

impl Image {
    /// The image from the cache, made first if need be: minutes the first time.
    pub fn get(name: &str, form: Form) -> Result<Self> {
        let recipe = find(name)?;
        let dir = build(recipe)?;
        let layout = Layout::open(&dir.join(form.name()))
            .with_context(|| format!("{name} has no form {}", form.name()))?;
        Ok(Self {
            recipe,
            form,
            layout,
        })
    }

    pub fn name(&self) -> &'static str {
        self.recipe.name
    }

    pub fn layers(&self) -> Result<Vec<Descriptor>> {
        Ok(self.layout.image()?.1.layers)
    }

    /// The SOCI index manifest of this form, of either version.
    pub fn index(&self) -> Result<Descriptor> {
        index::find(&self.layout)
    }
}

pub fn find(name: &str) -> Result<&'static Recipe> {
    let mut all = ALL.iter().chain(&large::LARGE).chain([&large::DEEP]);
    all.find(|recipe| recipe.name == name)
        .with_context(|| format!("no image {name}"))
}

/// Makes every image that the tests use, two at a time.
pub fn build_all() -> Result<()> {
    step::base()?;
    let queue = parking_lot::Mutex::new(ALL.iter());
    let work = || -> Result<()> {
        loop {
            let next = queue.lock().next();
            let Some(recipe) = next else { return Ok(()) };
            build(recipe)?;
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work()?;
        other
            .join()
            .map_err(|_| anyhow::anyhow!("building an image panicked"))?
    })
}

fn build(recipe: &'static Recipe) -> Result<PathBuf> {
    cache::directory(recipe.name, &recipe.key(), |dir| {
        let start = std::time::Instant::now();
        let layers = recipe.layers(dir)?;
        let plain = plain(&dir.join("plain"), recipe, &layers)?;
        if recipe.indexed {
            index::add_forms(dir, &plain)?;
        }
        eprintln!("image {} made in {:.0?}", recipe.name, start.elapsed());
        Ok(())
    })
}

fn plain(dir: &Path, recipe: &Recipe, layers: &[Layer]) -> Result<Layout> {
    let layout = Layout::create(dir)?;
    let platform = layout::platform();
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let config = json!({
        "created": "2024-01-01T00:00:00Z",
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": recipe.command,
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let manifest = layout::Manifest {
        schema_version: 2,
        media_type: layout::MANIFEST.to_owned(),
        config: layout.put_json(layout::CONFIG, &config)?,
        layers: layers
            .iter()
            .map(|layer| layout.link(layer.media_type, &layer.blob))
            .collect::<Result<_>>()?,
        subject: None,
        annotations: layout::Annotations::new(),
    };
    let mut root = layout.put_json(layout::MANIFEST, &manifest)?;
    root.platform = Some(platform);
    layout.set_roots(&[("latest", root)])?;
    Ok(layout)
}
