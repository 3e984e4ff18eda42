//! The instruments measure right: the faulty registry is faulty as told, and the link as slow as told.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::distribution::Distribution;
use harness::http::{get, request};
use harness::layout::{Annotations, CONFIG, Descriptor, LAYER_TAR, Layout, MANIFEST, Manifest};
use harness::link::{Link, Shape};
use harness::registry::{Auth, Credentials, Discovery, Faults, Registry};

/// A registry with one image whose only layer is `content`.
struct Fixture {
    registry: Registry,
    layout: Layout,
    blob: Descriptor,
    _dir: tempfile::TempDir,
}

fn fixture(content: &[u8]) -> Result<Fixture> {
    let dir = tempfile::tempdir()?;
    let layout = Layout::create(dir.path())?;
    let blob = layout.put(LAYER_TAR, content)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: layout.put(CONFIG, b"{}")?,
        layers: vec![blob.clone()],
        subject: None,
        annotations: Annotations::new(),
    };
    let root = layout.put_json(MANIFEST, &manifest)?;
    layout.set_roots(&[("latest", root)])?;
    let registry = Registry::start()?;
    registry.add("r", &layout);
    Ok(Fixture {
        registry,
        layout,
        blob,
        _dir: dir,
    })
}

impl Fixture {
    fn path(&self) -> String {
        format!("/v2/r/blobs/{}", self.blob.digest)
    }

    /// Status and body of a ranged read under a fault.
    fn check(&self, faults: Faults, range: &str, status: u16, body: &[u8]) -> Result<()> {
        self.registry.set(faults.clone());
        let answer = get(self.registry.address(), &self.path(), &[("Range", range)])?;
        ensure!(answer.status == status, "{faults:?}: {}", answer.status);
        ensure!(answer.body == body, "{faults:?}: {:?}", answer.body);
        Ok(())
    }
}

#[test]
fn the_registry_serves_ranges_and_does_wrong_what_it_is_told() -> Result<()> {
    let it = fixture(b"0123456789")?;
    let flip = Some((it.blob.digest.clone(), 3));
    let missing = [it.blob.digest.clone()].into();
    it.check(Faults::default(), "bytes=2-4", 206, b"234")?;
    it.check(Faults::default(), "bytes=8-20", 206, b"89")?;
    it.check(Faults::default(), "bytes=10-11", 416, b"")?;
    it.check(
        Faults {
            no_ranges: true,
            ..Faults::default()
        },
        "bytes=2-4",
        200,
        b"0123456789",
    )?;
    it.check(
        Faults {
            wrong_range: true,
            ..Faults::default()
        },
        "bytes=2-4",
        206,
        b"123",
    )?;
    it.check(
        Faults {
            flip,
            ..Faults::default()
        },
        "bytes=2-4",
        206,
        b"224",
    )?;
    it.check(
        Faults {
            unavailable: 1,
            ..Faults::default()
        },
        "bytes=0-0",
        503,
        b"busy",
    )?;
    let answer = get(it.registry.address(), &it.path(), &[("Range", "bytes=0-0")])?;
    ensure!(answer.status == 206, "still unavailable: {}", answer.status);
    it.registry.set(Faults {
        missing,
        ..Faults::default()
    });
    ensure!(
        get(it.registry.address(), &it.path(), &[])?.status == 404,
        "not missing"
    );
    it.registry.set(Faults {
        truncate: Some(4),
        ..Faults::default()
    });
    ensure!(
        get(it.registry.address(), &it.path(), &[]).is_err(),
        "not cut short"
    );
    Ok(())
}

#[test]
fn the_registry_counts_what_it_sends() -> Result<()> {
    let it = fixture(&[7; 100_000])?;
    let address = it.registry.address();
    get(address, &it.path(), &[("Range", "bytes=10-19")])?;
    get(address, &it.path(), &[])?;
    let requests = it.registry.log().blob(&it.blob.digest);
    let ranges: Vec<_> = requests
        .iter()
        .map(|request| request.range.clone())
        .collect();
    ensure!(ranges == [Some(10..20), None], "{ranges:?}");
    ensure!(
        it.registry.log().sent(&it.blob.digest) == 100_010,
        "{requests:?}"
    );
    Ok(())
}

#[test]
fn the_registry_asks_for_tokens_and_redirects_without_them() -> Result<()> {
    let it = fixture(b"secret")?;
    let address = it.registry.address();
    let credentials = Credentials {
        username: "u".to_owned(),
        password: "p".to_owned(),
    };
    let auth = Auth::Bearer(credentials, Duration::from_secs(60));
    it.registry.set(Faults {
        auth,
        redirect: true,
        ..Faults::default()
    });
    let denied = get(address, &it.path(), &[])?;
    ensure!(denied.status == 401, "{}", denied.status);
    let challenge = denied.header("www-authenticate").context("no challenge")?;
    ensure!(challenge.starts_with("Bearer realm="), "{challenge}");
    ensure!(
        get(address, "/token", &[])?.status == 401,
        "a token for nobody"
    );
    let token = get(address, "/token", &[("Authorization", "Basic dTpw")])?.body;
    let token: serde_json::Value = serde_json::from_slice(&token)?;
    let token = token
        .get("token")
        .and_then(|token| token.as_str())
        .context("no token")?;
    let bearer = format!("Bearer {token}");
    let moved = get(address, &it.path(), &[("Authorization", &bearer)])?;
    ensure!(moved.status == 307, "{}", moved.status);
    let location = moved.header("location").context("no location")?;
    let (store, path) = location
        .trim_start_matches("http://")
        .split_once('/')
        .context("location")?;
    let answer = get(store.parse()?, &format!("/{path}"), &[])?;
    ensure!(answer.body == b"secret", "{:?}", answer.body);
    Ok(())
}

