//! A fake of an upstream, to try things by hand: `cargo run --example fake -- fal --port 9101`. It says
//! how to point the server at it.
//!
//! It is the one that the tests use: it speaks its upstream's language, takes no money, and does what
//! prompts ask for (`[fake:submit=busy]`, `[fake:delay=5000ms,job=policy]`; see
//! `tests/suite/fakes/directive.rs`).

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use clap::{Parser, ValueEnum};

#[path = "../tests/suite"]
#[allow(dead_code, reason = "the tests use the rest")]
mod suite {
    pub mod fakes;
}

use suite::fakes;
use suite::fakes::engine::KEY;
use suite::fakes::openai::Kind;

#[derive(Parser)]
struct Arguments {
    /// Whom it speaks like.
    upstream: Upstream,
    /// Where it listens on this machine.
    #[arg(long, default_value_t = 9101)]
    port: u16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Upstream {
    Fal,
    Gemini,
    Openai,
    /// As OpenAI, without keys and with links.
    Sglang,
    Replicate,
    Kie,
    Comfyui,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { upstream, port } = Arguments::parse();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Each serves as long as it is held.
    let _fake: Box<dyn std::any::Any> = match upstream {
        Upstream::Fal => Box::new(fakes::fal::Fal::start_at(at).await),
        Upstream::Gemini => Box::new(fakes::gemini::Gemini::start_at(at).await),
        Upstream::Openai => Box::new(fakes::openai::OpenAi::start_at(at, Kind::OpenAi).await),
        Upstream::Sglang => Box::new(fakes::openai::OpenAi::start_at(at, Kind::Sglang).await),
        Upstream::Replicate => Box::new(fakes::replicate::Replicate::start_at(at).await),
        Upstream::Kie => Box::new(fakes::kie::Kie::start_at(at).await),
        Upstream::Comfyui => Box::new(fakes::comfyui::Comfyui::start_at(at).await),
    };
    let (name, path) = match upstream {
        Upstream::Fal => ("fal", ""),
        Upstream::Gemini => ("gemini", "/v1beta"),
        Upstream::Openai => ("openai", "/v1"),
        Upstream::Sglang => ("sglang", "/v1"),
        Upstream::Replicate => ("replicate", "/v1"),
        Upstream::Kie => ("kie", ""),
        Upstream::Comfyui => ("comfyui", ""),
    };
    println!("It serves until Ctrl-C. In the server's piooy.toml:\n\n[upstreams.{name}]");
    println!("url = \"http://{at}{path}\"");
    if !matches!(upstream, Upstream::Sglang) {
        println!("key = \"{KEY}\"");
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}
