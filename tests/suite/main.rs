

mod config;
