//! Models: where they lie, what they want, how they are run; `ort` is used here and nowhere else.
//!
//! In the order of a model's life: [`runtime`] brings ONNX Runtime, [`registry`] finds the model's folder,
//! [`manifest`] says what it is, [`signature`] decides how to feed and read it, [`session`] runs it, and
//! [`probe`] finds out in which batches it answers with the same bits, [`golden`] whether it answers as it did
//! where it was trained. The [`Catalogue`] says which models serve which series and by which [`Version`], the
//! [`Pool`] keeps their sessions, the [`Keeper`] follows the folder, and [`PredictStage`] is the pipeline's third.

mod catalogue;
pub mod check;
mod failure;
pub mod golden;
pub mod graph;
mod infer;
mod item;
mod keeper;
pub mod manifest;
mod models;
mod pool;
pub mod probe;
pub mod promotion;
pub mod registry;
mod reuse;
pub mod runtime;
pub mod session;
pub mod signature;
mod stage;
mod stamp;
mod version;

pub use catalogue::{Catalogue, CatalogueModel, FeatureCheck, VERSIONS_MAX};
pub use failure::Failure;
pub use infer::{Described, InferError, Inference, Inferred};
pub use item::{Newest, PredictItem};
pub use keeper::Keeper;
pub use manifest::{BatchingPolicy, Manifest, ManifestError};
pub(crate) use models::pool_limits;
pub use models::{Models, OpenError};
pub use pool::{Content, Loading, Pool, PoolLimits, PoolReading, Slot, Slots};
pub use probe::Batching;
pub use registry::{ModelEntry, Registry};
pub use runtime::{Runtime, RuntimeError};
pub use session::{Artefact, ModelError, Row, RunError, RunLimits, Session, Tensor, TensorData, Terminator};
pub use signature::{Element, Port, Shape};
pub use stage::{PredictKey, PredictStage};
pub use version::{Standing, Version};
