//! Everything that speaks through public types: one binary, so that ONNX Runtime's loader is linked once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounting;
mod bars;
mod bars_told;
mod cli;
mod config;
mod database;
mod determinism;
mod docs;
mod engine;
mod export;
mod kill;
mod link;
mod models;
mod models_cli;
mod pool;
mod postgres_store;
mod reexec;
mod reports;
mod service;
mod service_support;
mod support;
mod tidy;
mod zoo_replay;
mod zoo_sessions;
