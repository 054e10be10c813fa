//! Every adapter to an upstream keeps the same promises, shown on a fake that speaks the upstream's
//! language.

mod comfyui;
mod conformance;
mod fal;
