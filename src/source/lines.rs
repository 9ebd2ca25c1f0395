//! Lines of a text file, in pieces: forwards while the file grows, and backwards from its end.
//!
//! The file is opened for every piece and closed again: thousands of files can be read side by side without
//! running out of descriptors, at the price of one `open` for 32 KiB.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Bytes that one read asks for: some 500 bars.
const PIECE_BYTES: usize = 32 * 1024;
/// The longest line that is taken; what is longer is no bar but a broken file.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A forward reader of complete lines; at the end of the file it can be asked again when the file has grown.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    held: Vec<u8>,
    /// Index in `held` of the next line.
    next: usize,
    /// Index in `held` up to which no line end was found.
    searched: usize,
    /// Offset in the file of the end of `held`.
    end: u64,
    /// Whether the line that was taken last had no line end.
    open_ended: bool,
}

impl Lines {
    /// Reads `path` from the byte `offset`, which must be the first one of a line.
    pub(super) fn new(path: &Path, offset: u64) -> Self {
        Self { path: path.to_owned(), held: Vec::new(), next: 0, searched: 0, end: offset, open_ended: false }
    }

    /// How much of the file has been read, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether the line that was taken last had no line end: it may have been cut short anywhere.
    pub(super) fn is_open_ended(&self) -> bool {
        self.open_ended
    }

    /// The offset in the file of the next line, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.end - (self.held.len() - self.next) as u64
    }

    /// The offset and text of the next line that has its line end (which is cut off, with a CR before it);
    /// `None` when the file has no further one now.
    pub(super) fn next_line(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        Ok(self.find_end()?.map(|end| self.take(end, end + 1)))
    }

    /// The next line, or at the end of the file what stands there without a line end; `None` behind it.
    pub(super) fn next_or_rest(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        if let Some(end) = self.find_end()? {
            return Ok(Some(self.take(end, end + 1)));
        }
        let end = self.held.len();
        Ok((self.next < end).then(|| self.take(end, end)))
    }

    fn find_end(&mut self) -> io::Result<Option<usize>> {
        loop {
            if let Some(found) = self.held[self.searched..].iter().position(|b| *b == b'\n') {
                return Ok(Some(self.searched + found));
            }
            self.searched = self.held.len();
            if !self.read_piece()? {
                return Ok(None);
            }
        }
    }

    fn take(&mut self, end: usize, next: usize) -> (u64, &[u8]) {
        let (offset, start) = (self.offset(), self.next);
        self.next = next;
        self.searched = next;
        self.open_ended = next == end;
        let line = &self.held[start..end];
        (offset, line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Appends what the file has behind `end`; false when there is nothing.
    fn read_piece(&mut self) -> io::Result<bool> {
        self.held.drain(..self.next);
        self.searched -= self.next;
        self.next = 0;
        if self.held.len() > LINE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line is longer than {LINE_BYTES_MAX} bytes"),
            ));
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.end))?;
        let read = file.take(PIECE_BYTES as u64).read_to_end(&mut self.held)?;
        self.end += read as u64;
        if self.held.is_empty() {
            // A file that nobody writes to for now holds no memory.
            self.held = Vec::new();
        }
        Ok(read > 0)
    }
}

/// Gives the lines of `path` up to the byte `end` to `each`, the last one first, each with its offset,
/// until it breaks. The first call is for what stands behind the last line end (empty in a file that ends with one).
pub(super) fn backwards(
    path: &Path,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut start = end;
    let mut held: Vec<u8> = Vec::new();
    loop {
        let size = start.min(PIECE_BYTES as u64);
        start -= size;
        let mut piece = vec![0; size as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut piece)?;
        piece.append(&mut held);
        held = piece;
        while let Some(line_end) = held.iter().rposition(|b| *b == b'\n') {
            let line = &held[line_end + 1..];
            let flow = each(start + line_end as u64 + 1, line.strip_suffix(b"\r").unwrap_or(line));
            held.truncate(line_end);
            if flow.is_break() {
                return Ok(());
            }
        }
        if start == 0 {
            let line = &held[..];
            let _ = each(0, line.strip_suffix(b"\r").unwrap_or(line));
            return Ok(());
        }
        if held.len() > LINE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line is longer than {LINE_BYTES_MAX} bytes"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn all(lines: &mut Lines) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        while let Some((offset, line)) = lines.next_line().unwrap() {
            out.push((offset, String::from_utf8(line.to_vec()).unwrap()));
        }
        out
    }

    #[test]
    fn forwards_and_backwards_see_the_same_lines_at_the_same_offsets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        // Lines of many lengths, so that their ends fall everywhere around the ends of the pieces.
        let text: String = (0..4000).map(|i| format!("{}\r\n", "x".repeat(i % 97))).collect();
        std::fs::write(&path, &text).unwrap();
        let forward = all(&mut Lines::new(&path, 0));
        assert_eq!(forward.len(), 4000);
        let mut backward = Vec::new();
        backwards(&path, text.len() as u64, |offset, line| {
            backward.push((offset, String::from_utf8(line.to_vec()).unwrap()));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(backward.remove(0), (text.len() as u64, String::new()));
        backward.reverse();
        assert_eq!(forward, backward);
    }

    #[test]
    fn a_half_written_line_waits_for_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "one\ntw").unwrap();
        let mut lines = Lines::new(&path, 0);
        assert_eq!(all(&mut lines), [(0, "one".to_owned())]);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"o\nthree").unwrap();
        assert_eq!(all(&mut lines), [(4, "two".to_owned())]);
        assert_eq!(lines.next_or_rest().unwrap(), Some((8, &b"three"[..])));
        assert_eq!(lines.next_or_rest().unwrap(), None);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, vec![b'x'; LINE_BYTES_MAX + 2 * PIECE_BYTES]).unwrap();
        assert!(Lines::new(&path, 0).next_line().is_err());
    }
}
