//! `vela` turns a closed OHLCV bar into a stored prediction.

pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod feature;
pub mod ingest;
pub mod link;
pub mod observe;
pub mod persist;
pub mod predict;
pub mod source;
pub mod store;
