//! Every integration test, one module a promise, in one binary: it links once and shares one
//! PostgreSQL server.

mod support;

mod accounts;
mod gate;
mod generation;
mod ledger;
mod store;
