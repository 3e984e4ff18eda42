//! Flags of the commands that build indexes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::Error;
use crate::image::Selection;
use crate::pipeline::Starts;
use crate::platform;

/// Name in zTOCs and indexes. Part of their digests, so it stays the reference tool's: the same layer has
/// the same zTOC whoever built it.
pub(crate) const BUILD_TOOL: &str = "AWS SOCI CLI v0.2";

#[derive(Clone, Debug, Args)]
pub(crate) struct Platforms {
    /// All platforms of the image
    #[arg(long)]
    pub all_platforms: bool,
    /// A platform, like linux/arm64; may be repeated
    #[arg(long, short = 'p', value_delimiter = ',', value_name = "PLATFORM")]
    pub platform: Vec<String>,
}

impl Platforms {
    /// `otherwise` where nothing is said.
    pub(crate) fn selection(&self, otherwise: Selection) -> Result<Selection, Error> {
        if self.all_platforms {
            return Ok(Selection::All);
        }
        if self.platform.is_empty() {
            return Ok(otherwise);
        }
        let platforms = self.platform.iter().map(|text| platform::parse(text));
        Ok(Selection::Some(platforms.collect::<Result<_, _>>()?))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Optimization {
    /// Mark layers without extended attributes, so that readers need not look for any
    Xattr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileUse {
    /// Cut spans by it, and list nothing to be loaded first: for readers that know no prefetch artifacts,
    /// as AWS's snapshotter before 0.13
    Spans,
    /// List what is to be loaded first, and leave spans as they are: zTOCs that exist are used again
    Prefetch,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Build {
    /// Bytes of tar per span, the least that is fetched at once
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub span_size: u64,
    /// Smaller layers are left without an index
    #[arg(long, value_name = "BYTES", default_value_t = soci::plan::DEFAULT_MIN_LAYER_SIZE)]
    pub min_layer_size: u64,
    /// Optional parts of the index
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    pub optimizations: Vec<Optimization>,
    /// Build zTOCs anew even where they exist
    #[arg(long, short = 'f')]
    pub force: bool,
    /// A file, directory or glob (*, ?, **) to be loaded first; may be repeated
    #[arg(long, value_delimiter = ',', value_name = "PATH")]
    pub prefetch_file: Vec<String>,
    /// A JSON file with an array of such paths
    #[arg(long, value_name = "FILE")]
    pub prefetch_files_json: Option<PathBuf>,
    /// A start-up profile (see `soci prefetch`): cut spans finely around what starts read of the image and
    /// coarsely elsewhere, and let starts load that first
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Use the profile for one thing only
    #[arg(long, value_enum, value_name = "USE", requires = "profile")]
    pub profile_only: Option<ProfileUse>,
    /// Layers at once [default: the number of cores]
    #[arg(long, short = 'j', value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
}

impl Build {
    pub(crate) fn jobs(&self) -> usize {
        jobs(self.jobs)
    }

    pub(crate) fn disable_xattrs(&self) -> bool {
        self.optimizations.contains(&Optimization::Xattr)
    }

    /// Only zTOCs of this span size are used again; without one, those of any.
    pub(crate) fn reused_span_size(&self) -> Option<u64> {
        let keeps_spans = self.profile_only == Some(ProfileUse::Prefetch);
        (!keeps_spans).then_some(self.span_size)
    }

    pub(crate) fn starts(&self) -> Result<Starts, Error> {
        let Some(file) = &self.profile else {
            return Ok(Starts::default());
        };
        let profile = crate::profile::read(file)?;
        if profile.is_empty() {
            let file = file.display().to_string();
            return Err(Error::EmptyProfile(file));
        }
        Ok(match self.profile_only {
            None => Starts::new(profile, true, true),
            Some(ProfileUse::Spans) => Starts::new(profile, true, false),
            Some(ProfileUse::Prefetch) => Starts::new(profile, false, true),
        })
    }

    pub(crate) fn prefetch(&self) -> Result<Vec<String>, Error> {
        let mut paths = self.prefetch_file.clone();
        if let Some(file) = &self.prefetch_files_json {
            let json = std::fs::read(file).map_err(Error::file(file))?;
            let listed = soci::prefetch::Requests::paths_from_json(&json)
                .map_err(Error::format(file.display().to_string()))?;
            paths.extend(listed);
        }
        paths.retain(|path| !path.trim().is_empty());
        Ok(paths)
    }
}

pub(crate) fn jobs(asked: Option<NonZeroUsize>) -> usize {
    asked
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
}
