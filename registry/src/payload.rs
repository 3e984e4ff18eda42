//! What a request carries: nothing, bytes, or a stream of known length that can be begun again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use parking_lot::Mutex;

use crate::counters::{Counters, add};
use crate::push::BlobBody;

/// Handed to the connection at once; small enough that a slow one shows progress.
const PIECE: usize = 64 << 10;

#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Empty,
    /// A form, which is not content.
    Form(&'a str),
    Bytes(&'a Bytes),
    Stream {
        length: u64,
        /// Opens it, each time from the start of these `length` bytes.
        open: &'a (dyn Fn() -> BlobBody + Send + Sync),
    },
}

/// What has become of a payload on its way.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<State>);

#[derive(Default)]
struct State {
    sent: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Progress {
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Why our own content could not be had.
    pub(crate) fn failure(&self) -> Option<String> {
        self.0.failure.lock().clone()
    }
}

impl Payload<'_> {
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Payload::Empty => None,
            Payload::Form(form) => u64::try_from(form.len()).ok(),
            Payload::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
            Payload::Stream { length, .. } => Some(*length),
        }
    }

    /// What [`Progress`] reports on.
    pub(crate) fn streamed(&self) -> u64 {
        match self {
            Payload::Stream { length, .. } => *length,
            _ => 0,
        }
    }

    pub(crate) fn body(
        &self,
        progress: &Progress,
        counters: &Arc<Counters>,
    ) -> Option<reqwest::Body> {
        match self {
            Payload::Empty => None,
            Payload::Form(form) => Some(reqwest::Body::from((*form).to_owned())),
            Payload::Bytes(bytes) => {
                add(
                    &counters.uploaded_bytes,
                    u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                );
                Some(reqwest::Body::from((*bytes).clone()))
            }
            Payload::Stream { length, open } => {
                let pieces = pieces(open(), *length, progress.clone(), counters.clone());
                Some(reqwest::Body::wrap_stream(pieces))
            }
        }
    }
}

/// The content in small pieces, exactly `length` bytes of it or an error.
fn pieces(
    body: BlobBody,
    length: u64,
    progress: Progress,
    counters: Arc<Counters>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let content = Pieces {
        body,
        rest: Bytes::new(),
        length,
        progress,
        counters,
    };
    stream::unfold(Some(content), |content| async move {
        let mut content = content?;
        match content.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(content))),
            Ok(None) => None,
            Err(error) => {
                *content.progress.0.failure.lock() = Some(error.to_string());
                Some((Err(error), None))
            }
        }
    })
}

struct Pieces {
    body: BlobBody,
    rest: Bytes,
    length: u64,
    progress: Progress,
    counters: Arc<Counters>,
}

impl Pieces {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.rest.is_empty() {
            match self.body.next().await {
                Some(bytes) => self.rest = bytes?,
                None => return self.end().map(|()| None),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let sent = self.progress.0.sent.fetch_add(size, Ordering::Relaxed);
        if size > self.length.saturating_sub(sent) {
            return Err(io::Error::other(format!(
                "it is longer than the {} bytes announced",
                self.length
            )));
        }
        add(&self.counters.uploaded_bytes, size);
        Ok(Some(piece))
    }

    fn end(&self) -> io::Result<()> {
        let sent = self.progress.sent();
        if sent == self.length {
            return Ok(());
        }
        let reason = format!("it ends after {sent} of {} bytes", self.length);
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(content: &[usize], length: u64, expected: Result<&[usize], &str>) {
        let body: Vec<_> = content
            .iter()
            .map(|&n| Ok(Bytes::from(vec![0; n])))
            .collect();
        let (progress, counters) = (Progress::default(), Arc::<Counters>::default());
        let body = stream::iter(body).boxed();
        let sent: Vec<_> = pieces(body, length, progress.clone(), counters.clone())
            .collect()
            .await;
        let sizes: io::Result<Vec<_>> = sent.into_iter().map(|p| p.map(|p| p.len())).collect();
        let sizes = sizes.map_err(|error| error.to_string());
        assert_eq!(progress.failure(), sizes.as_ref().err().cloned());
        match expected {
            Ok(expected) => {
                assert_eq!(sizes.unwrap(), expected);
                assert_eq!(counters.now().uploaded_bytes, length);
            }
            Err(expected) => assert!(sizes.unwrap_err().contains(expected)),
        }
    }

    #[tokio::test]
    async fn content_of_another_length_than_announced_is_not_sent_as_if_complete() {
        check(&[], 0, Ok(&[])).await;
        check(&[3, 0, 4], 7, Ok(&[3, 4])).await;
        check(&[PIECE + 1], PIECE as u64 + 1, Ok(&[PIECE, 1])).await;
        check(&[3], 4, Err("ends after 3 of 4 bytes")).await;
        check(&[3, 2], 4, Err("longer than the 4 bytes")).await;
    }
}
