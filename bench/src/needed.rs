//! What a start needs of an image: the compressed spans that it touches, through the image's index.

use anyhow::{Context as _, Result};
use harness::image::Image;
use harness::layout::Manifest;
use soci::profile::Profile;
use soci::ztoc::{Limits, Ztoc};

const LAYER_DIGEST: &str = "com.amazon.soci.image-layer-digest";

/// Compressed bytes of the spans that hold what the profile lists; layers without a zTOC count nothing.
pub(crate) fn bytes(image: &Image, profile: &[u8]) -> Result<u64> {
    let profile = Profile::parse(profile)?;
    let index: Manifest = image.layout.json(&image.index()?.digest)?;
    let mut bytes = 0;
    for (layer, reads) in profile.layers() {
        let layer = layer.to_string();
        let ztoc = index
            .layers
            .iter()
            .find(|ztoc| ztoc.annotations.get(LAYER_DIGEST) == Some(&layer));
        let Some(ztoc) = ztoc else { continue };
        let ztoc = Ztoc::parse(&image.layout.read(&ztoc.digest)?, &Limits::default())
            .with_context(|| format!("the zTOC of {layer}"))?;
        let mut spans: Vec<u32> = reads
            .reads()
            .iter()
            .flat_map(|read| ztoc.spans.covering(read.tar.clone()))
            .collect();
        spans.sort_unstable();
        spans.dedup();
        for span in spans {
            let range = ztoc.spans.compressed(soci::spans::SpanId(span));
            bytes += range.map_or(0, |range| range.end - range.start);
        }
    }
    Ok(bytes)
}
