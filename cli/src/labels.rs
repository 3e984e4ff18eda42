//! Labels that tell containerd's garbage collector what a content needs.

use crate::content::Content;
use crate::store::Labels;

const REFERENCE: &str = "containerd.io/gc.ref.content";

/// On an image record: its v1 indexes. The first has the key that the reference tool uses for its only one.
pub(crate) fn image<'a>(indexes: impl IntoIterator<Item = &'a Content>) -> Labels {
    let key = |number| match number {
        0 => format!("{REFERENCE}.soci-index"),
        number => format!("{REFERENCE}.soci-index.{number}"),
    };
    let indexes = indexes.into_iter().enumerate();
    indexes
        .map(|(number, index)| (key(number), index.digest.to_string()))
        .collect()
}

/// On a SOCI index: its config, zTOCs and prefetch artifacts.
pub(crate) fn soci_index(config: &Content, blobs: &[Content]) -> Labels {
    with_config(config, "ztoc", blobs)
}

/// On an image manifest.
pub(crate) fn manifest(config: &Content, layers: &[Content]) -> Labels {
    with_config(config, "l", layers)
}

/// On an image index.
pub(crate) fn image_index(manifests: &[Content]) -> Labels {
    numbered("m", manifests).collect()
}

fn with_config(config: &Content, kind: &'static str, blobs: &[Content]) -> Labels {
    let config = (format!("{REFERENCE}.config"), config.digest.to_string());
    numbered(kind, blobs).chain([config]).collect()
}

fn numbered(kind: &str, contents: &[Content]) -> impl Iterator<Item = (String, String)> {
    contents.iter().enumerate().map(move |(number, content)| {
        let key = format!("{REFERENCE}.{kind}.{number}");
        (key, content.digest.to_string())
    })
}
