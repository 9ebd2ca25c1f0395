//! What one can see and call from outside: HTTP, with the REST interface, metrics, and the stream of predictions.
//!
//! ```text
//! http/       sockets, bounds, requests and answers: knows nothing of what is served
//! access      who may ask: host, origin
//! token       and the token, whose file may be replaced
//! routes      THE table: what is answered, by whom, who may ask
//! handler     from a request to its route's answer
//! service     everything that answers need
//! api/        the REST interface, one file for each thing that can be asked about
//! oip/        the Open Inference Protocol
//! prometheus  /metrics
//! recent      the newest outcomes in memory, numbered
//! stream/     predictions as they come
//! page        what a browser is shown
//! ```
//!
//! It stands beside the engine and is no part of a bar's way: outcomes come over a bounded channel, and what does not
//! fit is counted, not waited for.

mod access;
mod api;
mod handler;
pub mod http;
pub mod oip;
mod outcome;
mod page;
mod problem;
mod prometheus;
mod recent;
mod routes;
mod service;
mod stream;
mod token;
mod traffic;

pub use access::{Access, Guard};
pub use api::openapi::DOCUMENT;
pub use routes::ROUTES;
pub use token::TOKEN_VARIABLE;

use crate::config::ServeSettings;
use crate::engine::Engine;
use http::{HttpServer, Limits};
use recent::Recent;
use service::Service;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use stream::hub::Hub;
use traffic::Traffic;

/// Requests a second of one client where other machines can connect and nobody says how many.
const PUBLIC_REQUESTS_PER_S: u64 = 1000;

/// Why it is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could connect who must not, or the token is unusable.
    #[error("{0}")]
    Access(String),
    /// The address cannot be listened at.
    #[error(
        "serve.listen = \"{address}\" cannot be listened at: {source}. Another program has it? Choose another \
             (--set serve.listen=127.0.0.1:PORT), or none (--set serve.listen=)"
    )]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("there is no thread to serve with: {0}")]
    Thread(std::io::Error),
}

/// A server at work.
pub struct Server {
    http: HttpServer,
    hub: Arc<Hub>,
}

impl Server {
    /// Serves `engine` as its settings say; `None` where they say nowhere.
    ///
    /// # Errors
    /// When the address cannot be listened at, or would let in whom it must not.
    pub fn start(engine: &Arc<Engine>) -> Result<Option<Self>, ServeError> {
        let all = engine.settings();
        let settings = &all.serve;
        if settings.listen.is_empty() {
            return Ok(None);
        }
        let listen = |source| ServeError::Listen { address: settings.listen.clone(), source };
        let address: SocketAddr =
            settings.listen.parse().map_err(|_| listen(std::io::ErrorKind::InvalidInput.into()))?;
        // Before the socket is open: nobody gets in for a moment.
        Access::new(settings, address, token()).map_err(ServeError::Access)?;
        let listener = TcpListener::bind(address).map_err(listen)?;
        Self::start_on(engine, listener).map(Some)
    }

    /// Serves `engine` on a socket that listens already.
    ///
    /// # Errors
    /// When its address would let in whom it must not, or there is no thread.
    pub fn start_on(engine: &Arc<Engine>, listener: TcpListener) -> Result<Self, ServeError> {
        let all = engine.settings();
        let settings = &all.serve;
        let address = listener.local_addr().map_err(ServeError::Thread)?;
        let access = Access::new(settings, address, token()).map_err(ServeError::Access)?;
        let limits = limits(settings, access.is_local());
        let recent =
            Arc::new(Recent::new(settings.recent_max, engine.settings().ingest.symbol_aliases.clone()));
        let hub = Arc::new(Hub::start(engine, Arc::clone(&recent)).map_err(ServeError::Thread)?);
        let routes = ROUTES.iter().map(|route| (route.method.name(), route.pattern));
        let traffic = Traffic::new(routes);
        let service = Service::new(Arc::clone(engine), access, recent, Arc::clone(&hub), traffic);
        let service = Arc::new(service);
        let handler = Arc::clone(&service);
        let http = HttpServer::start(listener, limits, handler).map_err(ServeError::Thread)?;
        // Nobody else sets it.
        let _ = service.connections.set(Arc::clone(http.counts()));
        tracing::info!(%address, "HTTP is served");
        Ok(Self { http, hub })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.http.address()
    }

    /// The listening socket, until it is stopped.
    pub fn listener(&self) -> Option<Arc<TcpListener>> {
        self.http.listener()
    }

    /// Stops: answers that are on their way are sent, then all connections end.
    pub fn stop(&self) {
        self.http.stop();
        self.hub.stop();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn token() -> Option<String> {
    std::env::var(TOKEN_VARIABLE).ok()
}

fn limits(settings: &ServeSettings, local: bool) -> Limits {
    let requests_per_s_max = match settings.requests_per_s_max {
        0 if !local => PUBLIC_REQUESTS_PER_S,
        per_s => per_s,
    };
    Limits {
        connections_max: settings.connections_max,
        head_bytes_max: settings.head_bytes_max,
        body_bytes_max: settings.body_bytes_max,
        head_deadline: Duration::from_millis(settings.head_deadline_ms),
        transfer_deadline: Duration::from_millis(settings.transfer_deadline_ms),
        idle_max: Duration::from_secs(settings.idle_s),
        requests_per_s_max,
    }
}
