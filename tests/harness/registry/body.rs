//! A part of a file as a response body that may be slow, short or wrong.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

const CHUNK: u64 = 64 << 10;

pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) range: Range<u64>,
    pub(super) rate: Option<u64>,
    /// The connection is closed after this many bytes.
    pub(super) truncate: Option<u64>,
    /// The byte of the file that gets a wrong bit.
    pub(super) flip: Option<u64>,
    pub(super) sent: Arc<AtomicU64>,
}

pub(super) fn stream(part: Part) -> io::Result<Body> {
    let file = File::open(&part.path)?;
    let end = part
        .truncate
        .map_or(part.range.end, |n| part.range.end.min(part.range.start + n));
    let state = (file, part.range.start, part);
    Ok(Body::from_stream(stream::try_unfold(
        state,
        move |(file, at, part)| async move {
            if at >= end {
                if end < part.range.end {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        "cut short on purpose",
                    ));
                }
                return Ok(None);
            }
            let size = CHUNK.min(end - at);
            if let Some(rate) = part.rate {
                tokio::time::sleep(Duration::from_secs_f64(size as f64 / rate as f64)).await;
            }
            let mut chunk = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            file.read_exact_at(&mut chunk, at)?;
            let wrong = part
                .flip
                .and_then(|flip| usize::try_from(flip.checked_sub(at)?).ok());
            if let Some(byte) = wrong.and_then(|index| chunk.get_mut(index)) {
                *byte ^= 1;
            }
            part.sent.fetch_add(size, Ordering::Relaxed);
            Ok(Some((Bytes::from(chunk), (file, at + size, part))))
        },
    )))
}
