//! Mounts a layer from local files: `cargo run -p fuse --example mount -- LAYER ZTOC MOUNTPOINT`.
//!
//! LAYER is a tar or tar.gz, ZTOC its zTOC, MOUNTPOINT an empty directory. Root only. With
//! `tests/fixtures/pax.tar.gz` and `tests/fixtures/pax.ztoc` it works from a fresh checkout. Enter unmounts.

#![allow(clippy::print_stdout)]

use std::env;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use fuse::{Mount, Opcode};
use layer::{Cache, CacheOptions, Layer, LayerId, Source, SourceError, SourceFailure};
use soci::ztoc::{Limits, Ztoc};

/// Compressed bytes come from a local file here, from a registry in the daemon.
struct Local(Arc<File>);

type Answer = Pin<Box<dyn Future<Output = Result<Bytes, SourceError>> + Send>>;

impl Source for Local {
    fn read(&self, range: Range<u64>) -> Answer {
        let file = Arc::clone(&self.0);
        Box::pin(async move {
            let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, range.start)
                .map_err(|error| SourceError::new(SourceFailure::NotFound, error))?;
            println!("  fetched compressed bytes {range:?}");
            Ok(bytes.into())
        })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [tar, ztoc, target] = arguments.as_slice() else {
        bail!("usage: mount LAYER ZTOC MOUNTPOINT");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let _guard = runtime.enter();

    let blob = fs::read(ztoc).with_context(|| format!("cannot read {}", ztoc.display()))?;
    let parsed = Ztoc::parse(&blob, &Limits::default())?;
    println!("{} files, {} spans", parsed.toc.len(), parsed.spans.len());

    let directory = tempfile::tempdir()?;
    let cache = Cache::open(directory.path(), CacheOptions::default())?;
    let digest = format!("sha256:{}", "0".repeat(64)); // only a name here
    let id = LayerId {
        layer: digest.parse().context("digest")?,
        ztoc: Some(digest.parse().context("digest")?),
        image: tar.display().to_string(),
    };
    let source = Local(Arc::new(
        File::open(tar).with_context(|| format!("cannot read {}", tar.display()))?,
    ));
    let layer = Layer::open(
        &cache,
        id,
        parsed.toc,
        parsed.spans,
        File::open(ztoc)?,
        Arc::new(source),
        &layer::Options::default(),
    )?;

    let mount = Mount::new(
        layer,
        target,
        &fuse::Options::default(),
        runtime.handle().clone(),
    )?;
    println!("mounted at {}; press Enter to unmount", target.display());
    io::stdin().read_line(&mut String::new())?;

    for &opcode in Opcode::ALL {
        let count = mount.counters().of(opcode);
        if count > 0 {
            println!("{opcode:?}: {count}");
        }
    }
    mount.unmount()?;
    Ok(())
}
