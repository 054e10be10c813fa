//! Every adapter to an upstream keeps the same promises, shown on a fake that speaks the upstream's
//! language; and whatever upstreams do, nobody pays twice.

mod catalogue;
mod chaos;
mod comfyui;
mod conformance;
mod fal;
mod gemini;
mod kie;
mod links;
mod openai;
mod replicate;