#[test]
fn the_registry_that_was_stopped_comes_back_on_its_port() -> Result<()> {
    let it = fixture(b"x")?;
    it.registry.stop();
    ensure!(
        get(it.registry.address(), "/v2/", &[]).is_err(),
        "still there"
    );
    it.registry.restart()?;
    ensure!(
        get(it.registry.address(), "/v2/", &[])?.status == 200,
        "not back"
    );
    Ok(())
}

#[test]
fn referrers_are_found_by_one_way_at_a_time() -> Result<()> {
    let it = fixture(b"x")?;
    let root = it.layout.root("latest")?;
    let (tag, api) = (
        root.digest.replacen(':', "-", 1),
        format!("/v2/r/referrers/{}", root.digest),
    );
    let latest = it.layout.root("latest")?;
    it.layout
        .set_roots(&[("latest", latest.clone()), (&tag, latest)])?;
    let tag = format!("/v2/r/manifests/{tag}");
    for (discovery, statuses) in [(Discovery::Api, [200, 404]), (Discovery::Tag, [404, 200])] {
        it.registry.set(Faults {
            discovery,
            ..Faults::default()
        });
        let found =
            [&api, &tag].map(|path| get(it.registry.address(), path, &[]).map(|a| a.status));
        let [Ok(api), Ok(tag)] = found else {
            anyhow::bail!("{found:?}")
        };
        ensure!(
            [api, tag] == statuses,
            "{discovery:?}: API {api}, tag {tag}"
        );
    }
    Ok(())
}

/// A plain download through the link takes at least the time that its size, its rate and its delay make. That it takes no longer
/// is arithmetic, tested where it is done, and measured by `bench link`.
#[test]
fn the_link_is_as_slow_as_it_says() -> Result<()> {
    let size = 4 << 20;
    let it = fixture(&vec![1; size])?;
    let shape = Shape {
        delay: Duration::from_millis(30),
        rate: 8 << 20,
        ..Shape::default()
    };
    let link = Link::start(it.registry.address(), shape)?;
    let timed = |range: &str| -> Result<Duration> {
        let start = Instant::now();
        get(link.address(), &it.path(), &[("Range", range)])?;
        Ok(start.elapsed())
    };
    let small = timed("bytes=0-0")?;
    // One round trip for the handshake, one for the answer.
    ensure!(small >= Duration::from_millis(115), "a byte took {small:?}");
    let whole = timed("bytes=0-")?;
    ensure!(
        whole >= Duration::from_millis(590),
        "4 MiB at 8 MiB/s took {whole:?}"
    );
    Ok(())
}

#[test]
fn the_link_counts_requests_and_connections_and_sends_blobs_elsewhere() -> Result<()> {
    let it = fixture(b"0123456789")?;
    let shape = Shape {
        rate: 1 << 20,
        redirect: true,
        ..Shape::default()
    };
    let link = Link::start(it.registry.address(), shape)?;
    ensure!(
        get(link.address(), "/v2/", &[])?.status == 200,
        "only blobs are redirected"
    );
    let moved = get(link.address(), &it.path(), &[])?;
    let location = moved.header("location").context("no location")?;
    ensure!(moved.status == 307 && moved.body.is_empty(), "{moved:?}");
    let (store, path) = location
        .trim_start_matches("http://")
        .split_once('/')
        .context("location")?;
    let store: std::net::SocketAddr = store.parse()?;
    ensure!(store != link.address(), "redirected to itself");
    let part = get(store, &format!("/{path}"), &[("Range", "bytes=2-4")])?;
    ensure!(part.status == 206 && part.body == b"234", "{part:?}");
    let counts = link.counts();
    ensure!(
        (counts.requests, counts.connections) == (3, 3),
        "{counts:?}"
    );
    let ranges: Vec<_> = link.requests().into_iter().map(|r| r.range).collect();
    ensure!(
        ranges == [None, None, Some("bytes=2-4".to_owned())],
        "{ranges:?}"
    );
    ensure!(
        counts.down > 200 && counts.up > 200 && counts.down < 4000,
        "{counts:?}"
    );
    Ok(())
}

#[test]
fn the_link_lets_a_new_connection_grow_when_told_to() -> Result<()> {
    let size = 1 << 20;
    let it = fixture(&vec![1; size])?;
    let shape = Shape {
        delay: Duration::from_millis(10),
        rate: 100 << 20,
        slow_start: true,
        ..Shape::default()
    };
    let link = Link::start(it.registry.address(), shape)?;
    let start = Instant::now();
    get(link.address(), &it.path(), &[])?;
    // Handshake and request, and 14.6 KB doubled six times before a megabyte is through.
    let took = start.elapsed();
    ensure!(took >= Duration::from_millis(150), "1 MiB took {took:?}");
    Ok(())
}

#[test]
fn what_is_pushed_to_the_debian_registry_can_be_read_in_ranges() -> Result<()> {
    let it = fixture(b"0123456789")?;
    let dir = tempfile::tempdir()?;
    let registry = Distribution::start(dir.path())?;
    registry.push("r", &it.layout)?;
    let manifest = request(
        registry.address(),
        "HEAD",
        "/v2/r/manifests/latest",
        &[("Accept", MANIFEST)],
        b"",
    )?;
    ensure!(manifest.status == 200, "{}", manifest.status);
    let part = get(registry.address(), &it.path(), &[("Range", "bytes=3-5")])?;
    ensure!(
        (part.status, part.body.as_slice()) == (206, b"345"),
        "{part:?}"
    );
    let reads = registry.reads(&it.blob.digest);
    ensure!(
        reads
            .iter()
            .any(|read| read.status == 206 && read.bytes == 3),
        "{reads:?}"
    );
    Ok(())
}
