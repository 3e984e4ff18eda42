//! zTOCs and indexes are those of the original tool, byte for byte, but for what is left out on purpose.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use harness::cache;
use harness::command::run;
use harness::containerd::{Containerd, Flavor};
use harness::image::{Form, Image, REAL};
use harness::layout::{Descriptor, Index, Layout, Manifest};
use harness::scratch::Scratch;
use harness::soci::Soci;
use harness::stack::machine;
use serde_json::Value;

const LAYER_DIGEST: &str = "com.amazon.soci.image-layer-digest";

/// The tools name themselves in what they write: the original of the tests is older by one number.
const OURS: &str = "AWS SOCI CLI v0.2";
const THEIRS: &str = "AWS SOCI CLI v0.1";

/// The bytes as the original would have signed them.
fn signed_by_the_original(bytes: &[u8]) -> Vec<u8> {
    let at = bytes
        .windows(OURS.len())
        .position(|part| part == OURS.as_bytes());
    let mut bytes = bytes.to_vec();
    if let Some(place) = at.and_then(|at| bytes.get_mut(at..at + THEIRS.len())) {
        place.copy_from_slice(THEIRS.as_bytes());
    }
    bytes
}

/// The one SOCI index of a converted image in a layout.
fn index_of(layout: &Layout) -> Result<Manifest> {
    let root: Index = layout.json(&layout.only_root()?.digest)?;
    let mut indexes = root.manifests.into_iter().filter(|listed| {
        let kind = listed.artifact_type.as_deref();
        kind.is_some_and(|kind| kind.contains("soci"))
    });
    layout.json(&indexes.next().context("no SOCI index")?.digest)
}

fn ztoc_of<'a>(index: &'a Manifest, layer: &str) -> Option<&'a Descriptor> {
    let about = |ztoc: &&Descriptor| {
        ztoc.annotations
            .get(LAYER_DIGEST)
            .is_some_and(|l| l == layer)
    };
    index.layers.iter().find(about)
}

/// Layers whose zTOCs are not the original's.
fn differing(name: &str, scratch: &Scratch) -> Result<(Layout, Vec<Descriptor>)> {
    let theirs = Image::get(name, Form::V2)?;
    let plain = Image::get(name, Form::Plain)?;
    let out = scratch.path().join(name);
    let soci = Soci::new(scratch.path())?;
    soci.done(&[
        "publish",
        "--min-layer-size=0",
        &format!("oci:{}", plain.layout.dir().display()),
        &format!("oci:{}", out.display()),
    ])?;
    let ours = Layout::open(&out)?;
    let (our_index, their_index) = (index_of(&ours)?, index_of(&theirs.layout)?);
    let mut differing = Vec::new();
    for layer in plain.layers()? {
        let expected = ztoc_of(&their_index, &layer.digest).context("no zTOC of theirs")?;
        let expected = theirs.layout.read(&expected.digest)?;
        let same = match ztoc_of(&our_index, &layer.digest) {
            Some(ztoc) => signed_by_the_original(&ours.read(&ztoc.digest)?) == expected,
            None => false,
        };
        if !same {
            differing.push(layer);
        }
    }
    Ok((ours, differing))
}

#[test]
fn the_layers_of_real_images_have_the_originals_ztocs() -> Result<()> {
    for name in REAL {
        let scratch = Scratch::in_memory()?;
        let (_, differing) = differing(name, &scratch)?;
        ensure!(differing.is_empty(), "{name}: {differing:#?}");
    }
    Ok(())
}

#[test]
fn many_files_and_plain_tars_have_the_originals_ztocs() -> Result<()> {
    for name in ["many", "plain-tar"] {
        let scratch = Scratch::in_memory()?;
        let (_, differing) = differing(name, &scratch)?;
        ensure!(differing.is_empty(), "{name}: {differing:#?}");
    }
    Ok(())
}

/// Intended: that version of the original sees no place to resume after the first member, so that whoever
/// reads one byte of the layer fetches all of it.
#[test]
fn a_layer_of_several_gzip_members_has_spans_where_the_original_has_one() -> Result<()> {
    let scratch = Scratch::in_memory()?;
    let (ours, differing) = differing("multi-member", &scratch)?;
    let theirs = Image::get("multi-member", Form::V2)?;
    let members = theirs.layers()?.pop().context("no layers")?;
    let differing: Vec<_> = differing.into_iter().map(|layer| layer.digest).collect();
    ensure!(differing == [members.digest.clone()], "{differing:?}");

    let soci = Soci::new(scratch.path())?;
    let place = |layout: &Layout| format!("oci:{}", layout.dir().display());
    soci.done(&["verify", &place(&ours)])?;
    let difference = soci.run(&["diff", &place(&theirs.layout), &place(&ours)])?;
    let spans = format!("{} number of spans: was 1, is 3\n", members.digest);
    ensure!(
        difference.code == 4 && difference.stdout.contains(&spans),
        "{difference:#?}"
    );
    Ok(())
}

