//! Generates the API from `proto/`: messages, services, REST and MCP tables, JSON Schemas, OpenAPI.
//!
//! The emitters are modules of the crate (`src/spec/emit.rs`), borrowed here by path. A second, small
//! proto is compiled for the tests alone: it proves that a method costs nothing but its proto and its
//! handler.

#[path = "src/spec"]
mod spec {
    #[path = "emit.rs"]
    pub mod emit;
    #[expect(dead_code, reason = "the build only documents the table")]
    #[path = "reason.rs"]
    pub mod reason;
}

use std::path::{Path, PathBuf};

fn main() -> Result<(), String> {
    // The migrations are here because the macro that embeds them cannot say so itself.
    let places = [
        "proto",
        "tests/fixtures",
        "src/spec/emit.rs",
        "src/spec/emit",
        "src/spec/reason.rs",
        "src/store/migrations",
    ];
    for place in places {
        println!("cargo::rerun-if-changed={place}");
    }
    let out = PathBuf::from(
        std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?,
    );
    let proto = Path::new("proto");
    let files = [
        "generation",
        "catalog",
        "account",
        "webhook",
        "people",
        "admin",
    ]
    .map(|name| proto.join(format!("piooy/v1/{name}.proto")));
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    spec::emit::compile("piooy.v1", "::piooy::spec::v1", &[proto], &files)?.write(&out)?;

    let fixtures = Path::new("tests/fixtures");
    let echo = fixtures.join("echo.proto");
    spec::emit::compile("echo.v1", "crate::echo::v1", &[fixtures, proto], &[&echo])?
        .write(&out.join("echo"))
}
