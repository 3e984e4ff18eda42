//! Debian's docker-registry with its own storage, filled over HTTP; it has no referrers API.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::certificate::Certificate;
use crate::http;
use crate::layout::{self, Descriptor, Index, Layout, Manifest};
use crate::process::Process;

pub struct Distribution {
    process: Process,
    address: SocketAddr,
}

/// One line of the access log.
#[derive(Clone, Debug)]
pub struct Access {
    pub method: String,
    pub path: String,
    pub status: u16,
    pub bytes: u64,
}

impl Distribution {
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, None)
    }

    /// Over HTTPS only.
    pub fn start_tls(dir: &Path, certificate: &Certificate) -> Result<Self> {
        Self::start_with(dir, Some(certificate))
    }

    fn start_with(dir: &Path, certificate: Option<&Certificate>) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let config = dir.join("registry.yml");
        // Port 0: it takes a free one and says which. Nothing else may have it meanwhile.
        let mut text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  maintenance:\n    uploadpurging:\n      enabled: false\n  \
             filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
            dir.join("storage").display()
        );
        if let Some(Certificate { file, key, .. }) = certificate {
            text += &format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                file.display(),
                key.display()
            );
        }
        fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config);
        let log = dir.join("registry.log");
        let mut process = Process::start("docker-registry", &mut command, &log)?;
        let mut address = None;
        process.wait_until(Duration::from_secs(30), || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            address = text.lines().find_map(listening_on);
            address.is_some()
        })?;
        let address = address.context("docker-registry did not say its address")?;
        Ok(Self { process, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn reference(&self, repository: &str) -> String {
        format!("{}/{repository}:latest", self.address)
    }

    /// Pushes everything a layout's tags lead to.
    pub fn push(&self, repository: &str, layout: &Layout) -> Result<()> {
        for (tag, root) in layout.roots()? {
            self.push_manifest(repository, layout, &root, &tag)
                .with_context(|| {
                    let log = self.process.log();
                    format!("pushing {repository}:{tag}; docker-registry says:\n{log}")
                })?;
        }
        Ok(())
    }

    fn push_manifest(
        &self,
        repo: &str,
        layout: &Layout,
        root: &Descriptor,
        name: &str,
    ) -> Result<()> {
        if root.media_type == layout::INDEX {
            for child in layout.json::<Index>(&root.digest)?.manifests {
                self.push_manifest(repo, layout, &child, &child.digest)?;
            }
        } else {
            let manifest: Manifest = layout.json(&root.digest)?;
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                self.push_blob(repo, layout, &blob.digest)?;
            }
        }
        let path = format!("/v2/{repo}/manifests/{name}");
        let kind = [("Content-Type", root.media_type.as_str())];
        self.put(&path, &kind, &layout.read(&root.digest)?)
    }

    fn push_blob(&self, repo: &str, layout: &Layout, digest: &str) -> Result<()> {
        let path = format!("/v2/{repo}/blobs/{digest}");
        if http::request(self.address, "HEAD", &path, &[], b"")?.status == 200 {
            return Ok(());
        }
        let uploads = format!("/v2/{repo}/blobs/uploads/");
        let upload = http::request(self.address, "POST", &uploads, &[], b"")?;
        let location = upload.header("location").context("no upload location")?;
        let (_, query) = location
            .split_once("/v2/")
            .context("a strange upload location")?;
        let path = format!("/v2/{query}&digest={digest}");
        self.put(
            &path,
            &[("Content-Type", "application/octet-stream")],
            &layout.read(digest)?,
        )
    }

    fn put(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        let answer = http::request(self.address, "PUT", path, headers, body)?;
        let text = String::from_utf8_lossy(&answer.body);
        anyhow::ensure!(answer.status == 201, "PUT {path}: {} {text}", answer.status);
        Ok(())
    }

    /// What changed something so far: uploads, manifests, tags.
    pub fn writes(&self) -> Vec<Access> {
        let mut log = self.log();
        log.retain(|access| !matches!(access.method.as_str(), "GET" | "HEAD"));
        log
    }

    /// The access log so far.
    pub fn log(&self) -> Vec<Access> {
        self.process.log().lines().filter_map(parse).collect()
    }

    /// The GETs of one blob so far.
    pub fn reads(&self, digest: &str) -> Vec<Access> {
        let mut log = self.log();
        log.retain(|access| access.method == "GET" && access.path.ends_with(digest));
        log
    }
}

/// `… msg="listening on HOST:PORT" …`, with `, tls` behind the port where that is so.
fn listening_on(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("msg=\"listening on ")?;
    rest.split(['"', ',']).next()?.parse().ok()
}

/// `HOST - - [TIME] "METHOD PATH HTTP/1.1" STATUS BYTES "" "AGENT"`
fn parse(line: &str) -> Option<Access> {
    let mut quoted = line.split('"');
    quoted.next()?;
    let mut request = quoted.next()?.split(' ');
    let mut answer = quoted.next()?.split_whitespace();
    Some(Access {
        method: request.next()?.to_owned(),
        path: request.next()?.split('?').next()?.to_owned(),
        status: answer.next()?.parse().ok()?,
        bytes: answer.next()?.parse().ok()?,
    })
}
