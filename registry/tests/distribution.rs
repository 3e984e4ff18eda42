//! Against Debian's docker-registry: pushes, referrers without an API, and certificates.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use harness::accepting::body;
use harness::{content, digest, registry, repository};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use registry::{Error, HostTls, Identity, Options, Pushed, Registry};
use serde_json::json;
use tempfile::TempDir;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry of our own, ended with its scope.
struct Distribution {
    host: String,
    process: Child,
    _dir: TempDir,
}

impl Distribution {
    async fn start(tls: impl FnOnce(&Path) -> String) -> Distribution {
        let dir = tempfile::tempdir().unwrap();
        let host = harness::dead_host().await;
        let config = dir.path().join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n{}",
            dir.path().join("storage").display(),
            tls(dir.path()),
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry: {error}; run `make setup`"));
        let distribution = Distribution {
            host,
            process,
            _dir: dir,
        };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(&distribution.host)
                .await
                .is_ok()
            {
                return distribution;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(distribution._dir.path().join("log"));
        panic!("docker-registry does not listen: {log:?}");
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn push_blob(registry: &Registry, host: &str, blob: &Bytes) -> Result<Pushed, Error> {
    let size = u64::try_from(blob.len()).unwrap();
    repository(registry, host)
        .push_blob(&digest(blob), size, None, body(blob))
        .await
}

#[tokio::test]
async fn an_image_and_its_index_are_pushed_and_read_back() {
    let server = Distribution::start(|_| String::new()).await;
    let registry = registry(Options::default(), None);
    let repository = repository(&registry, &server.host);
    let (config, layer) = (Bytes::from_static(b"{}"), content(9 << 20));
    for blob in [&config, &layer] {
        assert_eq!(
            push_blob(&registry, &server.host, blob).await.unwrap(),
            Pushed::Uploaded
        );
        assert_eq!(
            push_blob(&registry, &server.host, blob).await.unwrap(),
            Pushed::Present
        );
        assert!(repository.blob(&digest(blob), 10 << 20).await.unwrap() == *blob);
    }
    assert_eq!(registry.counters().uploaded_bytes, 2 + (9 << 20));

    let descriptor = |media_type: &str, blob: &Bytes| json!({"mediaType": media_type, "digest": digest(blob).to_string(), "size": blob.len()});
    let image: Bytes = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string()
    .into();
    let pushed = repository
        .push_manifest("latest", MANIFEST, &image)
        .await
        .unwrap();
    assert_eq!((pushed.pushed, pushed.unlisted), (Pushed::Uploaded, None));
    let (found, bytes) = repository.resolve("latest").await.unwrap();
    assert_eq!((found.digest(), &bytes), (&digest(&image), &image));

    let soci = "application/vnd.amazon.soci.index.v1+json";
    for which in ["one", "two"] {
        let index: Bytes = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(soci, &config), "layers": [],
            "subject": descriptor(MANIFEST, &image), "annotations": {"which": which},
        })
        .to_string()
        .into();
        let name = digest(&index).to_string();
        for is_new in [true, false] {
            let pushed = repository
                .push_manifest(&name, MANIFEST, &index)
                .await
                .unwrap();
            assert_eq!(pushed.pushed == Pushed::Uploaded, is_new);
            let referrer = pushed.unlisted.unwrap();
            let added = repository
                .add_referrer(&referrer.subject, referrer.descriptor)
                .await;
            assert_eq!(added.unwrap(), is_new);
        }
    }
    let found = repository.referrers(&digest(&image), soci).await.unwrap();
    assert_eq!(found.len(), 2);

    // Mounted into another repository without a byte sent.
    let neighbour = registry.repository(&format!("{}/c:latest", server.host).parse().unwrap());
    let before = registry.counters();
    let size = u64::try_from(layer.len()).unwrap();
    let pushed = neighbour
        .push_blob(&digest(&layer), size, Some("a/b"), body(&layer))
        .await;
    assert_eq!(pushed.unwrap(), Pushed::Mounted);
    assert_eq!(registry.counters().uploaded_bytes, before.uploaded_bytes);
    assert_eq!(
        neighbour.has_blob(&digest(&layer)).await.unwrap(),
        Some(size)
    );
}

/// A host with a certificate of its own authority, which wants one of that authority too.
#[tokio::test]
async fn certificates_are_checked_as_told() {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |purpose| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = issue(ExtendedKeyUsagePurpose::ServerAuth);
    let (client_certificate, client_key) = issue(ExtendedKeyUsagePurpose::ClientAuth);
    let server = Distribution::start(|dir| {
        let write = |name: &str, text: &str| {
            fs::write(dir.join(name), text).unwrap();
            dir.join(name).display().to_string()
        };
        format!(
            "  tls:\n    certificate: {}\n    key: {}\n    clientcas: [{}]\n",
            write("certificate", &certificate),
            write("key", &key),
            write("authority", &authority.pem()),
        )
    })
    .await;
    let ca = authority.pem().into_bytes();
    let identity = Identity {
        certificate: client_certificate.into_bytes(),
        key: client_key.into_bytes(),
    };
    let push = |tls: HostTls| {
        let options = Options {
            tls: [(server.host.clone(), tls)].into(),
            ..harness::options()
        };
        let (registry, host) = (registry(options, None), server.host.clone());
        async move { push_blob(&registry, &host, &content(1000)).await }
    };
    let complete = HostTls {
        ca: ca.clone(),
        identity: Some(identity.clone()),
        skip_verify: false,
    };
    assert_eq!(push(complete).await.unwrap(), Pushed::Uploaded);
    let blind = HostTls {
        ca: Vec::new(),
        identity: Some(identity.clone()),
        skip_verify: true,
    };
    assert_eq!(push(blind).await.unwrap(), Pushed::Present);
    let distrustful = HostTls {
        ca: Vec::new(),
        identity: Some(identity),
        skip_verify: false,
    };
    let error = push(distrustful).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let nameless = HostTls {
        ca,
        identity: None,
        skip_verify: false,
    };
    // With TLS 1.3 a host refuses a certificate by closing the connection.
    assert!(push(nameless).await.is_err());
}
