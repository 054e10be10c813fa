//! Piooy: one API key and one credit balance for many image and video models.
#![forbid(unsafe_code)]

<<<<<<< HEAD
// Generated code names this crate from outside, so that tests can include such code too.
extern crate self as piooy;

pub mod assets;
pub mod ledger;
pub mod settings;
pub mod spec;
=======
pub mod accounts;
pub mod gate;
>>>>>>> accounts
pub mod store;
