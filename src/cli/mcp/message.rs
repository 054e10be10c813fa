//! A line from the client, and what must be known of it to send it over HTTP. The text itself goes on
//! as it is, so that what this program has never heard of passes too.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

/// The header that names the revision; legacy requests have the one that `initialize` agreed on.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");

const METHOD_HEADER: HeaderName = HeaderName::from_static("mcp-method");
const NAME_HEADER: HeaderName = HeaderName::from_static("mcp-name");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// JSON-RPC: the text is not JSON.
const PARSE_ERROR: i64 = -32700;

/// JSON-RPC: something that is nobody's fault here.
pub const INTERNAL_ERROR: i64 = -32603;

/// A message on its way to the server.
#[derive(Debug)]
pub struct Message {
    /// What is sent.
    pub text: Bytes,
    /// The request's id as its text; absent for what has no answer.
    pub id: Option<String>,
    /// The request that is cancelled by this, as its text.
    pub cancels: Option<String>,
    /// Whether it begins a session.
    pub initializes: bool,
    /// Whether it is answered for as long as the client listens.
    pub listens: bool,
    /// What belongs into the headers.
    pub headers: HeaderMap,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "taskId")]
    task_id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'a RawValue>,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Deserialize, Default)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
    #[serde(rename = "idempotencyKey")]
    idempotency_key: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct Arguments {
    #[serde(alias = "idempotencyKey")]
    idempotency_key: Option<IgnoredAny>,
}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    /// The answer to a line that is not JSON.
    pub fn read(line: Vec<u8>) -> Result<Self, Bytes> {
        let text = Bytes::from(line);
        if text.trim_ascii_start().first() == Some(&b'[') {
            // A batch (2025-03-26): the server answers it as one, in one list.
            let id = Some("null".to_owned());
            return Ok(Self::plain(text, id));
        }
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(&text) else {
            return Err(error(
                "null",
                PARSE_ERROR,
                "This line is not a JSON-RPC message.",
                None,
            ));
        };
        let Some(method) = envelope.method.as_deref() else {
            return Ok(Self::plain(text.clone(), None));
        };
        let params: Params<'_> = envelope
            .params
            .and_then(|params| serde_json::from_str(params.get()).ok())
            .unwrap_or_default();
        let cancels = params
            .request_id
            .filter(|_| method == "notifications/cancelled")
            .map(|id| id.get().to_owned());
        let (initializes, listens) = (method == "initialize", method == "subscriptions/listen");
        let headers = headers(method, &params);
        Ok(Self {
            id: envelope.id.map(|id| id.get().to_owned()),
            cancels,
            initializes,
            listens,
            headers,
            text: text.clone(),
        })
    }

    fn plain(text: Bytes, id: Option<String>) -> Self {
        Self {
            text,
            id,
            cancels: None,
            initializes: false,
            listens: false,
            headers: HeaderMap::new(),
        }
    }
}

/// What a modern request says in its headers too (MCP 2026-07-28, "Streamable HTTP"), and for a call a
/// key under which it may be sent again without being made and charged twice.
fn headers(method: &str, params: &Params<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let meta = params.meta.as_ref();
    if let Some(version) = meta.and_then(|meta| meta.version.as_deref()) {
        headers.extend(HeaderValue::from_str(version).map(|value| (VERSION_HEADER, value)));
        headers.extend(HeaderValue::from_str(method).map(|value| (METHOD_HEADER, value)));
        let name = match method {
            "tools/call" | "prompts/get" => &params.name,
            "resources/read" => &params.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => &params.task_id,
            _ => &None,
        };
        headers.extend(name.as_deref().map(|name| (NAME_HEADER, name_value(name))));
    }
    let has_key = params.arguments.idempotency_key.is_some()
        || meta.is_some_and(|meta| meta.idempotency_key.is_some());
    if method == "tools/call" && !has_key {
        let mut text = Uuid::encode_buffer();
        let key = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        headers.extend(HeaderValue::from_str(key).map(|value| (IDEMPOTENCY_KEY, value)));
    }
    headers
}

