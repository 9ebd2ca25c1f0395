//! Bodies that are sent compressed, and answers that may be: gzip and deflate (zlib's format), as `tritonclient` offers them.

use super::super::http::Request;
use super::super::problem::Problem;
use flate2::Compression;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use std::borrow::Cow;
use std::io::{Read, Write as _};

/// An answer below this is sent as it is: it fits a packet anyhow.
const SMALL_BYTES: usize = 1400;
/// What a client is told to do.
const POSSIBLE: &str = "gzip, deflate, or as it is";

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which HTTP calls deflate.
    Deflate,
}

impl Coding {
    fn parse(name: &str) -> Option<Self> {
        match name {
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => Some(Self::Gzip),
            _ if name.eq_ignore_ascii_case("deflate") => Some(Self::Deflate),
            _ => None,
        }
    }

    /// Its name in a header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// What `bytes` were before they were compressed: at most `bytes_max`, however little they are now.
    fn expand(self, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Problem> {
        let name = self.name();
        let wrong =
            |detail: String| Problem::new(400, "encoding", format!("the body is no {name}: {detail}"));
        // One more than is allowed, to see that there is one.
        let limit = bytes_max as u64 + 1;
        let mut out = Vec::new();
        let (read, left) = match self {
            Self::Gzip => {
                let mut decoder = GzDecoder::new(bytes);
                let read = decoder.by_ref().take(limit).read_to_end(&mut out);
                (read, decoder.into_inner())
            }
            Self::Deflate => {
                let mut decoder = ZlibDecoder::new(bytes);
                let read = decoder.by_ref().take(limit).read_to_end(&mut out);
                (read, decoder.into_inner())
            }
        };
        read.map_err(|error| wrong(error.to_string()))?;
        if out.len() > bytes_max {
            let detail =
                format!("the body is larger than serve.body_bytes_max ({bytes_max}) once it is expanded");
            return Err(Problem::new(413, "too_large", detail));
        }
        if !left.is_empty() {
            return Err(wrong(format!("{} bytes are left behind its end", left.len())));
        }
        Ok(out)
    }

    /// `bytes`, compressed quickly rather than well.
    pub fn compress(self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let room = Vec::with_capacity(bytes.len() / 2);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(room, Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(room, Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

/// The body of a request as it was before it was compressed; `bytes_max` is asked for only where it was.
///
/// # Errors
/// When it is compressed in a way that is not taken, is not what it says, or is too large.
pub fn body<'a>(request: &Request<'a>, bytes_max: impl FnOnce() -> usize) -> Result<Cow<'a, [u8]>, Problem> {
    let encoding = request.text_header("content-encoding").unwrap_or("identity");
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Ok(Cow::Borrowed(request.body));
    }
    let coding = Coding::parse(encoding).ok_or_else(|| {
        let detail = format!("the content encoding `{encoding}` is not taken: send the body as {POSSIBLE}");
        Problem::new(415, "encoding", detail)
    })?;
    coding.expand(request.body, bytes_max()).map(Cow::Owned)
}

/// How an answer of so many bytes is to be compressed: as the request accepts first among those it likes best, if at all.
pub fn accepted(request: &Request<'_>, bytes: usize) -> Option<Coding> {
    (bytes >= SMALL_BYTES).then(|| best(request.text_header("accept-encoding")?))?
}

fn best(accepts: &str) -> Option<Coding> {
    let mut best = None;
    for entry in accepts.split(',') {
        let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let Some(coding) = Coding::parse(name.trim()) else { continue };
        let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if weight > best.map_or(0.0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_back_and_nothing_else_does() {
        let text = b"one two two three three three ".repeat(100);
        for coding in [Coding::Gzip, Coding::Deflate] {
            let small = coding.compress(&text).unwrap();
            assert!(small.len() * 5 < text.len(), "{}", small.len());
            assert_eq!(coding.expand(&small, text.len()).unwrap(), text);
            let status = |bytes: &[u8], max: usize| coding.expand(bytes, max).unwrap_err().status;
            assert_eq!(status(&small, text.len() - 1), 413);
            assert_eq!(status(&small[..small.len() - 1], text.len()), 400, "cut off");
            assert_eq!(status(&[&small[..], b"x"].concat(), text.len()), 400, "more behind it");
            assert_eq!(status(&text, text.len()), 400);
            assert_eq!(status(b"", 10), 400);
            let mut broken = small.clone();
            let last = broken.len() - 6;
            broken[last] ^= 1;
            assert_eq!(status(&broken, text.len()), 400, "its checksum is wrong");
        }
    }

    #[test]
    fn a_bomb_is_expanded_no_further_than_is_allowed() {
        // A thousand times as large as what is sent.
        let bomb = Coding::Gzip.compress(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        assert_eq!(Coding::Gzip.expand(&bomb, 1 << 20).unwrap_err().status, 413);
    }

    #[test]
    fn an_answer_is_compressed_as_its_client_likes_best() {
        for (accepts, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("deflate", Some(Coding::Deflate)),
            ("br, deflate;q=0.5, GZIP;q=0.8", Some(Coding::Gzip)),
            ("gzip;q=0, identity", None),
            ("identity", None),
            ("", None),
            ("*", None),
            ("gzip;q=x", None),
        ] {
            assert_eq!(best(accepts), expected, "{accepts}");
        }
    }
}
