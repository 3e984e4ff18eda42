//! SOCI index manifests, byte for byte.

use soci::manifest::{IndexSpec, PrefetchEntry, Subject, ZtocEntry};
use soci::{Error, canonical, manifest, media_types};

use crate::layout::{self, LAYERS, PREFETCH, SOCI_INDEX};

pub(crate) fn spec() -> IndexSpec {
    let size = |hex| layout::after(hex).len() as u64;
    let ztocs = LAYERS.map(|(layer, ztoc)| ZtocEntry {
        digest: layout::digest(ztoc),
        size: size(ztoc),
        layer: layout::digest(layer),
        layer_media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        span_size: 4 << 20,
        disable_xattrs: true,
    });
    let prefetch = LAYERS.map(|(layer, _)| PrefetchEntry {
        digest: layout::digest(PREFETCH),
        size: size(PREFETCH),
        layer: layout::digest(layer),
    });
    IndexSpec {
        ztocs: ztocs.into(),
        prefetch: prefetch.into(),
        subject: None,
        build_tool: "AWS SOCI CLI v0.2".to_owned(),
    }
}

#[test]
fn an_index_has_the_bytes_of_the_reference_tool() {
    let json = spec().to_json().unwrap();
    let expected = layout::after(SOCI_INDEX);
    assert_eq!(String::from_utf8(json), String::from_utf8(expected));
}

#[test]
fn a_v1_index_names_its_image_and_nothing_else_changes() {
    let v1 = IndexSpec {
        subject: Some(Subject {
            media_type: media_types::MANIFEST.to_owned(),
            digest: layout::digest(layout::IMAGE),
            size: 707,
        }),
        ..spec()
    };
    let json = String::from_utf8(v1.to_json().unwrap()).unwrap();
    let subject = format!(
        r#""subject":{{"mediaType":"{}","digest":"sha256:{}","size":707}},"#,
        media_types::MANIFEST,
        layout::IMAGE
    );
    assert!(json.contains(&subject), "{json}");
    let v2 = json
        .replace(&subject, "")
        .replace(media_types::INDEX_V1, media_types::INDEX_V2);
    assert_eq!(v2.into_bytes(), layout::after(SOCI_INDEX));
}

#[test]
fn an_index_of_nothing_is_refused() {
    let empty = IndexSpec {
        ztocs: Vec::new(),
        ..spec()
    };
    assert_eq!(empty.to_json(), Err(Error::EmptyIndex));
}

#[test]
fn the_config_of_an_index_is_an_empty_object() {
    let digest = canonical::digest(manifest::CONFIG).unwrap();
    assert_eq!(digest.as_ref(), manifest::CONFIG_DIGEST);
}
