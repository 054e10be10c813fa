//! JSON-RPC 2.0 as MCP uses it: messages in, replies out. Ids and results are passed on as the text
//! they are.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::era::Era;
use crate::spec::error::ApiError;

/// A message from a client: a request, a notification (no id), or an answer (no method).
#[derive(Deserialize)]
#[serde(expecting = "a JSON-RPC object")]
pub struct Incoming<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    /// A string or a number, as its text.
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    /// What is asked for.
    #[serde(borrow)]
    pub method: Option<Cow<'a, str>>,
    /// With what.
    #[serde(borrow)]
    pub params: Option<&'a RawValue>,
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
    code: i32,
    modern_status: StatusCode,
    message: String,
    data: Option<Value>,
}

impl RpcError {
    fn new(code: i32, modern_status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code,
            modern_status,
            message: message.into(),
            data: None,
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

    /// Parameters that name something that is not there.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, StatusCode::OK, message)
    }

    /// A fault of ours.
    pub fn internal() -> Self {
        Self::new(-32603, StatusCode::OK, ApiError::internal().message)
    }

    /// A modern request without the `_meta` that each must have.
    pub fn invalid_meta(message: impl Into<String>) -> Self {
        Self::new(-32602, StatusCode::BAD_REQUEST, message)
    }

    /// A header that is missing or differs from the body (2026-07-28: HeaderMismatch).
    pub fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(-32020, StatusCode::BAD_REQUEST, message)
    }

    /// A version that is not served (2026-07-28: UnsupportedProtocolVersion).
    pub fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        let message = format!("Protocol version {requested} is not served here.");
        let error = Self::new(-32022, StatusCode::BAD_REQUEST, message);
        Self {
            data: Some(json!({"supported": supported, "requested": requested})),
            ..error
        }
    }
}

/// What goes back for one message.
pub enum Reply {
    /// Nothing was asked.
    Accepted,
    /// The result, as JSON text.
    Result {
        /// The request's id, as its text.
        id: String,
        /// The result.
        result: Bytes,
    },
    /// An error.
    Error {
        /// The HTTP status.
        status: StatusCode,
        /// The whole message.
        json: String,
    },
}

impl Reply {
    /// The answer to a message that failed. A legacy client gets its errors with HTTP 200.
    pub fn failed(id: Option<&RawValue>, error: RpcError, era: Era) -> Self {
        let mut body = json!({"code": error.code, "message": error.message});
        if let Some(data) = error.data {
            body["data"] = data;
        }
        let id = id.map_or("null", RawValue::get);
        let status = match era {
            Era::Legacy => StatusCode::OK,
            Era::Modern => error.modern_status,
        };
        Reply::Error {
            status,
            json: format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{body}}}"#),
        }
    }

    /// The JSON-RPC message, if there is one.
    pub fn into_json(self) -> Option<String> {
        match self {
            Reply::Accepted => None,
            Reply::Result { id, result } => String::from_utf8(splice(&id, &result)).ok(),
            Reply::Error { json, .. } => Some(json),
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
            Reply::Result { id, result } => {
                super::json(StatusCode::OK, splice(&id, &result).into())
            }
            Reply::Error { status, json } => super::json(status, json.into()),
        }
    }
}

/// The message that carries a result.
fn splice(id: &str, result: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(result.len() + id.len() + 40);
    message.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    message.extend_from_slice(id.as_bytes());
    message.extend_from_slice(br#","result":"#);
    message.extend_from_slice(result);
    message.push(b'}');
    message
}