/// A name as a header's value: as it is, or as `=?base64?…?=` where it would not come through.
fn name_value(name: &str) -> HeaderValue {
    let plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && name.trim() == name
        && !name.starts_with("=?base64?");
    let encoded = || format!("=?base64?{}?=", STANDARD.encode(name));
    let text = if plain { name.to_owned() } else { encoded() };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// The line that tells a failure.
pub fn error(id: &str, code: i64, message: &str, data: Option<&Value>) -> Bytes {
    let mut body = json!({"code": code, "message": message});
    if let Some(data) = data {
        body["data"] = data.clone();
    }
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{body}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &Value) -> Message {
        Message::read(message.to_string().into_bytes()).expect("is JSON")
    }

    fn header(message: &Message, name: &str) -> String {
        let value = message.headers.get(name).map(|value| value.to_str());
        value
            .transpose()
            .expect("is text")
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn a_modern_request_says_in_headers_what_it_says_inside() {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        let table = [
            ("tools/call", json!({"name": "paint"}), "paint"),
            (
                "resources/read",
                json!({"uri": "piooy://tasks/1"}),
                "piooy://tasks/1",
            ),
            ("tasks/get", json!({"taskId": "7"}), "7"),
            ("prompts/get", json!({"name": "clé"}), "=?base64?Y2zDqQ==?="),
            ("prompts/get", json!({"name": " x"}), "=?base64?IHg=?="),
            (
                "prompts/get",
                json!({"name": "=?base64?"}),
                "=?base64?PT9iYXNlNjQ/?=",
            ),
            ("tools/list", json!({"name": "x"}), ""),
        ];
        for (method, mut params, name) in table {
            params["_meta"] = meta.clone();
            let message =
                read(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
            assert_eq!(header(&message, "mcp-protocol-version"), "2026-07-28");
            assert_eq!(header(&message, "mcp-method"), method);
            assert_eq!(header(&message, "mcp-name"), name);
        }
        let legacy = read(&json!({"id": 1, "method": "tools/call", "params": {"name": "paint"}}));
        assert_eq!(header(&legacy, "mcp-method"), "");
    }

    #[test]
    fn a_call_has_a_key_of_its_own_unless_it_brings_one() {
        let call =
            |params: Value| read(&json!({"id": "a", "method": "tools/call", "params": params}));
        let (one, other) = (call(json!({"name": "x"})), call(json!({"name": "x"})));
        assert_eq!(header(&one, "idempotency-key").len(), 36);
        assert_ne!(
            header(&one, "idempotency-key"),
            header(&other, "idempotency-key")
        );
        for brings in [
            json!({"arguments": {"idempotency_key": "k"}}),
            json!({"arguments": {"idempotencyKey": "k"}}),
            json!({"_meta": {"idempotencyKey": "k"}}),
        ] {
            assert_eq!(header(&call(brings), "idempotency-key"), "");
        }
    }

    #[test]
    fn ids_are_kept_as_they_are_written() {
        for id in ["1", "-7", "\"a\\u00e9\"", "1.50"] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let message = Message::read(line.clone().into_bytes()).expect("is JSON");
            assert_eq!(message.id.as_deref(), Some(id));
            assert_eq!(message.text, line);
            let cancel =
                format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
            let cancel = Message::read(cancel.into_bytes()).expect("is JSON");
            assert_eq!((cancel.id, cancel.cancels.as_deref()), (None, Some(id)));
        }
        let answer = Message::read(br#"{"id":1,"result":{}}"#.to_vec()).expect("is JSON");
        assert_eq!(answer.id, None, "nobody answers an answer");
        for wrong in ["", "{", "7", "\"x\""] {
            let told = Message::read(wrong.into()).expect_err("is no message");
            let told: Value = serde_json::from_slice(&told).expect("is JSON");
            assert_eq!(told["error"]["code"], PARSE_ERROR);
        }
    }
}
