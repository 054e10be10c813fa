//! JSON-RPC 2.0 as MCP uses it: messages in, replies out. What a client sent is borrowed from its body;
//! ids and results are passed on as the text they are.

use std::borrow::Cow;
use std::fmt;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::era::Era;
use super::stream::Messages;
use crate::spec::error::ApiError;

/// A string of a message. Borrowed unless it has escapes; `Option<Cow<str>>` would always copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<'a>(pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

/// A message from a client: a request, a notification (no id), or an answer (no method).
#[derive(serde::Deserialize)]
#[serde(expecting = "a JSON-RPC object")]
pub struct Incoming<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Text<'a>>,
    /// A string or a number, as its text.
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    /// What is asked for.
    #[serde(borrow)]
    pub method: Option<Text<'a>>,
    /// With what.
    #[serde(borrow)]
    pub params: Option<&'a RawValue>,
    /// The answer to what a fixture asked.
    #[cfg(feature = "conformance")]
    #[serde(borrow)]
    pub result: Option<&'a RawValue>,
}

impl<'a> Incoming<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Text that is not JSON, or not JSON-RPC 2.0.
    pub fn parse(text: &'a [u8]) -> Result<Self, RpcError> {
        // A derived struct would also take a list of its fields.
        if text.trim_ascii_start().first() == Some(&b'[') {
            return Err(RpcError::invalid_request("A message is a JSON object."));
        }
        let incoming: Incoming<'a> = serde_json::from_slice(text).map_err(|error| {
            if error.is_data() {
                RpcError::invalid_request(format!("This is not a JSON-RPC message: {error}."))
            } else {
                RpcError::new(
                    -32700,
                    StatusCode::BAD_REQUEST,
                    format!("This is not valid JSON: {error}."),
                )
            }
        })?;
        if incoming.jsonrpc.as_deref() != Some("2.0") {
            return Err(RpcError::invalid_request(
                "A message must say \"jsonrpc\": \"2.0\".",
            ));
        }
        let id_is_proper = |id: &RawValue| {
            id.get()
                .starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        };
        if incoming.id.is_some_and(|id| !id_is_proper(id)) {
            return Err(RpcError::invalid_request(
                "An id must be a string or a number.",
            ));
        }
        Ok(incoming)
    }
}

/// A JSON-RPC error and the HTTP status it has for modern clients.
#[derive(Debug)]
pub struct RpcError {
    /// For programs.
    pub code: i32,
    modern_status: StatusCode,
    message: String,
    data: Option<Value>,
}

