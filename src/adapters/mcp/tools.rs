//! The spec's tools over MCP: the list, and calls.
//!
//! A tool's answer is the same envelope that REST gives, as `structuredContent` and, for clients and
//! models that read only text, as text. What is wrong with a call's content is a result with `isError`
//! that carries the failure envelope: the model can read it and do better. Only an unknown tool is a
//! JSON-RPC error.

use axum::body::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::about::server_info;
use super::era::Era;
use super::wire::RpcError;
use super::{Mcp, results, viewer};
use crate::adapters::entry::House;
use crate::adapters::handlers::{IDEMPOTENCY_KEY, unreadable_key};
use crate::gate::Caller;
use crate::spec::error::ApiError;
use crate::spec::method::{Call, Input, ToolInfo};

/// How long a client may keep the tool list, in milliseconds: it changes with a new version only.
const LIST_TTL_MS: u32 = 300_000;

/// The results of `tools/list`, written once.
pub struct ToolLists {
    legacy: Bytes,
    modern: Bytes,
}

impl ToolLists {
    /// Writes the lists.
    pub fn new(house: &House) -> Self {
        let tools: Vec<Value> = house
            .entrances
            .iter()
            .filter_map(|entrance| Some(describe(entrance.method.info.tool.as_ref()?)))
            .collect();
        let legacy = json!({"tools": tools});
        let mut modern = legacy.clone();
        modern["resultType"] = json!("complete");
        modern["ttlMs"] = json!(LIST_TTL_MS);
        modern["cacheScope"] = json!("public");
        modern["_meta"] = json!({"io.modelcontextprotocol/serverInfo": server_info()});
        Self {
            legacy: legacy.to_string().into(),
            modern: modern.to_string().into(),
        }
    }

    /// The list for a client of that era.
    pub fn of(&self, era: Era) -> Bytes {
        match era {
            Era::Legacy => self.legacy.clone(),
            Era::Modern => self.modern.clone(),
        }
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

#[derive(Deserialize)]
#[serde(expecting = "an object with name and arguments")]
struct CallParams<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<CallMeta<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CallMeta<'a> {
    #[serde(borrow, default, rename = "idempotencyKey")]
    idempotency_key: Option<Cow<'a, str>>,
}

impl Mcp {
    /// The result of `tools/call`.
    ///
    /// # Errors
    /// Parameters that are not those of a call, or an unknown tool.
    pub(super) async fn call(
        &self,
        headers: HeaderMap,
        caller: Caller,
        era: Era,
        params: Option<&RawValue>,
    ) -> Result<Bytes, RpcError> {
        let params = params.map_or("{}", RawValue::get);
        let params: CallParams<'_> = serde_json::from_str(params).map_err(|error| {
            RpcError::invalid_params(format!("The call could not be read: {error}."))
        })?;
        let Some(&at) = self.tools.get(params.name.as_ref()) else {
            let mut known: Vec<&str> = self.tools.keys().copied().collect();
            known.sort_unstable();
            let message = format!(
                "There is no tool {}; there are {}.",
                params.name,
                known.join(", ")
            );
            return Err(RpcError::invalid_params(message));
        };
        let arguments =
            Bytes::copy_from_slice(params.arguments.map_or("{}", RawValue::get).as_bytes());
        let key = params.meta.and_then(|meta| meta.idempotency_key);
        let answer = self
            .run(at, headers, caller, arguments, key.as_deref())
            .await;
        let info = self.house.entrances[at].method.info;
        Ok(match answer {
            Ok(envelope) if info.tool.as_ref().is_some_and(|tool| tool.view.is_some()) => {
                results::shown(&self.house.parts.assets, &envelope, era).await
            }
            Ok(envelope) => results::plain(&envelope, false, era),
            Err(error) => {
                results::plain(&serde_json::to_vec(&error).unwrap_or_default(), true, era)
            }
        })
    }

    /// Calls the method behind the tool, with the same budget as any other face.
    async fn run(
        &self,
        at: usize,
        headers: HeaderMap,
        caller: Caller,
        arguments: Bytes,
        idempotency_key: Option<&str>,
    ) -> Result<Vec<u8>, ApiError> {
        let entrance = &self.house.entrances[at];
        let admitted = self.house.admit(caller, entrance)?;
        let mut metadata = MetadataMap::from_headers(headers);
        if let Some(key) = idempotency_key {
            let key = MetadataValue::try_from(key).map_err(|_| unreadable_key())?;
            metadata.insert(IDEMPOTENCY_KEY, key);
        }
        match &entrance.method.call {
            Call::Unary(call) => {
                call(Input::Json(arguments), metadata, admitted.into_extensions()).await
            }
            Call::Stream(_) | Call::File(_) => {
                unreachable!("the spec refuses a stream as a tool")
            }
        }
    }
}
