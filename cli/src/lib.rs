//! The index tool: builds, converts, pushes and checks SOCI indexes, with or without containerd.

mod args;
mod catalog;
mod commands;
mod content;
mod digest;
mod error;
mod exit;
mod graph;
mod hosts;
mod image;
mod labels;
mod location;
mod output;
mod pipeline;
mod platform;
mod profile;
mod progress;
mod reach;
mod run;
mod store;
mod time;

pub use run::main;
