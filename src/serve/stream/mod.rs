//! Predictions as they come.

mod feed;

pub use feed::Feed;
