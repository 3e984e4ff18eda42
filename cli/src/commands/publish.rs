//! `publish`: from where an image is to a registry, a layout or an archive.

use std::sync::Arc;

use oci_spec::distribution::Reference;
use oci_spec::image::Digest;
use soci::convert::Role;

use super::build::Building;
use super::places::{self, Place};
use super::report::{self, Report};
use super::writing;
use crate::args::{Build, Publish, SociVersion};
use crate::content::Content;
use crate::error::Error;
use crate::graph::{Copying, Silent};
use crate::image::{Image, Selection, parse};
use crate::location::{Destination, Location, reference};
use crate::output::Output;
use crate::pipeline::{IndexedVariant, Known};
use crate::reach::Reach;
use crate::store::{Archive, Directory, Remote, Sink, Source, Written};

/// Blobs on their way at once when an image is copied.
const COPIES: usize = 4;

pub(super) async fn run(output: Output, args: Publish) -> Result<(), Error> {
    let location = Location::parse(&args.source)?;
    let destination = destination(&args, &location)?;
    let mut references: Vec<&Reference> = places::reference(&location).into_iter().collect();
    if let Some(Destination::Registry(reference)) = &destination {
        references.push(reference);
    }
    let reach = Reach::new(&args.registry, &references)?;
    let place = places::open(&location, &reach, None).await?;
    let version = args.soci_version.unwrap_or(match destination {
        Some(_) => SociVersion::V2,
        None => SociVersion::V1,
    });
    let target = Target::open(&destination, &place, &reach).await?;
    let image = Image::load(&*place.source, &args.source).await?;
    let selection = args.platforms.selection(Selection::All)?;
    let known = if args.build.force {
        Known::default()
    } else {
        known(&target, version, &image, &selection, &args.build).await?
    };
    let building = Building {
        flags: &args.build,
        source: place.source.clone(),
        sink: (!args.dry_run).then(|| target.sink.clone()),
        known,
        output,
        with_subject: version == SociVersion::V1,
        every_platform: false,
    };
    let built = building.run(&image, &selection).await?;
    let publishing = Publishing {
        output,
        place: &place,
        target: &target,
        image: &image,
        built: &built,
        dry_run: args.dry_run,
    };
    let (digest, already_there) = match version {
        SociVersion::V1 => publishing.beside().await?,
        SociVersion::V2 => publishing.within().await?,
    };
    if already_there {
        output.line("already there: nothing was uploaded")?;
    }
    output.document(&Report {
        image: args.destination.unwrap_or(args.source),
        platforms: report::platforms(&built),
        digest: digest.as_ref().map(ToString::to_string),
        already_there,
    })?;
    if let Some(digest) = digest {
        return output.result(digest.as_ref());
    }
    built
        .iter()
        .filter_map(|built| built.index.as_ref())
        .try_for_each(|index| output.result(index.content.digest.as_ref()))
}

fn destination(args: &Publish, source: &Location) -> Result<Option<Destination>, Error> {
    let Some(tag) = &args.tag else {
        if args.destination.is_none() && !matches!(source, Location::Registry(_)) {
            return Err(Error::usage(
                "an image in files needs a destination: a reference with a tag, oci:DIR or oci-archive:FILE",
            ));
        }
        let destination = args.destination.as_deref().map(Destination::parse);
        return destination.transpose();
    };
    let Location::Registry(image) = source else {
        return Err(Error::usage(
            "--tag names an image in the repository of the source; give a whole destination instead",
        ));
    };
    let name = format!("{}/{}:{tag}", image.registry(), image.repository());
    Ok(Some(Destination::Registry(reference(&name)?)))
}

/// Where the index goes.
struct Target {
    sink: Arc<dyn Sink>,
    remote: Option<Remote>,
    /// The image is there, because that is where it comes from.
    holds_image: bool,
}

impl Target {
    async fn open(
        destination: &Option<Destination>,
        place: &Place,
        reach: &Reach,
    ) -> Result<Self, Error> {
        let remote = match destination {
            None => place.remote.clone(),
            Some(Destination::Registry(reference)) => {
                let remote = reach.image(reference)?;
                Some(match &place.remote {
                    Some(source) => remote.mounting_from(source),
                    None => remote,
                })
            }
            Some(Destination::Directory(path)) => {
                return Ok(Target::files(Arc::new(Directory::create(path).await?)));
            }
            Some(Destination::Archive(path)) => {
                return Ok(Target::files(Arc::new(Archive::create(path).await?)));
            }
        };
        let Some(remote) = remote else {
            return Err(Error::usage("an image in files needs a destination"));
        };
        let holds_image = place.remote.as_ref().is_some_and(|source| {
            let (here, there) = (source.reference(), remote.reference());
            here.registry() == there.registry() && here.repository() == there.repository()
        });
        Ok(Target {
            sink: Arc::new(remote.clone()),
            remote: Some(remote),
            holds_image,
        })
    }

