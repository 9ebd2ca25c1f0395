//! Everything that speaks through public types: one binary, so that ONNX Runtime's loader is linked once.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod cli;
mod config;
mod engine;
mod kill;
mod link;
mod service;
mod service_support;
