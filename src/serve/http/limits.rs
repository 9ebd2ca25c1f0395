//! What a client may ask of the server: every bound of a connection, in one place.

use std::time::Duration;

/// The most headers of a request.
pub const HEADERS_MAX: usize = 64;

/// The bounds of one server's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time, streams not counted.
    pub connections_max: usize,
    /// Bytes of a request's first line and headers.
    pub head_bytes_max: usize,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// From a request's first byte to the end of its headers.
    pub head_deadline: Duration,
    /// From the end of a request's headers to the end of its body; the same for sending an answer.
    pub transfer_deadline: Duration,
    /// How long a connection may stay open without a request.
    pub idle_max: Duration,
    /// Requests a second of one client's address; 0: as many as it sends.
    pub requests_per_s_max: u64,
}

impl Limits {
    /// How often a connection that waits looks at its deadlines.
    pub(super) fn tick(&self) -> Duration {
        let shortest = self.head_deadline.min(self.transfer_deadline).min(self.idle_max);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            head_bytes_max: 16 * 1024,
            body_bytes_max: 4 * 1024 * 1024,
            head_deadline: Duration::from_secs(5),
            transfer_deadline: Duration::from_secs(30),
            idle_max: Duration::from_secs(60),
            requests_per_s_max: 0,
        }
    }
}
