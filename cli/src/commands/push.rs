//! `push`: the newest v1 index of an image in containerd, to the image's registry.

use std::sync::Arc;

use oci_spec::image::Digest;
use serde::Serialize;
use soci::media_types;

use super::local::{self, Local};
use crate::args::{ExistingIndex, Global, Push};
use crate::catalog::{Artifact, Kind};
use crate::content::Content;
use crate::error::Error;
use crate::graph::{Copying, Observer};
use crate::image::{Selection, Variant};
use crate::location::reference;
use crate::output::Output;
use crate::platform;
use crate::reach::Reach;
use crate::store::source::read;
use crate::store::{Labels, Remote, Sink, Source, Written};

const DEFAULT_UPLOADS: usize = 3;

#[derive(Serialize)]
struct Pushed {
    platform: String,
    manifest: Digest,
    index: Digest,
    /// Left out, because the registry has an index of the image.
    skipped: bool,
}

/// The lines of the reference tool.
struct Lines(Output);

impl Observer for Lines {
    fn done(&self, content: &Content, written: Written) {
        let digest = &content.digest;
        let lines = match written {
            Written::New => format!(
                "pushing artifact with digest: {digest}\nsuccessfully pushed artifact with digest: {digest}"
            ),
            Written::Present => format!("skipped artifact with digest: {digest}"),
        };
        // A closed standard output ends the command elsewhere.
        let _ = self.0.line(&lines);
    }
}

pub(super) async fn run(global: &Global, output: Output, args: Push) -> Result<(), Error> {
    let name = reference(&args.image)?;
    let selection = args.platforms.selection(Selection::Host)?;
    let reach = Reach::new(&args.registry, &[&name])?;
    let remote = reach.image(&name)?;
    let local = Local::reading(global).await?;
    let (images, image) = local::image(&local, &args.image).await?;
    let catalog = local.catalog.read()?;
    let mut chosen = Vec::new();
    for platform in image.platforms(&selection)? {
        let variant = image.variant(&*images, &platform).await?;
        let index = newest(output, &catalog, &variant)?;
        chosen.push((variant, index));
    }
    let pushing = Pushing {
        output,
        images,
        artifacts: local.artifacts().await?,
        remote,
        args: &args,
    };
    let mut pushed = Vec::new();
    for (variant, index) in chosen {
        pushed.push(pushing.one(variant, index).await?);
    }
    output.document(&pushed)
}

/// The index built last, since another one of the same image replaced what it was built for.
fn newest(output: Output, catalog: &[Artifact], variant: &Variant) -> Result<Content, Error> {
    let mut newest = None;
    for artifact in catalog {
        let Some(facts) = &artifact.index else {
            continue;
        };
        if artifact.kind != Kind::Index || artifact.subject != variant.manifest.digest {
            continue;
        }
        if facts.artifact_type == media_types::INDEX_V2 {
            output.line("[WARN] Skipping SOCI index manifest v2. You should push the whole image with higher level tools like finch or nerdctl.")?;
        } else {
            newest = Some(artifact);
        }
    }
    let newest = newest.ok_or_else(|| Error::Malformed {
        what: platform::text(&variant.platform),
        reason: "could not find any soci index manifest v1 to push; `soci create` builds one"
            .to_owned(),
    })?;
    Ok(Content::new(
        media_types::MANIFEST,
        newest.digest.clone(),
        newest.size,
    ))
}

struct Pushing<'a> {
    output: Output,
    images: Arc<dyn Source>,
    artifacts: Arc<dyn Source>,
    remote: Remote,
    args: &'a Push,
}

impl Pushing<'_> {
    async fn one(&self, variant: Variant, index: Content) -> Result<Pushed, Error> {
        let mut pushed = Pushed {
            platform: platform::text(&variant.platform),
            manifest: variant.manifest.digest.clone(),
            index: index.digest.clone(),
            skipped: true,
        };
        if !self.is_wanted(&variant).await? {
            return Ok(pushed);
        }
        let digest = &index.digest;
        if self.args.dry_run {
            self.output
                .line(&format!("would push soci index with digest: {digest}"))?;
            return Ok(pushed);
        }
        if self.output.quiet {
            self.output.result(digest.as_ref())?;
        } else {
            self.output
                .line(&format!("pushing soci index with digest: {digest}"))?;
        }
        let lines = Arc::new(Lines(self.output));
        // A registry may refuse an index of an image that it does not have.
        self.image(&variant, lines.clone()).await?;
        let copying = self.copying(&self.artifacts, lines.clone());
        let json = read(&*self.artifacts, &index).await?;
        copying.below(&index, &json).await?;
        let written = self.remote.write(&index, json, Labels::new()).await?;
        lines.done(&index, written);
        pushed.skipped = false;
        Ok(pushed)
    }

    async fn is_wanted(&self, variant: &Variant) -> Result<bool, Error> {
        let existing = self.args.existing_index;
        if existing == ExistingIndex::Allow {
            return Ok(true);
        }
        self.output
            .line("checking if a soci index already exists in remote repository...")?;
        let indexes = self.remote.indexes(&variant.manifest.digest).await?;
        let found = match indexes.as_slice() {
            [] => return Ok(true),
            [one] => format!(
                "soci index found in remote repository with digest: {}",
                one.digest
            ),
            _ => "multiple soci indices found in remote repository".to_owned(),
        };
        if existing == ExistingIndex::Skip {
            let manifest = &variant.manifest.digest;
            self.output.line(&format!(
                "{found}: skipping pushing artifacts for image manifest: {manifest}"
            ))?;
            return Ok(false);
        }
        self.output
            .line(&format!("[WARN] {found}: pushing index anyway"))?;
        Ok(true)
    }

    async fn image(&self, variant: &Variant, lines: Arc<Lines>) -> Result<(), Error> {
        if self.remote.holds(&variant.manifest).await? {
            lines.done(&variant.manifest, Written::Present);
            return Ok(());
        }
        let copying = self.copying(&self.images, lines);
        copying.graph(&variant.manifest).await
    }

    fn copying(&self, from: &Arc<dyn Source>, lines: Arc<Lines>) -> Copying {
        let uploads = match self.args.max_concurrent_uploads {
            0 => DEFAULT_UPLOADS,
            uploads => uploads,
        };
        Copying {
            from: from.clone(),
            to: Arc::new(self.remote.clone()),
            width: uploads,
            observer: lines,
        }
    }
}
