//! Bars out of a real PostgreSQL: every one is seen once and predicted once, whatever happens to the database.

mod faults;
mod later;
mod live;
mod pooled;
mod replaced;
mod scene;
mod tables;

pub use scene::Scene;
