//! OCI image layouts on disk, and the few JSON documents in them, in the member order SOCI asks for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::cache::hex;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";

pub type Annotations = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
}

impl Index {
    pub fn of(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: INDEX.to_owned(),
            manifests,
        }
    }
}

/// The platform the images are made for: that of this machine.
pub fn platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
    }
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// A directory with `oci-layout`, `index.json` and `blobs/`.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    pub fn open(dir: &Path) -> Result<Self> {
        anyhow::ensure!(
            dir.join("index.json").exists(),
            "{} is no OCI layout",
            dir.display()
        );
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs").join(digest.replacen(':', "/", 1))
    }

    pub fn read(&self, digest: &str) -> Result<Vec<u8>> {
        fs::read(self.path(digest)).with_context(|| format!("blob {digest}"))
    }

    pub fn json<T: DeserializeOwned>(&self, digest: &str) -> Result<T> {
        serde_json::from_slice(&self.read(digest)?).with_context(|| format!("blob {digest}"))
    }

    pub fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = digest(bytes);
        let path = self.path(&digest);
        if !path.exists() {
            // Never written in place: the file may be a link that other layouts share.
            fs::write(&path, bytes)?;
        }
        let size = bytes.len() as u64;
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            ..Descriptor::default()
        })
    }

    pub fn put_json<T: Serialize>(&self, media_type: &str, value: &T) -> Result<Descriptor> {
        self.put(media_type, &serde_json::to_vec(value)?)
    }

    /// Adds a blob that lies on the same filesystem as a hard link.
    pub fn link(&self, media_type: &str, file: &Path) -> Result<Descriptor> {
        let (digest, size) = digest_file(file)?;
        let path = self.path(&digest);
        if !path.exists() {
            fs::hard_link(file, &path).with_context(|| format!("link to {}", file.display()))?;
        }
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            ..Descriptor::default()
        })
    }

    /// Adds an image of these layers that says nothing else of them, and is not to be run.
    pub fn put_image(&self, layers: &[Descriptor]) -> Result<Descriptor> {
        let diff_ids = layers.iter().map(|_| digest(b""));
        let config = serde_json::json!({
            "architecture": platform().architecture,
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>() },
        });
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: self.put_json(CONFIG, &config)?,
            layers: layers.to_vec(),
            subject: None,
            annotations: Annotations::new(),
        };
        self.put_json(MANIFEST, &manifest)
    }

    /// Takes over every blob of another layout, shared where that can be.
    pub fn link_all(&self, other: &Self) -> Result<()> {
        for blob in fs::read_dir(other.dir.join("blobs/sha256"))? {
            let blob = blob?;
            let target = self.dir.join("blobs/sha256").join(blob.file_name());
            if !target.exists() && fs::hard_link(blob.path(), &target).is_err() {
                // Another filesystem.
                fs::copy(blob.path(), target)?;
            }
        }
        Ok(())
    }

    /// Makes `roots` the content of `index.json`, each under its tag.
    pub fn set_roots(&self, roots: &[(&str, Descriptor)]) -> Result<()> {
        let manifests = roots.iter().map(|(tag, descriptor)| {
            let mut descriptor = descriptor.clone();
            let key = "org.opencontainers.image.ref.name".to_owned();
            descriptor.annotations.insert(key, (*tag).to_owned());
            descriptor
        });
        let index = Index::of(manifests.collect());
        fs::write(self.dir.join("index.json"), serde_json::to_vec(&index)?)?;
        Ok(())
    }

    /// What `index.json` lists, with the tag of each.
    pub fn roots(&self) -> Result<Vec<(String, Descriptor)>> {
        let index: Index = serde_json::from_slice(&fs::read(self.dir.join("index.json"))?)?;
        let tag = |d: &Descriptor| {
            d.annotations
                .get("org.opencontainers.image.ref.name")
                .cloned()
        };
        Ok(index
            .manifests
            .into_iter()
            .filter_map(|d| Some((tag(&d)?, d)))
            .collect())
    }

    /// What a layout with one image holds, under whatever name.
    pub fn only_root(&self) -> Result<Descriptor> {
        let index: Index = serde_json::from_slice(&fs::read(self.dir.join("index.json"))?)?;
        let [root] = index.manifests.as_slice() else {
            anyhow::bail!("not just one image in {}", self.dir.display());
        };
        Ok(root.clone())
    }

    /// Packs the layout into one tar.
    pub fn archive(&self, file: &Path) -> Result<()> {
        let mut tar = std::process::Command::new("tar");
        tar.arg("-C").arg(&self.dir).arg("-cf").arg(file).arg(".");
        crate::command::run(&mut tar).map(drop)
    }

    pub fn root(&self, tag: &str) -> Result<Descriptor> {
        let mut roots = self.roots()?.into_iter();
        let found = roots.find(|(name, _)| name == tag);
        Ok(found
            .with_context(|| format!("no {tag} in {}", self.dir.display()))?
            .1)
    }

    /// The image manifest behind `latest`, through an image index if there is one.
    pub fn image(&self) -> Result<(Descriptor, Manifest)> {
        let root = self.root("latest")?;
        let descriptor = if root.media_type == INDEX {
            let index: Index = self.json(&root.digest)?;
            index
                .manifests
                .into_iter()
                .next()
                .context("an image index without images")?
        } else {
            root
        };
        let manifest = self.json(&descriptor.digest)?;
        Ok((descriptor, manifest))
    }
}

pub fn digest_file(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let (digest, size) = digest_reader(&mut file)?;
    Ok((digest, size))
}

pub fn digest_reader(reader: &mut dyn io::Read) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            return Ok((format!("sha256:{}", hex(&hash.finalize())), size));
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        size += n as u64;
    }
}
