//! The image before and after a conversion by the reference tool.

use soci::canonical::Platform;

use crate::fixture;

pub(crate) const IMAGE: &str = "9cdeb8ae85d080795092c61d7dcb101693f1ab97a813767cfc28c8e82e979fd7";
pub(crate) const CONFIG: &str = "39a5b8d2b2c01537b210f7e5c2155040515ba72808ca169ee1700b79fda0855e";
pub(crate) const CONVERTED_IMAGE: &str =
    "05010dc8019a007cbd2faa3ef1082c3e0c418723af41cc1cecc30869dac5f924";
pub(crate) const SOCI_INDEX: &str =
    "fabb8bb959d83de6078b212d0df8ca176433014d8aa61d0754bb3109d56f5bba";
pub(crate) const CONVERTED: &str =
    "c2dc41bbf9cc91a967d855792471d839c3e90c31c2a9cf9bb746c6acfdcd9859";
pub(crate) const PREFETCH: &str =
    "520900f4a24d9f67823edbe61838eec1b7bd8c64667f0a577a264715d4e9a37b";
/// Layers with their zTOCs.
pub(crate) const LAYERS: [(&str, &str); 2] = [
    (
        "4c4e733498fea5eb8bfb14b449439975af3a813ba35a27ad7717a825987c5cc4",
        "567c838730b30e49415d82d842bd8af0a1284ba4cc46f43aec91924799d4e827",
    ),
    (
        "97052f15efc5dd1ee76cb3278294d34b33e263b1114622921a759b797218d0c1",
        "ffbb8cef721b3d1b8ba5a049db5b8ae4f9cac9806f27ca85b7164575fcc8f79b",
    ),
];

pub(crate) fn before(hex: &str) -> Vec<u8> {
    fixture::read(&format!("oci-single-in/blobs/sha256/{hex}"))
}

pub(crate) fn after(hex: &str) -> Vec<u8> {
    fixture::read(&format!("oci-single-out/blobs/sha256/{hex}"))
}

pub(crate) fn digest(hex: &str) -> oci_spec::image::Digest {
    format!("sha256:{hex}").parse().unwrap()
}

pub(crate) fn platform(text: &str) -> Platform {
    let mut parts = text.split('/').map(str::to_owned);
    Platform {
        os: parts.next().unwrap(),
        architecture: parts.next().unwrap(),
        variant: parts.next().unwrap_or_default(),
        ..Platform::default()
    }
}