/// Intended: the original's zTOC lacks the attribute, and a container would too.
#[test]
fn a_layer_with_an_empty_attribute_is_left_whole_where_the_original_loses_it() -> Result<()> {
    let scratch = Scratch::in_memory()?;
    let (ours, differing) = differing("odd", &scratch)?;
    let index = index_of(&ours)?;
    let odd = Image::get("odd", Form::Plain)?;
    let layers = odd.layers()?;
    let with_empty = layers.get(1).context("a second layer")?;
    let differing: Vec<_> = differing.into_iter().map(|layer| layer.digest).collect();
    ensure!(differing == [with_empty.digest.clone()], "{differing:?}");
    ensure!(
        ztoc_of(&index, &with_empty.digest).is_none(),
        "an index all the same"
    );
    let said = Soci::new(scratch.path())?.done(&[
        "publish",
        "--min-layer-size=0",
        &format!("oci:{}", odd.layout.dir().display()),
        &format!("oci:{}", scratch.path().join("again").display()),
    ])?;
    let reason = said.lines().find(|line| line.contains(&with_empty.digest));
    let reason = reason.context("the layer is not named")?;
    ensure!(
        reason.starts_with("ztoc skipped - layer") && reason.contains("user.empty"),
        "{reason}"
    );
    Ok(())
}

/// The original knows one state directory only; a mount namespace of its own gives it ours there.
const ORIGINAL: &str = r#"
set -eu
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/soci-snapshotter-grpc
mount --bind "$STATE" /var/lib/soci-snapshotter-grpc
export TZ=UTC
"$SOCI" --address "$ADDRESS" create localhost/image:latest
for digest in $("$SOCI" --address "$ADDRESS" index list -q); do
    "$SOCI" --address "$ADDRESS" index info "$digest" > "$STATE/index.json"
done
for digest in $("$SOCI" --address "$ADDRESS" ztoc list -q); do
    "$SOCI" --address "$ADDRESS" ztoc info "$digest" > "$STATE/$digest.json"
done
"#;

#[test]
fn side_by_side_on_one_containerd_both_tools_make_the_same_index() -> Result<()> {
    let _machine = machine();
    let image = Image::get("redis", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let containerd = Containerd::start(&scratch.path().join("c"), Flavor::Transfer, None)?;
    containerd.import("localhost/image", &image.layout)?;

    let state = scratch.path().join("state");
    fs::create_dir_all(state.join("content"))?;
    run(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", ORIGINAL])
        .env("STATE", &state)
        .env("SOCI", cache::reference("soci")?)
        .env("ADDRESS", containerd.socket()))?;
    let theirs: Value = serde_json::from_slice(&fs::read(state.join("index.json"))?)?;

    let soci = Soci::with_containerd(scratch.path(), &containerd)?;
    let said = soci.done(&["create", "localhost/image:latest"])?;
    let digest = soci.done(&["index", "list", "-q"])?;
    let ours: Value = serde_json::from_str(&soci.done(&["index", "info", digest.trim()])?)?;
    ensure!(ours["subject"] == theirs["subject"], "{ours:#}\n{theirs:#}");
    ensure!(ours["config"] == theirs["config"], "{ours:#}\n{theirs:#}");

    let [ours, theirs] = [&ours, &theirs].map(|index| index["layers"].as_array().cloned());
    let (ours, theirs) = (ours.context("layers")?, theirs.context("layers")?);
    ensure!(
        ours.len() == theirs.len() && !ours.is_empty(),
        "{ours:#?}\n{theirs:#?}"
    );
    for (mut our, mut their) in ours.into_iter().zip(theirs) {
        let [our_digest, their_digest] = [&mut our, &mut their].map(|ztoc| ztoc["digest"].take());
        // Size, order and annotations; the digests differ by the name of the tool, and the original began to
        // tell the size of a span later.
        let annotations = our["annotations"].as_object_mut();
        let span_size = annotations.and_then(|a| a.remove("com.amazon.soci.span-size"));
        ensure!(span_size == Some("4194304".into()), "{span_size:?}");
        ensure!(our == their, "{our:#}\n{their:#}");
        let our_digest = our_digest.as_str().context("digest")?.to_owned();
        let layer = our["annotations"][LAYER_DIGEST].as_str().context("layer")?;
        ensure!(
            said.contains(&format!("layer {layer} -> ztoc {our_digest}\n")),
            "{said}"
        );
        let our_info = soci.done(&["ztoc", "info", &our_digest])?;
        let their_info = state.join(format!("{}.json", their_digest.as_str().context("digest")?));
        let [mut our_info, their_info]: [Value; 2] = [
            serde_json::from_str(&our_info)?,
            serde_json::from_slice(&fs::read(their_info)?)?,
        ];
        ensure!(our_info["build_tool"] == OURS, "{}", our_info["build_tool"]);
        our_info["build_tool"] = THEIRS.into();
        ensure!(our_info == their_info, "what `ztoc info` prints differs");
    }
    Ok(())
}
