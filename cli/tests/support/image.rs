//! Images made of a few files, as layouts and as `docker save` writes them.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().fold("sha256:".to_owned(), |text, byte| {
        format!("{text}{byte:02x}")
    })
}

/// Regular files, and a typeflag for those that shall be something else.
pub(crate) fn tar(files: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, kind, data) in files {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", data.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[*kind]);
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.extend_from_slice(&[0; 1024]);
    tar
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, so that layers have a size.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A layout that is written as it is made.
pub(crate) struct Layout<'a>(pub(crate) &'a Path);

impl Layout<'_> {
    pub(crate) fn blob(&self, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let directory = self.0.join("blobs/sha256");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(&digest[7..]), bytes).unwrap();
        digest
    }

    pub(crate) fn descriptor(&self, media_type: &str, bytes: &[u8]) -> Value {
        json!({"mediaType": media_type, "digest": self.blob(bytes), "size": bytes.len()})
    }

    /// The descriptor of an image of these layers.
    pub(crate) fn image(&self, architecture: &str, layers: &[(&str, &[u8])]) -> Value {
        let config = json!({"architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": []}, "config": {}});
        let layers: Vec<_> = layers
            .iter()
            .map(|(kind, l)| self.descriptor(kind, l))
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": self.descriptor("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
            "layers": layers});
        let mut descriptor = self.descriptor(MANIFEST, manifest.to_string().as_bytes());
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        descriptor
    }

    pub(crate) fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
        std::fs::write(self.0.join("index.json"), index.to_string()).unwrap();
        std::fs::write(
            self.0.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
    }

    /// Two platforms that share a layer, four layers in all.
    pub(crate) fn two_platforms(&self) {
        let layers: Vec<_> = (1..=3)
            .map(|seed| {
                let data = noise(seed, 300_000 * usize::try_from(seed).unwrap());
                gzip(&tar(&[
                    (&format!("file{seed}"), b'0', &data),
                    ("etc/os", b'0', b"x"),
                ]))
            })
            .collect();
        let shared = (GZIP, layers[0].as_slice());
        self.index(&[
            self.image("amd64", &[shared, (GZIP, &layers[1])]),
            self.image("arm64", &[shared, (GZIP, &layers[2])]),
        ]);
    }
}

/// The tar of `docker save`, with layers as they are.
pub(crate) fn docker_archive(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": ids}})
    .to_string();
    let names: Vec<_> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["app:1"], "Layers": names}]).to_string();
    let mut files: Vec<(&str, u8, &[u8])> = vec![
        ("manifest.json", b'0', manifest.as_bytes()),
        ("config.json", b'0', config.as_bytes()),
    ];
    for (name, layer) in names.iter().zip(layers) {
        files.push((name, b'0', layer));
    }
    tar(&files)
}

/// The files of a tar, by name.
pub(crate) fn files(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = tar;
    while rest.len() >= 512 && rest[0] != 0 {
        let name = String::from_utf8_lossy(&rest[..100]);
        let size = std::str::from_utf8(&rest[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let name = name.trim_end_matches('\0').to_owned();
        found.push((name, rest[512..512 + size].to_vec()));
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
    found
}
