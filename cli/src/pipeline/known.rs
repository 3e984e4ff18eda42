//! zTOCs that an earlier run left behind.

use std::collections::HashMap;
use std::sync::Arc;

use oci_spec::image::Digest;
use soci::canonical::Manifest;
use soci::{annotations, media_types};

use crate::content::Content;
use crate::error::Error;
use crate::store::Source;

/// By layer, all of the wanted span size.
#[derive(Clone, Default)]
pub(crate) struct Known {
    ztocs: HashMap<Digest, Content>,
    store: Option<Arc<dyn Source>>,
}

impl Known {
    pub(crate) fn new(store: Arc<dyn Source>) -> Self {
        Known {
            ztocs: HashMap::new(),
            store: Some(store),
        }
    }

    pub(crate) fn add(&mut self, layer: Digest, ztoc: Content) {
        self.ztocs.insert(layer, ztoc);
    }

    /// All that a SOCI index lists, as far as it was built with this span size.
    pub(crate) fn add_index(&mut self, index: &Manifest, span_size: u64) -> Result<(), Error> {
        for blob in index.layers.iter().flatten() {
            let annotation = |key| blob.annotations.get(key);
            let size = annotation(annotations::SPAN_SIZE).and_then(|size| size.parse().ok());
            if blob.media_type != media_types::ZTOC || size != Some(span_size) {
                continue;
            }
            if let Some(Ok(layer)) = annotation(annotations::LAYER_DIGEST).map(|l| l.parse()) {
                self.add(layer, Content::from_descriptor(blob)?);
            }
        }
        Ok(())
    }

    /// The zTOC of a layer and the store that holds it, if it still does.
    pub(crate) async fn find(
        &self,
        layer: &Digest,
    ) -> Result<Option<(Content, Arc<dyn Source>)>, Error> {
        let (Some(ztoc), Some(store)) = (self.ztocs.get(layer), &self.store) else {
            return Ok(None);
        };
        let held = store.holds(ztoc).await?;
        Ok(held.then(|| (ztoc.clone(), store.clone())))
    }
}
