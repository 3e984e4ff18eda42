//! Requests, told apart in what a client sends.

use std::time::Instant;

/// A longer head is no HTTP.
const LONGEST: usize = 64 << 10;

/// One request that came over the link.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub method: String,
    pub path: String,
    /// `bytes=A-B`, if there was one.
    pub range: Option<String>,
    /// The client wants no further answer on this connection.
    pub(super) is_last: bool,
}

impl Request {
    pub(super) fn is_blob(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD") && self.path.contains("/blobs/sha256:")
    }
}

/// A part of the stream, to be forwarded as it is or answered on the way.
pub(super) enum Piece {
    Head(Request, Vec<u8>),
    Body(Vec<u8>),
}

#[derive(Default)]
pub(super) struct Splitter {
    pending: Vec<u8>,
    body: usize,
    /// Not HTTP/1.1 with lengths: everything else goes through unseen.
    is_opaque: bool,
}

impl Splitter {
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant) -> Vec<Piece> {
        self.pending.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while !self.pending.is_empty() {
            if self.is_opaque {
                pieces.push(Piece::Body(std::mem::take(&mut self.pending)));
            } else if self.body > 0 {
                let size = self.body.min(self.pending.len());
                self.body -= size;
                pieces.push(Piece::Body(self.pending.drain(..size).collect()));
            } else if let Some(end) = find(&self.pending, b"\r\n\r\n") {
                let head: Vec<u8> = self.pending.drain(..end + 4).collect();
                match parse(&head, now) {
                    Some((request, body)) => {
                        self.body = body;
                        pieces.push(Piece::Head(request, head));
                    }
                    None => {
                        self.is_opaque = true;
                        pieces.push(Piece::Body(head));
                    }
                }
            } else if self.pending.len() > LONGEST
                || !self.pending.iter().take(3).all(u8::is_ascii_uppercase)
            {
                self.is_opaque = true;
            } else {
                break;
            }
        }
        pieces
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

/// The request and the length of its body.
fn parse(head: &[u8], at: Instant) -> Option<(Request, usize)> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ');
    let mut request = Request {
        at,
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        range: None,
        is_last: false,
    };
    let mut body = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body = value.trim().parse().ok()?,
            "range" => request.range = Some(value.trim().to_owned()),
            "connection" => request.is_last = value.trim().eq_ignore_ascii_case("close"),
            "transfer-encoding" | "upgrade" => return None,
            _ => {}
        }
    }
    Some((request, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_wherever_the_stream_is_cut() {
        let stream = b"GET /v2/r/blobs/sha256:ab HTTP/1.1\r\nRange: bytes=0-9\r\n\r\nPUT /x HTTP/1.1\r\nContent-Length: 31\r\n\r\nGET /not/a/request HTTP/1.1\r\n\r\nHEAD /v2/ HTTP/1.1\r\n\r\n";
        for size in [1, 7, stream.len()] {
            let mut splitter = Splitter::default();
            let (mut paths, mut all) = (Vec::new(), Vec::new());
            for piece in stream
                .chunks(size)
                .flat_map(|part| splitter.feed(part, Instant::now()))
            {
                match piece {
                    Piece::Head(request, bytes) => {
                        assert_eq!(request.is_blob(), request.path.contains("blobs"));
                        assert_eq!(request.range.is_some(), request.is_blob());
                        paths.push(request.path);
                        all.extend(bytes);
                    }
                    Piece::Body(bytes) => all.extend(bytes),
                }
            }
            assert_eq!(paths, ["/v2/r/blobs/sha256:ab", "/x", "/v2/"]);
            assert_eq!(all, stream);
        }
    }

    #[test]
    fn what_is_no_http_goes_through() {
        let mut splitter = Splitter::default();
        let pieces = splitter.feed(b"\x16\x03\x01 hello", Instant::now());
        assert!(
            matches!(pieces.as_slice(), [Piece::Body(bytes)] if bytes == b"\x16\x03\x01 hello")
        );
    }
}
