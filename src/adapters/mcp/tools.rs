//! The spec's tools over MCP: the list, and calls.
//!
//! A tool's answer is the same envelope that REST gives, as `structuredContent` and, for clients and
//! models that read only text, as text. What is wrong with a call's content is a result with `isError`
//! that carries the failure envelope: the model can read it and do better. Only an unknown tool is a
//! JSON-RPC error.

use std::collections::HashMap;

use axum::body::Bytes;
use http::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::era::Era;
use super::lists::List;
use super::params::needed;
use super::wire::{Outcome, RpcError};
use super::{Ask, Mcp, results, stream, tasks, viewer};
use crate::adapters::entry::House;
use crate::adapters::handlers::{IDEMPOTENCY_KEY, unreadable_key};
use crate::spec::error::ApiError;
use crate::spec::method::{Input, ToolInfo};

/// The spec's tools.
pub struct Tools {
    /// The entrances behind them, by name.
    by_name: HashMap<&'static str, usize>,
    /// The result of `tools/list`.
    pub list: List,
}

impl Tools {
    /// Finds the tools, and lists them with `more` of other origin.
    pub fn new(house: &House, more: Vec<Value>) -> Self {
        let tool = |info: &'static crate::spec::method::MethodInfo| info.tool.as_ref();
        let mut described: Vec<Value> = house
            .entrances
            .iter()
            .filter_map(|entrance| Some(describe(tool(entrance.method.info)?)))
            .collect();
        described.extend(more);
        Self {
            by_name: house.index(|info| Some(tool(info)?.name)),
            list: List::new("tools", described),
        }
    }

    fn find(&self, name: &str) -> Result<usize, RpcError> {
        self.by_name.get(name).copied().ok_or_else(|| {
            let mut known: Vec<&str> = self.by_name.keys().copied().collect();
            known.sort_unstable();
            let known = known.join(", ");
            RpcError::invalid_params(format!("There is no tool {name}; there are {known}."))
        })
    }
}

fn describe(tool: &ToolInfo) -> Value {
    let schema = |text: &str| {
        serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!({"type": "object"}))
    };
    let mut described = json!({
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": schema(tool.input_schema),
        "outputSchema": schema(tool.output_schema),
        "annotations": {
            "title": tool.title,
            "readOnlyHint": tool.read_only,
            "destructiveHint": tool.destructive,
            "idempotentHint": tool.idempotent,
            "openWorldHint": tool.open_world,
        },
    });
    if let Some(view) = tool.view {
        described["_meta"] = viewer::meta(view);
    }
    described
}

impl Mcp {
    /// Answers `tools/call`.
    ///
    /// # Errors
    /// Parameters that are not those of a call, or an unknown tool.
    pub(super) async fn call_tool(&self, mut ask: Ask<'_>) -> Result<Outcome, RpcError> {
        let name = needed(&ask.params.name, "name")?;
        let entrance = &self.house.entrances[self.tools.find(name)?];
        let (era, meta) = (ask.era, &ask.params.meta);
        let info = entrance.method.info;
        let as_task = tasks::may_answer(info.name, era, meta);
        let is_seen = info.tool.as_ref().is_some_and(|tool| tool.view.is_some());
        if let Some(key) = meta.idempotency_key.as_deref()
            && let Err(error) = put_idempotency_key(&mut ask.sender.headers, key)
        {
            return Ok(failure(&error, era).into());
        }
        let token = meta.progress_token.filter(|token| is_token(token));
        let token = token.filter(|_| stream::is_accepted(&ask.sender.headers));
        let (sink, progress) = token.map(|_| watch::channel(Default::default())).unzip();
        let arguments = ask.params.arguments.map_or("{}", RawValue::get);
        let input = Input::Json(Bytes::copy_from_slice(arguments.as_bytes()));
        let answer = match self.calls.unary(ask.sender, entrance, input, sink) {
            Ok(answer) => answer,
            Err(error) => return Ok(failure(&error, era).into()),
        };
        let assets = self.house.parts.assets.clone();
        let answer = async move {
            let envelope = match answer.await {
                Ok(envelope) => envelope,
                Err(error) => return Ok(failure(&error, era)),
            };
            if as_task && let Some(task) = tasks::created(&envelope) {
                return Ok(task);
            }
            Ok(match is_seen {
                true => results::shown(&assets, &envelope, false, era).await,
                false => results::plain(&envelope, false, era),
            })
        };
        match (token, progress) {
            (Some(token), Some(progress)) => {
                stream::with_progress(ask.id.get(), token.get(), Box::pin(answer), progress).await
            }
            _ => answer.await.map(Outcome::Result),
        }
    }
}

/// Whether this can be a progress token: a string or a number.
fn is_token(token: &RawValue) -> bool {
    token
        .get()
        .starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// A key in `_meta` goes before one in the headers.
fn put_idempotency_key(headers: &mut HeaderMap, key: &str) -> Result<(), ApiError> {
    let key = key.parse().map_err(|_| unreadable_key())?;
    headers.insert(IDEMPOTENCY_KEY, key);
    Ok(())
}

/// The result of a call that failed.
fn failure(error: &ApiError, era: Era) -> Bytes {
    results::plain(&serde_json::to_vec(error).unwrap_or_default(), true, era)
}
