//! Start-up profiles: from what the snapshotter recorded to indexes that are cut by it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers count as code otherwise

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use support::image::{GZIP, Layout, digest, files, noise, tar};
use support::{soci, text};
use tempfile::{TempDir, tempdir};

/// An image of one layer of 4 MiB, as a layout, and what goes with it.
struct Site {
    directory: TempDir,
    layer: String,
    manifest: String,
}

impl Site {
    fn new() -> Self {
        let directory = tempdir().unwrap();
        // Of 64 letters, so that there are blocks of a usual length.
        let data: Vec<u8> = noise(1, 4 << 20)
            .iter()
            .map(|byte| byte % 64 + 48)
            .collect();
        let layer = gzip(&tar(&[("data", b'0', &data)]));
        let layout = directory.path().join("app");
        std::fs::create_dir(&layout).unwrap();
        let layout = Layout(&layout);
        let image = layout.image("amd64", &[(GZIP, &layer)]);
        let manifest = image["digest"].as_str().unwrap().to_owned();
        layout.index(&[image]);
        Site {
            directory,
            layer: digest(&layer),
            manifest,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A profile of these reads, as the snapshotter writes it.
    fn profile(&self, name: &str, layers: &[(&str, Value)]) -> PathBuf {
        let layers: Vec<_> = layers
            .iter()
            .map(|(layer, reads)| json!({"digest": layer, "reads": reads}))
            .collect();
        let path = self.path(name);
        let json = json!({"version": "1.0", "runs": 1, "layers": layers});
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, json.to_string()).unwrap();
        path
    }

    /// Spans of 1 MiB as a matter of course.
    #[track_caller]
    fn convert(&self, arguments: &[&str], to: &str) -> support::Run {
        let (from, to) = (self.path("app"), self.path(to));
        let convert = [
            "convert",
            "--standalone",
            "--min-layer-size=0",
            "--span-size=1048576",
        ];
        let places = [text(&from), text(&to)];
        soci([&convert, arguments, &places].concat())
    }

    /// The SOCI index that a conversion wrote, its zTOC and its prefetch artifact.
    fn index(&self, archive: &str) -> (Value, Vec<u8>, Option<Value>) {
        let files = files(&std::fs::read(self.path(archive)).unwrap());
        let blob = |digest: &str| {
            let name = format!("blobs/sha256/{}", &digest[7..]);
            files
                .iter()
                .find(|(found, _)| *found == name)
                .unwrap()
                .1
                .clone()
        };
        let parsed = |digest: &Value| {
            serde_json::from_slice::<Value>(&blob(digest.as_str().unwrap())).unwrap()
        };
        let root = &files
            .iter()
            .find(|(name, _)| name == "index.json")
            .unwrap()
            .1;
        let root: Value = serde_json::from_slice(root).unwrap();
        let image = parsed(&root["manifests"][0]["digest"]);
        let index = parsed(&image["manifests"][1]["digest"]);
        let ztoc = blob(index["layers"][0]["digest"].as_str().unwrap());
        let prefetch = index["layers"].get(1).map(|layer| parsed(&layer["digest"]));
        (index, ztoc, prefetch)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A read in the middle of the layer.
fn some_reads() -> Value {
    json!([[2_000_000, 2_100_000, 0, 1]])
}

#[test]
fn an_index_is_cut_around_what_starts_read_and_lists_it() {
    let site = Site::new();
    let profile = site.profile("p.json", &[(&site.layer, some_reads())]);
    site.convert(&[], "plain.tar").quiet();
    let run = site
        .convert(&["--profile", text(&profile)], "cut.tar")
        .quiet();
    let (plain, plain_ztoc, none) = site.index("plain.tar");
    assert_eq!(none, None);
    let (cut, ztoc, prefetch) = site.index("cut.tar");
    assert_ne!(cut["layers"][0]["digest"], plain["layers"][0]["digest"]);
    assert!(ztoc.len() <= plain_ztoc.len());
    let prefetch = prefetch.unwrap();
    assert_eq!(prefetch["tar_reads"], json!([[2_000_000, 2_100_000, 0]]));
    let line = format!("prefetch - layer {} 1 of ", site.layer);
    assert!(run.stdout.contains(&line), "{}", run.stdout);
    let bytes: u64 = run
        .stdout
        .split(" spans, ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(bytes < 400_000, "{bytes}");
    // It says of itself what its spans exceed, so that nobody takes it for one with spans of 1 MiB.
    assert_ne!(
        cut["layers"][0]["annotations"]["com.amazon.soci.span-size"],
        "1048576"
    );
    soci(["verify", text(&site.path("cut.tar"))]).quiet();
    // The same again is the same.
    let again = site
        .convert(&["--profile", text(&profile)], "again.tar")
        .quiet();
    assert_eq!(again.last(), run.last());
}

#[test]
fn spans_can_be_kept_as_they_are() {
    let site = Site::new();
    let profile = site.profile("p.json", &[(&site.layer, some_reads())]);
    site.convert(&[], "plain.tar").quiet();
    site.convert(
        &["--profile-only=prefetch", "--profile", text(&profile)],
        "kept.tar",
    )
    .quiet();
    let (plain, _, _) = site.index("plain.tar");
    let (kept, _, prefetch) = site.index("kept.tar");
    assert_eq!(kept["layers"][0], plain["layers"][0]);
    let prefetch = prefetch.unwrap();
    assert_eq!(
        prefetch["prefetch_spans"],
        json!([{"start_span": 1, "end_span": 1}])
    );
    assert_eq!(prefetch["tar_reads"], json!([[2_000_000, 2_100_000, 0]]));
    assert_eq!(site.convert(&["--profile-only=prefetch"], "x.tar").code, 2);
}

#[test]
fn spans_can_be_cut_without_a_list_for_old_readers() {
    let site = Site::new();
    let profile = site.profile("p.json", &[(&site.layer, some_reads())]);
    site.convert(&["--profile", text(&profile)], "both.tar")
        .quiet();
    let arguments = ["--profile-only=spans", "--profile", text(&profile)];
    site.convert(&arguments, "spans.tar").quiet();
    let (both, _, _) = site.index("both.tar");
    let (spans, _, prefetch) = site.index("spans.tar");
    assert_eq!(spans["layers"].as_array().unwrap().len(), 1);
    assert_eq!((&spans["layers"][0], prefetch), (&both["layers"][0], None));
}

#[test]
fn a_path_and_a_profile_are_both_loaded_first() {
    let site = Site::new();
    let profile = site.profile("p.json", &[(&site.layer, some_reads())]);
    let arguments = [
        "--profile-only=prefetch",
        "--profile",
        text(&profile),
        "--prefetch-file=data",
    ];
    let json = site
        .convert(&[&arguments[..], &["--json"]].concat(), "both.tar")
        .quiet()
        .json();
    let (_, _, prefetch) = site.index("both.tar");
    assert_eq!(
        prefetch.unwrap()["prefetch_spans"],
        json!([{"start_span": 0, "end_span": 3}])
    );
    let reported = &json["platforms"][0]["layers"][0]["prefetch"];
    assert_eq!(reported["spans"], 4);
    assert!(reported["bytes"].as_u64().unwrap() > 3 << 20, "{json}");
}

#[test]
fn what_a_profile_says_of_other_layers_is_left_out_and_one_of_another_image_is_refused() {
    let site = Site::new();
    let other = digest(b"other");
    let both = [(other.as_str(), some_reads()), (&site.layer, some_reads())];
    let profile = site.profile("both.json", &both);
    let run = site
        .convert(&["--profile", text(&profile)], "both.tar")
        .quiet();
    let line = format!("profile - layer {other} is not in the image");
    assert!(run.stdout.contains(&line), "{}", run.stdout);
    assert!(
        !run.stdout
            .contains(&format!("profile - layer {}", site.layer))
    );
    let foreign = site.profile("foreign.json", &[(other.as_str(), some_reads())]);
    site.convert(&["--profile", text(&foreign)], "x.tar")
        .fails(1, "the profile is of another image");
    let empty = site.profile("empty.json", &[]);
    site.convert(&["--profile", text(&empty)], "x.tar")
        .fails(1, "no start was recorded in it");
    let broken = site.path("broken.json");
    std::fs::write(&broken, "{").unwrap();
    site.convert(&["--profile", text(&broken)], "x.tar")
        .fails(1, "start-up profile is not valid JSON");
    let absent = site.path("absent.json");
    site.convert(&["--profile", text(&absent)], "x.tar")
        .fails(1, "absent.json: No such file");
    let line = [(
        site.layer.as_str(),
        json!([[1_u64 << 40, 1_u64 << 41, 0, 1]]),
    )];
    let beyond = site.profile("beyond.json", &line);
    site.convert(&["--profile", text(&beyond)], "beyond.tar")
        .quiet();
    assert_eq!(site.index("beyond.tar").2, None);
}

#[test]
fn what_the_snapshotter_recorded_is_listed_and_exported() {
    let site = Site::new();
    let root = site.path("root");
    let root = text(&root);
    let export = |image: &str, more: &[&str]| {
        soci([&["--root", root, "prefetch", "export", image], more].concat())
    };
    export(&site.manifest, &[]).fails(1, "no start of it is recorded in");
    let list = soci(["--root", root, "prefetch", "recorded"]).quiet();
    assert!(list.stdout.starts_with("IMAGE MANIFEST"), "{}", list.stdout);
    let name = format!("root/profiles/{}.json", site.manifest);
    let recorded = site.profile(&name, &[(&site.layer, some_reads())]);
    std::fs::write(site.path("root/profiles/3.partial"), "{").unwrap();
    std::fs::write(site.path("root/profiles/x.json"), "{").unwrap();
    let list = soci(["--root", root, "--json", "prefetch", "record"])
        .quiet()
        .json();
    assert_eq!(
        list,
        json!([{"manifest": site.manifest, "runs": 1,
            "layers": [{"layer": site.layer, "ranges": 1, "bytes": 100_000, "last_ms": 0}]}])
    );
    let stored = std::fs::read_to_string(&recorded).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(export(&site.manifest, &[]).quiet().json(), stored);
    let layout = format!("oci:{}", text(&site.path("app")));
    let file = site.path("out.json");
    let run = export(&layout, &["-p", "linux/amd64", "-o", text(&file)]).quiet();
    assert!(
        run.stdout.contains("1 start(s), 1 layer(s), 100000 bytes"),
        "{}",
        run.stdout
    );
    assert_eq!(read(&file), stored);
    site.convert(&["--profile", text(&file)], "cut.tar").quiet();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn profiles_of_several_nodes_become_one() {
    let site = Site::new();
    let a = site.profile("a.json", &[(&site.layer, json!([[0, 10, 5, 1]]))]);
    let b = site.profile("b.json", &[(&site.layer, json!([[20, 30, 3, 1]]))]);
    let out = site.path("ab.json");
    let run = soci(["prefetch", "merge", "-o", text(&out), text(&a), text(&b)]).quiet();
    assert!(
        run.stdout.contains("2 start(s), 1 layer(s), 20 bytes"),
        "{}",
        run.stdout
    );
    let reads = json!([[20, 30, 3, 1], [0, 10, 5, 1]]);
    assert_eq!(read(&out)["layers"][0]["reads"], reads);
    let printed = soci(["prefetch", "merge", text(&b), text(&a)])
        .quiet()
        .json();
    assert_eq!(printed, read(&out));
    let info = soci(["prefetch", "info", text(&out)]).quiet();
    assert!(
        info.stdout.starts_with("2 start(s) recorded\nLAYER"),
        "{}",
        info.stdout
    );
    assert!(info.stdout.contains(&site.layer), "{}", info.stdout);
    let info = soci(["--json", "prefetch", "info", text(&out)])
        .quiet()
        .json();
    assert_eq!(info["layers"][0]["bytes"], 20);
    assert_eq!(soci(["prefetch", "merge"]).code, 2);
}
