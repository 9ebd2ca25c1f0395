//! What is served: everything that answers need.

use super::access::Access;
use super::http::Counts;
use super::oip::stats::Stats;
use super::recent::Recent;
use super::stream::hub::Hub;
use super::traffic::Traffic;
use crate::engine::Engine;
use crate::predict::Inference;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// What a route's pattern caught, in its order.
pub type Captures<'a> = Vec<Cow<'a, str>>;

/// Everything that answers need.
pub struct Service {
    /// What is asked.
    pub engine: Arc<Engine>,
    /// Who may ask.
    pub access: Access,
    /// The newest outcomes.
    pub recent: Arc<Recent>,
    /// Who is told of predictions as they come.
    pub hub: Arc<Hub>,
    /// The models, for callers with tensors of their own.
    pub inference: Inference,
    /// What came of that so far.
    pub stats: Stats,
    /// What was asked so far.
    pub traffic: Traffic,
    /// What the connections did so far; set once they are there.
    pub connections: OnceLock<Arc<Counts>>,
}

impl Service {
    /// A service of `engine`; `traffic` knows the routes.
    pub fn new(
        engine: Arc<Engine>,
        access: Access,
        recent: Arc<Recent>,
        hub: Arc<Hub>,
        traffic: Traffic,
    ) -> Self {
        let inference = engine.inference(engine.settings().serve.sessions_max);
        let stats = Stats::default();
        Self { engine, access, recent, hub, inference, stats, traffic, connections: OnceLock::new() }
    }
}