    fn files(sink: Arc<dyn Sink>) -> Self {
        Target {
            sink,
            remote: None,
            holds_image: false,
        }
    }
}

/// zTOCs that the target has from an earlier run.
async fn known(
    target: &Target,
    version: SociVersion,
    image: &Image,
    selection: &Selection,
    flags: &Build,
) -> Result<Known, Error> {
    let Some(remote) = &target.remote else {
        return Ok(Known::default());
    };
    let source: Arc<dyn Source> = Arc::new(remote.clone());
    let mut known = Known::new(source.clone(), flags.reused_span_size());
    let mut indexes = Vec::new();
    // Both versions have the same zTOCs, as long as they are in the same repository.
    if version == SociVersion::V1 || target.holds_image {
        for platform in image.platforms(selection)? {
            if let Some(listed) = image.listed.find(&platform) {
                indexes.extend(remote.indexes(listed.digest).await?);
            }
        }
    }
    if version == SociVersion::V2 {
        match Image::load(&*source, &remote.reference().to_string()).await {
            Ok(earlier) => {
                let listed = earlier.listed.listed();
                let listed = listed.filter(|listed| *listed.role == Role::SociIndex);
                indexes
                    .extend(listed.map(|l| Content::new(l.media_type, l.digest.clone(), l.size)));
            }
            Err(Error::NoImage { .. }) => {}
            // What is there under this tag is no image, and about to be replaced.
            Err(Error::Malformed { .. } | Error::Format { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    for index in indexes {
        if let Some(json) = source.read(&index).await?
            && let Ok(manifest) = parse(&index, &json)
        {
            known.add_index(&manifest)?;
        }
    }
    Ok(known)
}

struct Publishing<'a> {
    output: Output,
    place: &'a Place,
    target: &'a Target,
    image: &'a Image,
    built: &'a [IndexedVariant],
    dry_run: bool,
}

/// The image that was written, if one was, and whether all was there before.
type Outcome = (Option<Digest>, bool);

impl Publishing<'_> {
    fn copying(&self) -> Copying {
        Copying {
            from: self.place.source.clone(),
            to: self.target.sink.clone(),
            width: COPIES,
            observer: Arc::new(Silent),
        }
    }

    /// A v1 index refers to its image, which is there first.
    async fn beside(&self) -> Result<Outcome, Error> {
        let sink = &self.target.sink;
        let place = sink.place();
        if !self.target.holds_image {
            if self.dry_run {
                self.output.line(&format!(
                    "would copy image {} to {place}",
                    self.image.root.digest
                ))?;
            } else {
                self.copying().graph(&self.image.root).await?;
                let root = &self.image.root;
                let json = crate::store::source::read(&*self.place.source, root).await?;
                sink.name(root, json, Default::default()).await?;
            }
        }
        let mut all_there = true;
        for index in self.built.iter().filter_map(|built| built.index.as_ref()) {
            let digest = &index.content.digest;
            if self.dry_run {
                let there = self.is_there(&index.content).await?;
                let would = if there {
                    "already there:"
                } else {
                    "would push"
                };
                self.output
                    .line(&format!("{would} soci index {digest} in {place}"))?;
                continue;
            }
            let written = writing::index(&**sink, index).await?;
            all_there &= written == Written::Present;
            if written == Written::New {
                self.output
                    .line(&format!("pushed soci index with digest: {digest}"))?;
            }
        }
        Ok((None, all_there && !self.dry_run))
    }

    /// A v2 index belongs to a new image.
    async fn within(&self) -> Result<Outcome, Error> {
        let converted = writing::convert(&*self.place.source, self.image, self.built).await?;
        let digest = converted.root.digest.clone();
        let place = self.target.sink.place();
        if self.dry_run {
            let there = self.is_there(&converted.root).await?;
            let would = if there {
                "already there:"
            } else {
                "would push"
            };
            self.output
                .line(&format!("{would} image {digest} in {place}"))?;
            return Ok((Some(digest), false));
        }
        if !self.target.holds_image {
            converted.copy_blobs(&self.copying()).await?;
        }
        let written = converted.store(&*self.target.sink, self.built).await?;
        if written == Written::New {
            self.output
                .line(&format!("pushed image with digest: {digest}"))?;
        }
        let digest = Some(digest);
        Ok((digest, written == Written::Present))
    }

    async fn is_there(&self, content: &Content) -> Result<bool, Error> {
        match &self.target.remote {
            Some(remote) => remote.holds(content).await,
            None => Ok(false),
        }
    }
}
