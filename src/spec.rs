//! The API as generated from `proto/`, and the little that the generated code leans on.
//!
//! | module | holds |
//! |---|---|
//! | [`v1`] | messages, tonic services and clients, `register`, `METHODS` |
//! | [`method`] | methods and handlers in one plain shape, for every face |
//! | [`json`] | JSON of the messages: lenient in, strict out |
//! | [`body`] | answers that are files |
//! | [`validate`] | limits on fields |
//! | [`reason`], [`error`] | the one table of failures, and a failure |
//!
//! The emitters (`emit/`) belong to the build script.

pub mod body;
pub mod error;
pub mod json;
pub mod method;
pub mod reason;
pub mod validate;

#[cfg(test)]
mod emit;

/// The package `piooy.v1`.
#[allow(missing_docs, reason = "tonic and prost add modules of their own")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/piooy.v1.rs"));
}

/// The descriptors of the API, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The OpenAPI 3.1 document, as JSON.
pub const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));
