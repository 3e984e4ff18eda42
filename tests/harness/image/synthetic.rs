//! Layers that no package would make: every kind of entry, many files, odd compression.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::entry::{directory, file, noise};
use super::upper::gzip;
use super::{Layer, odd as odd_entries, step};
use crate::layout::{self, digest};
use crate::tar::{Entry, Writer};

/// The Debian base below two layers with everything a tar can say.
pub(super) fn odd(dir: &Path) -> Result<Vec<Layer>> {
    Ok(vec![
        step::packed(&step::base()?)?,
        gzip_layer(dir, "first", |out| odd_entries::first(out))?,
        gzip_layer(dir, "second", |out| odd_entries::second(out))?,
    ])
}

/// 200,000 files in one layer.
pub(super) fn many(dir: &Path) -> Result<Vec<Layer>> {
    let layer = gzip_layer(dir, "many", |out| {
        let mut tar = Writer::new(out);
        tar.bytes(directory("many/"), b"")?;
        for group in 0..200 {
            tar.bytes(directory(format!("many/{group}/")), b"")?;
            for number in 0..1000 {
                let salt = crate::cache::hex(&noise(group * 1000 + number, 24));
                let content = format!("file {group}/{number}\n{salt}\n");
                tar.bytes(file(format!("many/{group}/{number}")), content.as_bytes())?;
            }
        }
        tar.bytes(file("many/noise"), &noise(1, 4 << 20))?;
        tar.finish()?;
        Ok(())
    })?;
    Ok(vec![step::packed(&step::base()?)?, layer])
}

/// Every layer is below the size from which an index is made.
pub(super) fn tiny(dir: &Path) -> Result<Vec<Layer>> {
    let base = step::base()?.join("upper");
    let libc = format!("usr/lib/{}-linux-gnu/libc.so.6", std::env::consts::ARCH);
    let loader = match std::env::consts::ARCH {
        "aarch64" => "lib/ld-linux-aarch64.so.1",
        _ => "lib64/ld-linux-x86-64.so.2",
    };
    let program = gzip_layer(dir, "program", |out| {
        let mut tar = Writer::new(out);
        let executable = |name: &str| Entry {
            mode: 0o755,
            ..file(name)
        };
        tar.bytes(executable("bin/cat"), &fs::read(base.join("usr/bin/cat"))?)?;
        tar.bytes(executable(&libc), &fs::read(base.join(&libc))?)?;
        tar.bytes(
            executable(loader),
            &fs::read(base.join("usr").join(loader))?,
        )?;
        tar.finish()?;
        Ok(())
    })?;
    let data = gzip_layer(dir, "data", |out| {
        let mut tar = Writer::new(out);
        tar.bytes(file("hello"), b"hello from tiny\n")?;
        tar.finish()?;
        Ok(())
    })?;
    Ok(vec![program, data])
}

/// An uncompressed layer.
pub(super) fn plain_tar(dir: &Path) -> Result<Vec<Layer>> {
    let tar = simple("plain", 12 << 20)?;
    let blob = blob_path(dir, "plain.tar")?;
    fs::write(&blob, &tar)?;
    let layer = Layer {
        blob,
        media_type: layout::LAYER_TAR,
        diff_id: digest(&tar),
    };
    Ok(vec![step::packed(&step::base()?)?, layer])
}

/// A layer of three gzip members, as parallel compressors write it.
pub(super) fn multi_member(dir: &Path) -> Result<Vec<Layer>> {
    let tar = simple("multi", 12 << 20)?;
    let blob = blob_path(dir, "multi.tar.gz")?;
    let mut out = File::create(&blob)?;
    for part in tar.chunks(tar.len().div_ceil(3)) {
        let mut child = Command::new("gzip")
            .args(["-6", "-n"])
            .stdin(Stdio::piped())
            .stdout(out.try_clone()?)
            .spawn()?;
        child
            .stdin
            .take()
            .context("gzip without stdin")?
            .write_all(part)?;
        anyhow::ensure!(child.wait()?.success(), "gzip failed");
    }
    out.flush()?;
    let layer = Layer {
        blob,
        media_type: layout::LAYER_GZIP,
        diff_id: digest(&tar),
    };
    Ok(vec![step::packed(&step::base()?)?, layer])
}

fn simple(name: &str, size: usize) -> io::Result<Vec<u8>> {
    let mut tar = Writer::new(Vec::new());
    tar.bytes(directory(format!("{name}/")), b"")?;
    tar.bytes(
        file(format!("{name}/hello")),
        format!("hello from {name}\n").as_bytes(),
    )?;
    tar.bytes(file(format!("{name}/first")), &noise(7, size / 2))?;
    tar.bytes(file(format!("{name}/second")), &noise(8, size / 2))?;
    tar.bytes(file(format!("{name}/last")), b"the end\n")?;
    tar.finish()
}

fn blob_path(dir: &Path, name: &str) -> Result<std::path::PathBuf> {
    fs::create_dir_all(dir.join("layers"))?;
    Ok(dir.join("layers").join(name))
}

fn gzip_layer(
    dir: &Path,
    name: &str,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Layer> {
    let blob = blob_path(dir, &format!("{name}.tar.gz"))?;
    let diff_id = gzip(&blob, fill)?;
    Ok(Layer {
        blob,
        media_type: layout::LAYER_GZIP,
        diff_id,
    })
}
