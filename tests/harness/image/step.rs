//! Layers of real software: a Debian base, and one overlay per command run in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Layer, upper};
use crate::command::run;
use crate::{cache, layout};

/// Names the base and its clean-up; part of every key.
pub(super) const BASE: &str = "debootstrap minbase bookworm 1";

/// A shell script run in the image so far.
pub(super) struct Step {
    name: &'static str,
    pub(super) script: &'static str,
}

impl Step {
    pub(super) const fn new(name: &'static str, script: &'static str) -> Self {
        Self { name, script }
    }
}

/// Mounts of their own namespace, so that nothing is left whatever happens to this process.
const IN_OVERLAY: &str = r#"
set -eu
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs tmpfs "$ROOT/var/lib/apt/lists"
mount -t tmpfs tmpfs "$ROOT/var/cache/apt/archives"
mount -t tmpfs tmpfs "$ROOT/var/log"
mount --bind /etc/resolv.conf "$ROOT/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
case $SCRIPT in
*apt-get*) chroot "$ROOT" apt-get -qq update ;;
esac
chroot "$ROOT" sh -euc "$SCRIPT"
"#;

/// What differs from run to run, or is of no use in an image.
const CLEAN_BASE: &str = r"
rm -rf var/cache/apt/archives/*.deb var/lib/apt/lists/* var/log/* var/cache/ldconfig/*
rm -f etc/hostname etc/machine-id
: > etc/resolv.conf
printf '#!/bin/sh\nexit 101\n' > usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
echo force-unsafe-io > etc/dpkg/dpkg.cfg.d/unsafe-io
";

/// The base and one layer per step.
pub(super) fn layers(steps: &[Step]) -> Result<Vec<Layer>> {
    let base = base()?;
    let mut below = vec![base.clone()];
    let mut key = vec![BASE];
    for step in steps {
        key.push(step.script);
        let name = format!("step-{}", step.name);
        let dir = cache::directory(&name, &cache::key(&key), |dir| run_step(dir, &below, step))?;
        below.push(dir);
    }
    below.iter().map(|dir| packed(dir)).collect()
}

/// The directory of the base layer; its tree is in `upper`.
pub(super) fn base() -> Result<PathBuf> {
    cache::directory("base", &cache::key(&[BASE]), |dir| {
        let root = dir.join("upper");
        run(Command::new("debootstrap")
            .args(["--variant=minbase", "bookworm"])
            .arg(&root)
            .arg(mirror()?))?;
        run(Command::new("sh")
            .args(["-euc", CLEAN_BASE])
            .current_dir(&root))?;
        pack(dir)
    })
}

fn run_step(dir: &Path, below: &[PathBuf], step: &Step) -> Result<()> {
    let [upper, work, root] = ["upper", "work", "root"].map(|name| dir.join(name));
    for path in [&upper, &work, &root] {
        fs::create_dir(path)?;
    }
    let lower: Vec<String> = below
        .iter()
        .rev()
        .map(|dir| dir.join("upper").display().to_string())
        .collect();
    run(Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["sh", "-c", IN_OVERLAY])
        .env("LOWER", lower.join(":"))
        .env("UPPER", &upper)
        .env("WORK", &work)
        .env("ROOT", &root)
        .env("SCRIPT", step.script))?;
    fs::remove_dir_all(&work)?;
    fs::remove_dir(&root)?;
    pack(dir)
}

fn pack(dir: &Path) -> Result<()> {
    let diff_id = upper::pack(&dir.join("upper"), &dir.join("layer.tar.gz"))?;
    fs::write(dir.join("diff-id"), diff_id)?;
    Ok(())
}

pub(super) fn packed(dir: &Path) -> Result<Layer> {
    Ok(Layer {
        blob: dir.join("layer.tar.gz"),
        media_type: layout::LAYER_GZIP,
        diff_id: fs::read_to_string(dir.join("diff-id"))?,
    })
}

/// The Debian mirror this machine uses.
fn mirror() -> Result<String> {
    let listed = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        "Codename: bookworm",
        "Component: main",
    ]))?;
    Ok(listed
        .lines()
        .next()
        .context("no Debian bookworm in this machine's apt sources")?
        .to_owned())
}
