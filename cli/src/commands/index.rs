//! `index list|info|remove`.

use std::collections::HashSet;
use std::time::SystemTime;

use oci_spec::image::Digest;
use soci::canonical::Platform;
use soci::media_types;

use super::local::{self, Local};
use crate::args::{ContentStore, Global, IndexCommand, IndexInfo, IndexList, IndexRemove};
use crate::catalog::{Artifact, Catalog, Kind};
use crate::content::Content;
use crate::error::Error;
use crate::image::Selection;
use crate::output::{self, Output, Row};
use crate::store::source::read;
use crate::store::{Containerd, Directory};
use crate::{platform, time};

pub(super) async fn run(
    global: &Global,
    output: Output,
    command: IndexCommand,
) -> Result<(), Error> {
    match command {
        IndexCommand::List(args) => list(global, output, args).await,
        IndexCommand::Info(args) => info(global, args).await,
        IndexCommand::Remove(args) => remove(global, output, args).await,
    }
}

#[derive(serde::Serialize)]
struct Listed {
    #[serde(flatten)]
    artifact: Artifact,
    image_ref: String,
}

async fn list(global: &Global, output: Output, args: IndexList) -> Result<(), Error> {
    let platforms = args.platform.iter().map(|text| platform::parse(text));
    let platforms: Vec<Platform> = platforms.collect::<Result<_, _>>()?;
    let catalog = Catalog::new(&global.root);
    let mut indexes = catalog.read()?;
    indexes.retain(|artifact| artifact.kind == Kind::Index);
    match &args.image {
        Some(image) => {
            let about = manifests(global, image, &platforms).await?;
            indexes.retain(|artifact| about.contains(&artifact.subject));
        }
        None if !platforms.is_empty() => {
            let texts: Vec<_> = platforms.iter().map(platform::text).collect();
            indexes.retain(|artifact| {
                let facts = artifact.index.as_ref();
                facts.is_some_and(|facts| texts.contains(&facts.platform))
            });
        }
        None => {}
    }
    indexes.reverse();
    // The list is useful without containerd too; then nobody knows what the images are called.
    let containerd = match indexes.is_empty() || output.quiet {
        true => None,
        false => Containerd::connect(&global.address, &global.namespace)
            .await
            .ok(),
    };
    let now = SystemTime::now();
    let mut rows = Vec::new();
    for artifact in indexes {
        let Some(facts) = artifact.index.clone() else {
            continue;
        };
        let mut names = match &containerd {
            Some(containerd) => containerd.names(&facts.image).await?,
            None => Vec::new(),
        };
        if names.is_empty() {
            names.push(String::new());
        }
        for name in names {
            let version = match facts.artifact_type.as_str() {
                media_types::INDEX_V1 => "v1",
                media_types::INDEX_V2 => "v2",
                _ => "",
            };
            rows.push(Row {
                cells: vec![
                    artifact.digest.to_string(),
                    artifact.size.to_string(),
                    name.clone(),
                    facts.platform.clone(),
                    artifact.media_type.clone(),
                    version.to_owned(),
                    time::ago(artifact.created(), now),
                ],
                record: Listed {
                    artifact: artifact.clone(),
                    image_ref: name,
                },
            });
        }
    }
    let heading = [
        "DIGEST",
        "SIZE",
        "IMAGE REF",
        "PLATFORM",
        "MEDIA TYPE",
        "MANIFEST VERSION",
        "CREATED",
    ];
    output.listing(&heading, &rows)
}

/// The image manifests of an image in containerd.
async fn manifests(
    global: &Global,
    image: &str,
    platforms: &[Platform],
) -> Result<HashSet<Digest>, Error> {
    let local = Local::reading(global).await?;
    let (_, image) = local::image(&local, image).await?;
    let selection = match platforms {
        [] => Selection::All,
        some => Selection::Some(some.to_vec()),
    };
    let platforms = image.platforms(&selection)?;
    let found = platforms.iter().filter_map(|p| image.listed.find(p));
    Ok(found.map(|listed| listed.digest.clone()).collect())
}

async fn info(global: &Global, args: IndexInfo) -> Result<(), Error> {
    let catalog = Catalog::new(&global.root).read()?;
    let known = catalog.iter().find(|known| known.digest == args.digest);
    let known = known.ok_or_else(|| Error::NotListed(args.digest.clone()))?;
    if known.kind != Kind::Index {
        return Err(Error::usage(format!(
            "{} is no index; see `soci ztoc info` and `soci prefetch info`",
            args.digest
        )));
    }
    let store = local::artifacts(global).await?;
    let content = Content::new(media_types::MANIFEST, known.digest.clone(), known.size);
    let json = read(&*store, &content).await?;
    // In the order of its members, which a map would not keep.
    let manifest: soci::canonical::Manifest = serde_json::from_slice(&json)
        .map_err(Error::json(format!("SOCI index {}", args.digest)))?;
    output::pretty(&manifest)
}

async fn remove(global: &Global, output: Output, args: IndexRemove) -> Result<(), Error> {
    let catalog = Catalog::new(&global.root);
    let artifacts = catalog.read()?;
    let doomed: HashSet<Digest> = match &args.image {
        Some(image) => {
            let about = manifests(global, image, &[]).await?;
            let indexes = artifacts.iter().filter(|a| a.kind == Kind::Index);
            let indexes = indexes.filter(|a| about.contains(&a.subject));
            indexes.map(|a| a.digest.clone()).collect()
        }
        None => args.digests.into_iter().collect(),
    };
    for digest in &doomed {
        let is_index = |a: &&Artifact| a.digest == *digest && a.kind == Kind::Index;
        if !artifacts.iter().any(|a| is_index(&a)) {
            return Err(Error::NotListed(digest.clone()));
        }
    }
    let mut gone: Vec<Digest> = doomed.iter().cloned().collect();
    gone.extend(orphans(&artifacts, &doomed));
    match global.content_store {
        ContentStore::Containerd => {
            let containerd = Containerd::connect(&global.address, &global.namespace).await?;
            for digest in &gone {
                containerd.delete(digest).await?;
            }
        }
        ContentStore::Soci => {
            let directory = Directory::create(&global.root.join("content")).await?;
            for digest in &gone {
                directory.delete(digest).await?;
            }
        }
    }
    catalog.remove(&gone)?;
    let mut removed: Vec<_> = gone.iter().map(ToString::to_string).collect();
    removed.sort();
    output.document(&removed)
}

/// zTOCs and prefetch artifacts that only the doomed indexes list.
fn orphans(artifacts: &[Artifact], doomed: &HashSet<Digest>) -> HashSet<Digest> {
    let (mut listed, mut needed) = (HashSet::new(), HashSet::new());
    for artifact in artifacts {
        let blobs = artifact.index.iter().flat_map(|facts| &facts.blobs);
        let side = match doomed.contains(&artifact.digest) {
            true => &mut listed,
            false => &mut needed,
        };
        side.extend(blobs.cloned());
    }
    listed.difference(&needed).cloned().collect()
}
