//! `vela` turns a closed OHLCV bar into a stored prediction, on one machine, without async code.
//!
//! ```text
//!             bars                                                              outcomes
//!  source ──────────► ingest ────────► feature ────────► predict ────────► persist ──────────► store
//!  replay, sqlite,    check, order,    one state a       model pool,       batches, retry      sqlite, csv
//!  csv, library       rank by volume   series, cache     ONNX Runtime                          └► subscribers
//! ```
//!
//! Start with [`Engine`]. The modules follow the way of a bar: [`source`], [`ingest`], [`feature`],
//! [`predict`], [`persist`], [`store`]; [`topology`] wires the stages with what [`link`] offers, in the
//! words of [`domain`]. [`serve`] is what can be seen and called from outside.

pub mod alert;
pub mod cli;
pub mod config;
pub mod control;
pub mod database;
pub mod domain;
pub mod engine;
pub mod export;
pub mod feature;
pub mod ingest;
pub mod link;
pub mod observe;
pub mod persist;
pub mod predict;
pub mod serve;
pub mod source;
pub mod store;
pub mod topology;

pub use config::Settings;
pub use engine::{Engine, EngineError, Overrides, Pending, StopReport};
