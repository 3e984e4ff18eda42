//! What `soci` takes for layers of very many files: little more than their zTOC, and 64 MiB in all for 200,000.

use std::fs::File;
use std::io::BufWriter;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use harness::layout::{self, Layout};
use harness::scratch::Scratch;
use harness::soci::Soci;
use harness::tar::{Entry, Writer};

/// A layer with so many files and nothing in them.
fn layer(layout: &Layout, files: u32) -> Result<layout::Descriptor> {
    let blob = layout.dir().join("many.tar.gz");
    let mut gzip = Command::new("gzip")
        .args(["-1", "-n"])
        .stdin(Stdio::piped())
        .stdout(File::create(&blob)?)
        .spawn()?;
    let stdin = gzip.stdin.take().context("stdin")?;
    let mut tar = Writer::new(BufWriter::with_capacity(1 << 20, stdin));
    for number in 0..files {
        let name = format!("usr/lib/node/package-{:04}/lib/{number}.js", number / 1000);
        let file = Entry {
            name: name.into_bytes(),
            mode: 0o644,
            mtime: (1_700_000_000 + i64::from(number), 0),
            ..Entry::default()
        };
        tar.bytes(file, b"")?;
    }
    tar.finish()?.into_inner()?;
    ensure!(gzip.wait()?.success(), "gzip failed");
    let layer = layout.link(layout::LAYER_GZIP, &blob)?;
    std::fs::remove_file(blob)?;
    Ok(layer)
}

/// The most memory that converting an image of such a layer takes, and the size of the layer's zTOC.
fn converted(files: u32) -> Result<(u64, u64)> {
    let scratch = Scratch::on_disk()?;
    let layout = Layout::create(&scratch.path().join("image"))?;
    let image = layout.put_image(&[layer(&layout, files)?])?;
    layout.set_roots(&[("latest", image)])?;
    let soci = Soci::new(scratch.path())?;
    let place = |name: &str| scratch.path().join(name).display().to_string();
    let words = ["convert", "--standalone", "--format=oci-dir"];
    let words = [&words[..], &["--min-layer-size=0"]].concat();
    let ended = soci.run(&[words, vec![&place("image"), &place("out")]].concat())?;
    ensure!(ended.code == 0, "{ended:#?}");
    let line = ended.stdout.lines().find(|line| line.contains("-> ztoc"));
    let ztoc = line.and_then(|line| line.split_whitespace().last());
    let ztoc = ztoc.with_context(|| format!("no zTOC: {ended:#?}"))?;
    // No file may be left out to save memory.
    soci.done(&["verify", &place("out")])?;
    let ztoc = Layout::open(&scratch.path().join("out"))?.path(ztoc);
    Ok((ended.peak, ztoc.metadata()?.len()))
}

#[test]
fn a_layer_of_200_000_files_takes_less_than_64_mib() -> Result<()> {
    let (peak, ztoc) = converted(200_000)?;
    ensure!(
        peak <= 64 << 20,
        "{peak} bytes at once; its zTOC has {ztoc}"
    );
    Ok(())
}

#[test]
fn a_layer_of_a_million_files_is_indexed_in_little_more_than_its_ztoc() -> Result<()> {
    let (peak, ztoc) = converted(1_000_000)?;
    ensure!(
        peak <= ztoc + (32 << 20),
        "{peak} bytes at once; its zTOC has {ztoc}"
    );
    Ok(())
}