impl RpcError {
    /// An error. The codes are those of JSON-RPC and of MCP 2026-07-28 ("Error codes").
    pub fn new(code: i32, modern_status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code,
            modern_status,
            message: message.into(),
            data: None,
        }
    }

    /// The same with something for programs.
    pub fn with(self, data: Value) -> Self {
        Self {
            data: Some(data),
            ..self
        }
    }

    /// The message is not a request that can be understood.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(-32600, StatusCode::BAD_REQUEST, message)
    }

    /// No such method in this era.
    pub fn method_not_found(method: &str) -> Self {
        Self::new(
            -32601,
            StatusCode::NOT_FOUND,
            format!("There is no method {method} here."),
        )
    }

    /// Parameters that cannot be read or name something that is not there.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, StatusCode::OK, message)
    }

    /// A modern request without the `_meta` that each must have.
    pub fn invalid_meta(message: impl Into<String>) -> Self {
        Self::new(-32602, StatusCode::BAD_REQUEST, message)
    }

    /// A resource that is not there. Before 2026-07-28 it had a code of its own.
    pub fn no_resource(uri: &str, era: Era) -> Self {
        let code = match era {
            Era::Legacy => -32002,
            Era::Modern => -32602,
        };
        let message = format!("There is no resource {uri}.");
        Self::new(code, StatusCode::OK, message).with(json!({"uri": uri}))
    }

    /// A header that is missing or differs from the body (2026-07-28: HeaderMismatch).
    pub fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(-32020, StatusCode::BAD_REQUEST, message)
    }

    /// What was asked for needs something that the client did not declare (2026-07-28:
    /// MissingRequiredClientCapability).
    pub fn missing_capability(message: impl Into<String>, required: Value) -> Self {
        Self::new(-32021, StatusCode::BAD_REQUEST, message)
            .with(json!({"requiredCapabilities": required}))
    }

    /// A version that is not served (2026-07-28: UnsupportedProtocolVersion).
    pub fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        let message = format!("Protocol version {requested} is not served here.");
        Self::new(-32022, StatusCode::BAD_REQUEST, message)
            .with(json!({"supported": supported, "requested": requested}))
    }

    /// A call of one of the spec's methods that failed, outside a tool's result. The code is the gRPC
    /// code, which is outside of what JSON-RPC keeps for itself; the data is the whole envelope.
    pub fn failed(error: &ApiError) -> Self {
        Self::new(
            error.reason.row().grpc_code,
            StatusCode::OK,
            error.message.as_str(),
        )
        .with(serde_json::to_value(error).unwrap_or_default())
    }

    /// The message that carries it.
    pub fn to_message(&self, id: &str) -> Bytes {
        let mut body = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            body["data"] = data.clone();
        }
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{body}}}"#).into()
    }
}

/// How a request is answered.
pub enum Outcome {
    /// With this result, as JSON text.
    Result(Bytes),
    /// With messages as they come, the response last.
    Stream(Messages),
}

impl From<Bytes> for Outcome {
    fn from(result: Bytes) -> Self {
        Outcome::Result(result)
    }
}

/// What goes back for one message.
pub enum Reply {
    /// Nothing was asked.
    Accepted,
    /// One message.
    Message {
        /// The HTTP status.
        status: StatusCode,
        /// Its JSON text.
        text: Bytes,
    },
    /// Messages as they come, the response last.
    Stream(Messages),
}

impl Reply {
    /// The answer to a request.
    pub fn to(id: &RawValue, outcome: Result<Outcome, RpcError>, era: Era) -> Self {
        match outcome {
            Ok(Outcome::Result(result)) => Reply::Message {
                status: StatusCode::OK,
                text: response(id.get(), &result),
            },
            Ok(Outcome::Stream(messages)) => Reply::Stream(messages),
            Err(error) => Reply::failed(Some(id), error, era),
        }
    }

    /// The answer to a message that failed. A legacy client gets its errors with HTTP 200.
    pub fn failed(id: Option<&RawValue>, error: RpcError, era: Era) -> Self {
        let status = match era {
            Era::Legacy => StatusCode::OK,
            Era::Modern => error.modern_status,
        };
        Reply::Message {
            status,
            text: error.to_message(id.map_or("null", RawValue::get)),
        }
    }

    /// The JSON-RPC messages, for a transport that has its own way to carry them.
    pub fn into_messages(self) -> Messages {
        match self {
            Reply::Accepted => stream::empty().boxed(),
            Reply::Message { text, .. } => stream::iter([text]).boxed(),
            Reply::Stream(messages) => messages,
        }
    }

    /// The HTTP answer.
    pub fn into_response(self) -> Response {
        match self {
            Reply::Accepted => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::ACCEPTED;
                response
            }
            Reply::Message { status, text } => super::json(status, text),
            Reply::Stream(messages) => super::stream::response(messages),
        }
    }
}

/// The message that carries a result.
pub fn response(id: &str, result: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(result.len() + id.len() + 40);
    message.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    message.extend_from_slice(id.as_bytes());
    message.extend_from_slice(br#","result":"#);
    message.extend_from_slice(result);
    message.push(b'}');
    message.into()
}

/// A notification; `params` is JSON text.
pub fn notification(method: &str, params: &str) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#).into()
}
