//! The faces, asked from outside: the real server on a port of its own, real HTTP, real gRPC.
//!
//! | module | promise |
//! |---|---|
//! | [`one_method`], [`panics`] | a method is a proto and a handler; all the rest follows |
//! | [`every_method`], [`every_error`] | the faces say the same |
//! | [`documents`] | what is committed is what the code says |
//! | [`quotes`] | a price that was quoted holds, whichever face asked |
//! | [`uploads`] | a picture can be sent ahead, with a key or by a link |
//! | [`rate`] | one budget for all faces |
//! | [`keys`] | no key makes or revokes one that may do more |
//! | [`credits`] | credits are granted, spent in time or gone, and all of it can be read |
//! | [`signin`], [`oidc`], [`sessions`], [`members`], [`settings`], [`generate`] | people sign in, make pictures, stay signed in, and do what their role allows |
//! | [`admin`] | operators administer, whichever way they come, and it is written down; nobody else does |
//! | [`availability`] | models are offered where they would run, and whoever asks hears what is wrong elsewhere |
//! | [`reload`] | the models change while the server runs |
//! | [`discovery`] | who looks for the server finds it |
//! | [`pages`] | people see what the API says, whole and without scripts |
//! | [`usage`], [`webhook_pages`] | what was spent and who is told is seen by all members, and changed by owners |
//! | [`bridge`] | programs that speak over standard input reach the server, through its restarts |
//! | [`rest`], [`rest_tasks`], [`files`], [`grpc`], [`mcp`], [`mcp_modern`], [`mcp_reading`], [`mcp_streams`], [`mcp_tasks`], [`mcp_sse`] | each face keeps the rules of its protocol |
//! | [`webhooks`] | callers are told of ends, and nobody else is |
//! | [`mcp_fuzz`] | nothing that is posted breaks the server |
//! | [`mcp_rmcp`] | the official Rust client of MCP understands the server |
//! | [`mcp_tools`] | tools lead a model right, wait, and show what was made |
//!
//! MCP is spoken as raw JSON over HTTP, but for [`mcp_rmcp`], which lets an official client speak.

mod admin;
mod answers;
mod availability;
mod bridge;
mod browser;
mod credits;
mod discovery;
mod documents;
mod echo;
mod every_error;
mod every_method;
mod files;
mod generate;
mod grpc;
mod keys;
mod mcp;
mod mcp_fuzz;
mod mcp_modern;
mod mcp_reading;
mod mcp_rmcp;
mod mcp_sse;
mod mcp_streams;
mod mcp_tasks;
mod mcp_tools;
mod members;
mod oidc;
mod one_method;
mod pages;
mod panics;
mod quotes;
mod rate;
mod reload;
mod rest;
mod rest_tasks;
mod server;
mod sessions;
mod settings;
mod signin;
mod uploads;
mod usage;
mod webhook_pages;
mod webhooks;
