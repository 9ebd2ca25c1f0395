//! What looks after the system while it runs: health by rules, and the webhook that alerts go to.

pub mod health;
mod rules;
pub mod webhook;
