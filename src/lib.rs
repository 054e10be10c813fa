//! Piooy: one API key and one credit balance for many image and video models.
#![forbid(unsafe_code)]

// Generated code names this crate from outside, so that tests can include such code too.
extern crate self as piooy;

pub mod accounts;
pub mod adapters;
pub mod assets;
pub mod catalog;
pub mod cli;
pub mod egress;
pub mod gate;
pub mod generation;
pub mod ledger;
pub mod operator;
pub mod people;
pub mod providers;
pub mod settings;
pub mod spec;
pub mod store;
pub mod webhooks;
