//! Piooy: one API key and one credit balance for many image and video models.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod assets;
pub mod catalog;
pub mod gate;
pub mod generation;
pub mod ledger;
pub mod providers;
pub mod settings;
pub mod store;
