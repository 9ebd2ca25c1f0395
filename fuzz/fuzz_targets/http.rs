//! Any bytes as the head of a request, and as a body in chunks.
//!
//! Nothing panics. A head that is taken is the same whatever follows it, is not taken a byte earlier, and names a path; a
//! body in chunks is the same, and is refused for the same, whatever pieces it comes in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vela::serve::http::{ChunkedBody, HEADERS_MAX, parse_head};

const BODY_BYTES_MAX: usize = 4096;

/// Length, framing and path of the head that `bytes` begin with; the status of a refusal.
fn head(bytes: &[u8]) -> Result<Option<(usize, String)>, u16> {
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let head = parse_head(bytes, &mut room).map_err(|fault| {
        assert!((400..=505).contains(&fault.status) && !fault.detail.is_empty());
        fault.status
    })?;
    Ok(head.map(|head| {
        assert!(head.len <= bytes.len() && bytes[..head.len].ends_with(b"\n"));
        assert!(head.path.starts_with('/') || head.path == "*", "{:?}", head.path);
        assert!(!head.path.contains(['\r', '\n', ' ', '?', '#']));
        (head.len, format!("{:?} {} {:?} {}", head.method, head.path, head.framing, head.host))
    }))
}

/// What a body in pieces of `size` bytes comes to: the body and how much was used of the bytes.
fn body(bytes: &[u8], size: usize) -> Result<(Vec<u8>, usize, bool), u16> {
    let (mut chunked, mut body, mut used) = (ChunkedBody::new(BODY_BYTES_MAX), Vec::new(), 0);
    for piece in bytes.chunks(size) {
        used += chunked.take(piece, &mut body).map_err(|fault| fault.status)?;
        assert!(body.len() <= BODY_BYTES_MAX);
        if chunked.is_done() {
            break;
        }
    }
    Ok((body, used, chunked.is_done()))
}

fuzz_target!(|data: &[u8]| {
    if let Ok(Some((len, said))) = head(data) {
        assert_eq!(head(&data[..len]), Ok(Some((len, said.clone()))));
        assert!(!matches!(head(&data[..len - 1]), Ok(Some(_))));
        assert_eq!(head(&[&data[..len], b"GET / HTTP/1.1\r\n\r\n"].concat()), Ok(Some((len, said))));
    }
    let whole = body(data, data.len().max(1));
    assert_eq!(body(data, 1), whole);
    assert_eq!(body(data, 7), whole);
});
