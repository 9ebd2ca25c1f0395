//! Models: where they lie, what they want, how they are run; `ort` is used here and nowhere else.
//!
//! In the order of a model's life: [`runtime`] brings ONNX Runtime, [`registry`] finds the model's folder,
//! [`manifest`] says what it is, [`signature`] decides how to feed and read it, [`session`] runs it, and
//! [`probe`] finds out in which batches it answers with the same bits. The [`Catalogue`] says which models
//! serve which series, the [`Pool`] keeps their sessions, and [`PredictStage`] is the pipeline's third.

mod catalogue;
pub mod external;
pub mod manifest;
mod models;
mod pool;
pub mod probe;
pub mod registry;
pub mod runtime;
pub mod session;
pub mod signature;
mod stage;

pub use catalogue::{Catalogue, CatalogueArtefact, CatalogueModel};
pub use manifest::{BatchingPolicy, Manifest, ManifestError};
pub use models::{Models, OpenError};
pub use pool::{Pool, PoolReading};
pub use probe::Batching;
pub use registry::{ModelEntry, Registry};
pub use runtime::{Runtime, RuntimeError};
pub use session::{Artefact, ModelError, Row, RunError, Session, Terminator};
pub use stage::{PredictKey, PredictStage};
