//! Bodies in chunks: taken apart as they come, in one pass however small the pieces are.

use super::head::{Fault, fault};

/// The longest line that a chunk may begin with: its size, and extensions that nobody uses.
const SIZE_LINE_MAX: usize = 256;
/// The most bytes of the fields behind the last chunk, which are read over.
const TRAILER_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Within the line with a chunk's size: what was read of it, and how many bytes.
    Size { value: Option<usize>, extension: bool, read: usize },
    /// So many bytes of a chunk are still to come.
    Data(usize),
    /// The line end behind a chunk.
    End,
    /// Fields behind the last chunk: how many bytes so far, and whether the line is empty still.
    Trailer { read: usize, empty: bool },
    /// It is complete.
    Done,
}

/// Takes a body in chunks apart.
#[derive(Debug)]
pub struct ChunkedBody {
    state: State,
    bytes_max: usize,
}

const FRESH: State = State::Size { value: None, extension: false, read: 0 };

impl ChunkedBody {
    /// For a body of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { state: FRESH, bytes_max }
    }

    /// Whether the body's end was seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes `input`, puts what belongs to the body behind `body`, and says how many bytes were the body's or its
    /// framing: less than all only where the end was among them.
    ///
    /// # Errors
    /// When it is no chunked body, or too large a one.
    pub fn take(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<usize, Fault> {
        let wrong = fault(400, "the chunked body is malformed");
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            let byte = input[at];
            self.state = match self.state {
                State::Data(left) => {
                    let now = left.min(input.len() - at);
                    body.extend_from_slice(&input[at..at + now]);
                    at += now;
                    if left == now { State::End } else { State::Data(left - now) }
                }
                State::Size { value, extension, read } => {
                    at += 1;
                    if read == SIZE_LINE_MAX {
                        return Err(wrong);
                    }
                    let digit = char::from(byte).to_digit(16).map(|digit| digit as usize);
                    match (byte, digit) {
                        (b'\n', _) => match value.ok_or(wrong)? {
                            0 => State::Trailer { read: 0, empty: true },
                            size if size > self.bytes_max - body.len().min(self.bytes_max) => {
                                return Err(fault(413, "the body is larger than serve.body_bytes_max"));
                            }
                            size => State::Data(size),
                        },
                        (_, _) if extension => State::Size { value, extension, read: read + 1 },
                        (_, Some(digit)) => {
                            let grown = value.unwrap_or(0).checked_mul(16).and_then(|v| v.checked_add(digit));
                            let value = Some(grown.ok_or(wrong)?);
                            State::Size { value, extension, read: read + 1 }
                        }
                        (b';' | b'\r', _) if value.is_some() => {
                            State::Size { value, extension: true, read: read + 1 }
                        }
                        _ => return Err(wrong),
                    }
                }
                State::End => {
                    at += 1;
                    match byte {
                        b'\r' => State::End,
                        b'\n' => FRESH,
                        _ => return Err(wrong),
                    }
                }
                State::Trailer { read, empty } => {
                    at += 1;
                    match byte {
                        b'\n' if empty => State::Done,
                        _ if read == TRAILER_MAX => return Err(wrong),
                        b'\n' => State::Trailer { read: read + 1, empty: true },
                        b'\r' => State::Trailer { read: read + 1, empty },
                        _ => State::Trailer { read: read + 1, empty: false },
                    }
                }
                State::Done => State::Done,
            };
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_give_the_same_body() {
        let wire = b"4\r\nWiki\r\n6;name=value\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX: y\r\n\r\nGET";
        for piece in [1, 2, 3, 7, wire.len()] {
            let (mut chunked, mut body, mut used) = (ChunkedBody::new(100), Vec::new(), 0);
            for part in wire.chunks(piece) {
                used += chunked.take(part, &mut body).unwrap();
            }
            assert!(chunked.is_done());
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(&wire[used..], b"GET");
        }
    }

    #[test]
    fn what_is_malformed_or_too_large_is_refused() {
        for (wire, status) in [
            (&b"x\r\n"[..], 400),
            (b"\r\n", 400),
            (b"ffffffffffffffffff\r\n", 400),
            (b"4\r\nabcdX", 400),
            (b"65\r\n", 413),
            (b"60\r\n", 0),
            (b"-1\r\n", 400),
            (b"1 2\r\n", 400),
        ] {
            let result = ChunkedBody::new(100).take(wire, &mut Vec::new());
            assert_eq!(result.err().map_or(0, |fault| fault.status), status, "{wire:?}");
        }
        let line = [b"1;".to_vec(), vec![b'a'; 300]].concat();
        assert!(ChunkedBody::new(100).take(&line, &mut Vec::new()).is_err());
        let trailer = [b"0\r\n".to_vec(), vec![b'a'; 5000]].concat();
        assert!(ChunkedBody::new(100).take(&trailer, &mut Vec::new()).is_err());
    }
}
