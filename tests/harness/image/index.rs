//! SOCI indices of an image: zTOCs by the original tool, v2 manifests put together from them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Form;
use crate::cache;
use crate::command::run;
use crate::containerd::{Containerd, Flavor};
use crate::layout::{self, Annotations, Descriptor, Index, Layout, Manifest};

pub const SOCI_V1: &str = "application/vnd.amazon.soci.index.v1+json";
pub const SOCI_V2: &str = "application/vnd.amazon.soci.index.v2+json";

const INDEX_DIGEST: &str = "com.amazon.soci.index-digest";
const MANIFEST_DIGEST: &str = "com.amazon.soci.image-manifest-digest";
const LAYER_DIGEST: &str = "com.amazon.soci.image-layer-digest";

/// The size from which the original tool indexes a layer by default.
const MIN_LAYER: u64 = 10 << 20;

/// The tool knows one state directory only; a mount namespace of its own gives it ours there.
const CREATE: &str = r#"
set -eu
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/soci-snapshotter-grpc
mount --bind "$STATE" /var/lib/soci-snapshotter-grpc
exec "$SOCI" --address "$ADDRESS" create --min-layer-size 0 "$REF"
"#;

/// Adds the forms with an index beside the plain one.
pub(super) fn add_forms(dir: &Path, plain: &Layout) -> Result<()> {
    let work = dir.join("create");
    fs::create_dir(&work)?;
    let state = create(&work, plain)?;
    let made = Layout::open(&state).or_else(|_| Layout::create(&state))?;
    let (_, image) = plain.image()?;
    let ztocs = made_ztocs(&made, &image)?;
    for form in Form::INDEXED {
        let layout = Layout::create(&dir.join(form.name()))?;
        layout.link_all(plain)?;
        let chosen: Vec<Descriptor> = ztocs
            .iter()
            .filter(|ztoc| form != Form::Sparse || layer_size(&image, ztoc) >= MIN_LAYER)
            .cloned()
            .collect();
        for ztoc in &chosen {
            layout.link(&ztoc.media_type, &made.path(&ztoc.digest))?;
        }
        let root = plain.root("latest")?;
        match form {
            Form::V1 => compose_v1(&layout, &root, &chosen)?,
            Form::V2 | Form::Sparse => compose_v2(&layout, &root, &chosen)?,
            Form::Plain => {}
        }
    }
    fs::remove_dir_all(&work)?;
    Ok(())
}

fn layer_size(image: &Manifest, ztoc: &Descriptor) -> u64 {
    let digest = ztoc.annotations.get(LAYER_DIGEST);
    image
        .layers
        .iter()
        .find(|layer| Some(&layer.digest) == digest)
        .map_or(0, |layer| layer.size)
}

/// Runs `soci create` against a containerd that has nothing but the image; returns its content store.
fn create(work: &Path, plain: &Layout) -> Result<std::path::PathBuf> {
    let reference = "localhost/image:latest";
    let mut containerd = Containerd::start(&work.join("containerd"), Flavor::Transfer, None)?;
    containerd.import("localhost/image", plain)?;
    let state = work.join("state");
    fs::create_dir_all(state.join("content"))?;
    run(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", CREATE])
        .env("STATE", &state)
        .env("SOCI", cache::reference("soci")?)
        .env("ADDRESS", containerd.socket())
        .env("REF", reference))?;
    containerd.stop()?;
    Ok(state.join("content"))
}

/// The zTOC descriptors of the one index that the tool wrote.
fn made_ztocs(made: &Layout, image: &Manifest) -> Result<Vec<Descriptor>> {
    for blob in fs::read_dir(made.dir().join("blobs/sha256"))? {
        let bytes = fs::read(blob?.path())?;
        let Ok(index) = serde_json::from_slice::<Manifest>(&bytes) else {
            continue;
        };
        if index.config.media_type != SOCI_V1 {
            continue;
        }
        anyhow::ensure!(
            index.layers.len() == image.layers.len(),
            "the original tool made {} zTOCs for {} layers",
            index.layers.len(),
            image.layers.len()
        );
        return Ok(index.layers);
    }
    anyhow::bail!(
        "the original tool left no index in {}",
        made.dir().display()
    )
}

/// An index manifest as the original writes it, `{}` config and all.
fn index_manifest(
    layout: &Layout,
    artifact: &str,
    subject: Option<Descriptor>,
    ztocs: &[Descriptor],
) -> Result<Descriptor> {
    let tool = ("com.amazon.soci.build-tool-identifier", "AWS SOCI CLI v0.2");
    let manifest = Manifest {
        schema_version: 2,
        media_type: layout::MANIFEST.to_owned(),
        config: layout.put(artifact, b"{}")?,
        layers: ztocs.to_vec(),
        subject,
        annotations: Annotations::from([(tool.0.to_owned(), tool.1.to_owned())]),
    };
    layout.put_json(layout::MANIFEST, &manifest)
}

/// Leaves the image as it is and adds a v1 index that refers to it, under the fallback tag.
pub fn compose_v1(layout: &Layout, image: &Descriptor, ztocs: &[Descriptor]) -> Result<()> {
    let subject = Descriptor {
        annotations: Annotations::new(),
        platform: None,
        ..image.clone()
    };
    let mut index = index_manifest(layout, SOCI_V1, Some(subject), ztocs)?;
    index.artifact_type = Some(SOCI_V1.to_owned());
    let referrers = layout.put_json(layout::INDEX, &Index::of(vec![index]))?;
    let tag = image.digest.replacen(':', "-", 1);
    layout.set_roots(&[("latest", image.clone()), (&tag, referrers)])
}

/// Makes a converted image: the manifest names the index, and both are in one image index.
pub fn compose_v2(layout: &Layout, image: &Descriptor, ztocs: &[Descriptor]) -> Result<()> {
    let index = index_manifest(layout, SOCI_V2, None, ztocs)?;
    let converted = annotated(layout, image, &index.digest)?;
    let index = Descriptor {
        annotations: Annotations::from([(MANIFEST_DIGEST.to_owned(), converted.digest.clone())]),
        platform: Some(layout::platform()),
        artifact_type: Some(SOCI_V2.to_owned()),
        ..index
    };
    let root = layout.put_json(layout::INDEX, &Index::of(vec![converted, index]))?;
    layout.set_roots(&[("latest", root)])
}

/// The image manifest with the annotation that names an index, whether or not that exists.
pub fn annotated(layout: &Layout, image: &Descriptor, index: &str) -> Result<Descriptor> {
    let mut manifest: Manifest = layout.json(&image.digest)?;
    manifest
        .annotations
        .insert(INDEX_DIGEST.to_owned(), index.to_owned());
    let descriptor = layout.put_json(layout::MANIFEST, &manifest)?;
    let annotations = manifest.annotations;
    Ok(Descriptor {
        annotations,
        platform: Some(layout::platform()),
        ..descriptor
    })
}

/// The index manifest in a layout of any form.
pub(super) fn find(layout: &Layout) -> Result<Descriptor> {
    for (_, root) in layout.roots()? {
        if root.media_type != layout::INDEX {
            continue;
        }
        let index: Index = layout.json(&root.digest)?;
        let soci = |d: &Descriptor| matches!(d.artifact_type.as_deref(), Some(SOCI_V1 | SOCI_V2));
        if let Some(found) = index.manifests.into_iter().find(soci) {
            return Ok(found);
        }
    }
    Err(anyhow::anyhow!("no SOCI index")).with_context(|| layout.dir().display().to_string())
}
