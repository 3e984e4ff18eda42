//! What starts of the image read, where somebody has noted it.

use std::collections::HashSet;
use std::sync::Arc;

use oci_spec::image::Digest;
use soci::build::Cuts;
use soci::profile::{LayerProfile, Profile};

use crate::error::Error;
use crate::image::Variant;

/// Nothing, by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts {
    profile: Option<Arc<Profile>>,
    cut: bool,
    prefetch: bool,
}

impl Starts {
    /// `cut`: spans are cut around what starts read. `prefetch`: that is to be loaded first.
    pub(crate) fn new(profile: Profile, cut: bool, prefetch: bool) -> Self {
        Starts {
            profile: Some(Arc::new(profile)),
            cut,
            prefetch,
        }
    }

    fn layer(&self, layer: &Digest) -> Option<&LayerProfile> {
        self.profile.as_deref()?.layer(layer)
    }

    /// What of a layer is to be loaded first, if anything is.
    pub(super) fn first(&self, layer: &Digest) -> Option<&LayerProfile> {
        self.layer(layer).filter(|_| self.prefetch)
    }

    /// How a layer is to be cut around what starts read, if it is.
    pub(super) fn cuts(&self, layer: &Digest, span_size: u64) -> Option<Cuts> {
        let profile = self.layer(layer).filter(|_| self.cut)?;
        Some(Cuts::around(profile, span_size))
    }

    /// Layers that no variant of the image has. It is an error if it has none at all.
    pub(crate) fn foreign<'a>(
        &self,
        image: &str,
        variants: impl IntoIterator<Item = &'a Variant>,
    ) -> Result<Vec<Digest>, Error> {
        let Some(profile) = &self.profile else {
            return Ok(Vec::new());
        };
        let layers = variants.into_iter().flat_map(|variant| &variant.layers);
        let known: HashSet<&Digest> = layers.map(|layer| &layer.digest).collect();
        let layers = profile.layers().map(|(layer, _)| layer);
        let (own, foreign): (Vec<&Digest>, Vec<&Digest>) =
            layers.partition(|layer| known.contains(layer));
        if own.is_empty() {
            return Err(Error::ForeignProfile {
                image: image.to_owned(),
                layers: foreign.len(),
            });
        }
        Ok(foreign.into_iter().cloned().collect())
    }
}
