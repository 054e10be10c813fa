//! Local servers that speak the languages of the upstreams: their paths, shapes, states, errors and
//! delays, from their documentation. What goes wrong is up to the prompt ([`directive`]).

pub mod comfyui;
pub mod directive;
pub mod engine;
pub mod fal;
pub mod gemini;
pub mod issuer;
pub mod kie;
pub mod listener;
pub mod mishap;
pub mod openai;
pub mod replicate;
