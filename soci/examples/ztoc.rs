//! Writes the zTOC of a layer to standard output:
//! `cargo run --release -p soci --example ztoc LAYER [SPAN_SIZE [TOOL]] > layer.ztoc`

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Instant;

use soci::build::{BuildOptions, Builder, Compression, Cuts};

const USAGE: &str = "usage: ztoc LAYER [SPAN_SIZE [TOOL]] > layer.ztoc";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let layer = args.next().ok_or(USAGE)?;
    let span_size = args.next().map_or(Ok(4 << 20), |size| size.parse())?;
    let build_tool = args.next().unwrap_or("AWS SOCI CLI v0.2".to_owned());

    let mut blob = File::open(layer)?;
    let mut buffer = vec![0; 1 << 20];
    let mut len = blob.read(&mut buffer)?;
    let first = buffer.get(..len).unwrap_or_default();
    let mut builder = Builder::new(&BuildOptions {
        cuts: Cuts::every(span_size),
        build_tool,
        compression: if first.starts_with(&[0x1f, 0x8b]) {
            Compression::Gzip
        } else {
            Compression::Tar
        },
    })?;
    let start = Instant::now();
    while len > 0 {
        builder.push(buffer.get(..len).unwrap_or_default())?;
        len = blob.read(&mut buffer)?;
    }
    let built = builder.finish()?;
    let seconds = start.elapsed().as_secs_f64();

    writeln!(
        io::stderr(),
        "zTOC    {} ({} bytes, {} spans, {} files, in {seconds:.3} s)\nlayer   {} ({} bytes)",
        built.digest,
        built.ztoc.len(),
        built.spans,
        built.files,
        built.layer_digest,
        built.layer_size,
    )?;
    io::stdout().write_all(&built.ztoc)?;
    Ok(())
}
