//! What the official conformance suite looks for on a server: tools, prompts, resources and tasks that
//! do nothing but show the protocol. Compiled with the feature `conformance` alone, never into a server
//! that people use.
//!
//! The seam is narrow: [`lists`] adds to what is listed, [`Fixtures::outcome`] is asked before the
//! product and answers what is its own, and [`Fixtures::hear`] gets the answers that legacy clients post.
//! Whatever is said goes through the product's own wire, so that this is what is tested.

use axum::body::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::era::Era;
use super::lists::{self, Keep};
use super::wire::{Incoming, Outcome, RpcError};
use super::{Ask, era};

mod asking;
mod content;
mod tasks;
mod telling;

use tasks::Tasks;
use telling::Telling;

/// What is listed, as the suite wants it.
const LISTS: &str = include_str!("fixtures/lists.json");

/// Tools, resources, resource templates and prompts.
pub fn lists() -> (Vec<Value>, Vec<Value>, Vec<Value>, Vec<Value>) {
    let mut lists: Value = serde_json::from_str(LISTS).expect("the file is JSON");
    let mut list = |name: &str| match lists[name].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    (
        list("tools"),
        list("resources"),
        list("templates"),
        list("prompts"),
    )
}

/// See above.
#[derive(Default)]
pub struct Fixtures {
    telling: Telling,
    tasks: Tasks,
}

impl Fixtures {
    /// Takes the answer of a client to what a tool asked it.
    pub fn hear(&self, incoming: &Incoming<'_>) {
        if let (Some(id), Some(result)) = (incoming.id, incoming.result) {
            self.telling.hear(id.get(), result.get());
        }
    }

    /// What comes of a request, if it is for a fixture.
    pub async fn outcome(
        &self,
        ask: &Ask<'_>,
        params: Option<&RawValue>,
    ) -> Option<Result<Outcome, RpcError>> {
        let params: Value = params
            .and_then(|params| serde_json::from_str(params.get()).ok())
            .unwrap_or_default();
        let result = match ask.method {
            "tools/call" => return self.call(ask, &params).await,
            "prompts/get" => asking::prompt(&params).or_else(|| content::prompt(&params))?,
            "resources/read" => content::resource(&params)?,
            "resources/subscribe" | "resources/unsubscribe" if ask.era == Era::Legacy => json!({}),
            "completion/complete" => content::completion(&params)?,
            "tasks/get" | "tasks/update" | "tasks/cancel" => {
                return self.tasks.outcome(ask, &params);
            }
            _ => return None,
        };
        let keep = match ask.method {
            "resources/read" => Keep::Public(0),
            _ => Keep::Unsaid,
        };
        Some(Ok(written(&result, ask.era, keep).into()))
    }

    async fn call(&self, ask: &Ask<'_>, params: &Value) -> Option<Result<Outcome, RpcError>> {
        let name = params["name"].as_str()?;
        let needs = |capability: &str, required: Value| {
            let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
            let message = format!("{name} needs {capability}.");
            let missing = declared[capability].is_null();
            missing.then(|| RpcError::missing_capability(message, required))
        };
        if name == "test_missing_capability"
            && let Some(error) = needs("sampling", json!({"sampling": {}}))
        {
            return Some(Err(error));
        }
        if name == "test_header_parameter" {
            let region = params["arguments"]["region"].as_str().unwrap_or_default();
            if !era::carries(&ask.sender.headers, "mcp-param-region", region) {
                let message = "The header Mcp-Param-Region must be what arguments.region is.";
                return Some(Err(RpcError::header_mismatch(message)));
            }
        }
        if let Some(asked) = asking::tool(name, params) {
            return Some(asked.map(|result| written(&result, ask.era, Keep::Unsaid).into()));
        }
        if let Some(outcome) = self.tasks.call(ask, name, params).await {
            return Some(outcome);
        }
        if let Some(outcome) = self.telling.call(ask, name, params) {
            return Some(Ok(outcome));
        }
        let result = content::tool(name, &params["arguments"])?;
        Some(Ok(written(&result, ask.era, Keep::Unsaid).into()))
    }
}

/// A result for a client of that era. One that says its own type is left alone.
fn written(result: &Value, era: Era, keep: Keep) -> Bytes {
    if !result["resultType"].is_null() {
        return result.to_string().into();
    }
    let text = result.to_string();
    let fields = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    lists::result(fields.unwrap_or_default(), era, keep)
}
