//! Every integration test, one module a promise, in one binary: it links once and shares one
//! PostgreSQL server.

mod fakes;
mod support;

mod accounts;
mod audit;
mod egress;
mod faces;
mod gate;
mod generation;
mod in_flight;
mod killed;
mod ledger;
mod model;
mod pains;
mod plans;
mod program;
mod replicas;
mod rooms;
mod statement;
mod store;
mod upstreams;
mod webhooks;

/// The package `echo.v1` of `tests/fixtures`; generated code names its own place, which is here.
mod echo {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/echo/echo.v1.rs"));
    }
}
