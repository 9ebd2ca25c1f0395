//! Everything that speaks through public types: one binary, so that ONNX Runtime's loader is linked once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounting;
mod config;
mod determinism;
mod link;
mod support;
mod zoo_replay;
mod zoo_sessions;
