//! How events go to a client: as messages of a WebSocket, or as Server-Sent Events. Neither ever waits.

use mio::net::TcpStream;
use std::io::{ErrorKind, Read as _, Write as _};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, Utf8Bytes, WebSocket};

/// Bytes that are put together before they are written.
const WRITE_BYTES: usize = 16 * 1024;
/// What may wait to be written at most: one burst; beyond it events wait, and are conflated.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// The longest message that is taken of a client.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The client is gone, or has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// A client's connection.
pub enum Wire {
    /// A WebSocket.
    Socket(Box<WebSocket<TcpStream>>),
    /// Server-Sent Events: what is still to be written, from `at` on.
    Events {
        /// The connection.
        stream: TcpStream,
        /// What is to be written.
        out: Vec<u8>,
        /// How much of it was.
        at: usize,
    },
}

impl Wire {
    /// A WebSocket after its handshake; `rest` was read behind it.
    pub fn socket(stream: TcpStream, rest: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(WRITE_BYTES)
            .max_write_buffer_size(WAITING_BYTES_MAX + WRITE_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Self::Socket(Box::new(WebSocket::from_partially_read(stream, rest, Role::Server, Some(config))))
    }

    /// Server-Sent Events behind an answer's head.
    pub fn events(stream: TcpStream) -> Self {
        Self::Events { stream, out: Vec::new(), at: 0 }
    }

    /// The connection.
    pub fn stream(&mut self) -> &mut TcpStream {
        match self {
            Self::Socket(socket) => socket.get_mut(),
            Self::Events { stream, .. } => stream,
        }
    }

    /// Takes a message; true where what waits could not be written at once.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn send(&mut self, event: &str, id: Option<&str>, json: &Utf8Bytes) -> Result<bool, Gone> {
        match self {
            Self::Socket(socket) => match socket.write(Message::Text(json.clone())) {
                Ok(()) => Ok(false),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(true),
                // What waits is beyond its bound: the client is too far behind for even one more.
                Err(_) => Err(Gone),
            },
            Self::Events { out, .. } => {
                if let Some(id) = id {
                    let _ = writeln!(out, "id: {id}");
                }
                let _ = write!(out, "event: {event}\ndata: {json}\n\n");
                if out.len() >= WRITE_BYTES { self.flush() } else { Ok(false) }
            }
        }
    }

    /// Asks whether the client is there.
    ///
    /// # Errors
    /// When it is gone.
    pub fn ping(&mut self) -> Result<bool, Gone> {
        let Self::Socket(socket) = self else { return Ok(false) };
        match socket.write(Message::Ping(Vec::new().into())) {
            Ok(()) => Ok(false),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(_) => Err(Gone),
        }
    }

    /// Writes what waits; true where some still does.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn flush(&mut self) -> Result<bool, Gone> {
        match self {
            Self::Socket(socket) => match socket.flush() {
                Ok(()) => Ok(false),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(true),
                Err(_) => Err(Gone),
            },
            Self::Events { stream, out, at } => {
                while *at < out.len() {
                    match stream.write(&out[*at..]) {
                        Ok(0) => return Err(Gone),
                        Ok(written) => *at += written,
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                        Err(_) => return Err(Gone),
                    }
                }
                out.clear();
                *at = 0;
                Ok(false)
            }
        }
    }

    /// The next message of the client; `None` where there is none at this moment. One that says nothing is empty.
    ///
    /// # Errors
    /// When the client is gone, or sends what it must not.
    pub fn read(&mut self) -> Result<Option<String>, Gone> {
        match self {
            Self::Socket(socket) => match socket.read() {
                Ok(Message::Text(text)) => Ok(Some(text.as_str().to_owned())),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {
                    Ok(Some(String::new()))
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Ok(Message::Binary(_)) | Err(_) => Err(Gone),
            },
            Self::Events { stream, .. } => {
                let mut block = [0; 1024];
                match stream.read(&mut block) {
                    Ok(0) => Err(Gone),
                    Ok(_) => Ok(Some(String::new())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                    Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Some(String::new())),
                    Err(_) => Err(Gone),
                }
            }
        }
    }
}
