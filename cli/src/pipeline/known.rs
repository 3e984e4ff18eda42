//! zTOCs that an earlier run left behind.

use std::collections::HashMap;
use std::sync::Arc;

use oci_spec::image::Digest;
use soci::canonical::Manifest;
use soci::{annotations, media_types};

use crate::content::Content;
use crate::error::Error;
use crate::store::Source;

/// By layer.
#[derive(Clone, Default)]
pub(crate) struct Known {
    ztocs: HashMap<Digest, KnownZtoc>,
    /// What they all have, unless it does not matter.
    span_size: Option<u64>,
    store: Option<Arc<dyn Source>>,
}

#[derive(Clone)]
pub(super) struct KnownZtoc {
    pub(super) content: Content,
    pub(super) span_size: u64,
}

impl Known {
    /// Knows zTOCs of this span size only, or of any.
    pub(crate) fn new(store: Arc<dyn Source>, span_size: Option<u64>) -> Self {
        Known {
            ztocs: HashMap::new(),
            span_size,
            store: Some(store),
        }
    }

    pub(crate) fn add(&mut self, layer: Digest, content: Content, span_size: u64) {
        if self.span_size.is_none_or(|wanted| wanted == span_size) {
            self.ztocs.insert(layer, KnownZtoc { content, span_size });
        }
    }

    /// All that a SOCI index lists, as far as it says their span size.
    pub(crate) fn add_index(&mut self, index: &Manifest) -> Result<(), Error> {
        for blob in index.layers.iter().flatten() {
            let annotation = |key| blob.annotations.get(key);
            let size = annotation(annotations::SPAN_SIZE).and_then(|size| size.parse().ok());
            let layer = annotation(annotations::LAYER_DIGEST).map(|layer| layer.parse());
            if blob.media_type == media_types::ZTOC
                && let (Some(size), Some(Ok(layer))) = (size, layer)
            {
                self.add(layer, Content::from_descriptor(blob)?, size);
            }
        }
        Ok(())
    }

    /// The zTOC of a layer and the store that holds it, if it still does.
    pub(super) async fn find(
        &self,
        layer: &Digest,
    ) -> Result<Option<(KnownZtoc, Arc<dyn Source>)>, Error> {
        let (Some(ztoc), Some(store)) = (self.ztocs.get(layer), &self.store) else {
            return Ok(None);
        };
        let held = store.holds(&ztoc.content).await?;
        Ok(held.then(|| (ztoc.clone(), store.clone())))
    }
}
