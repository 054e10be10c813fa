//! What the faces say, brought into one form so that it can be compared: REST's envelope.

use piooy::spec::body::HttpBody;
use prost::Message;
use reqwest::header::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body, when it is JSON.
    pub envelope: Value,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("the body arrives").to_vec();
        Self {
            status,
            headers,
            envelope: serde_json::from_slice(&bytes).unwrap_or_default(),
            bytes,
        }
    }

    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.transpose().expect("is text").unwrap_or_default()
    }

    /// The word of a failure.
    pub fn reason(&self) -> &str {
        self.failure()["reason"].as_str().unwrap_or_default()
    }

    /// The envelope of a failure: the body, or what a JSON-RPC error carries.
    pub fn failure(&self) -> &Value {
        let error = &self.envelope["error"];
        if error.is_null() {
            return &self.envelope;
        }
        let data = &error["data"];
        if !data["reason"].is_null() {
            assert_eq!(
                (&error["code"], &error["message"]),
                (&data["code"], &data["message"])
            );
        }
        data
    }

    /// The envelope that an MCP answer carries: a tool's, or that of an error, such as a refusal at the door.
    ///
    /// Checks what every tool's result must be: the text is the structured content, and a failure says so.
    pub fn of_tool(&self) -> Value {
        assert_eq!(self.envelope["jsonrpc"], "2.0", "{}", self.envelope);
        if self.envelope.get("error").is_some() {
            return self.failure().clone();
        }
        let result = &self.envelope["result"];
        let structured = &result["structuredContent"];
        let text = result["content"][0]["text"].as_str();
        let text = text.unwrap_or_else(|| panic!("not a tool's result: {}", self.envelope));
        let text: Value = serde_json::from_str(text).expect("the text is JSON");
        assert_eq!(&text, structured, "text and structured content differ");
        assert_eq!(result["isError"], json!(structured["code"] != 0));
        structured.clone()
    }
}

/// Asks a unary method over gRPC, in JSON and with an envelope as answer.
pub async fn over_grpc<M, R>(
    channel: Channel,
    key: Option<&str>,
    path: &'static str,
    request: &Value,
) -> Value
where
    M: Message + DeserializeOwned + Default + 'static,
    R: Message + Serialize + Default + 'static,
{
    let message: M = serde_json::from_value(request.clone()).expect("the message's own JSON");
    match unary::<M, R>(channel, key, path, message).await {
        Ok(answer) => json!({"code": 0, "message": "ok", "data": answer.get_ref()}),
        Err(status) => envelope(&status),
    }
}

/// Calls a method that answers with a stream.
async fn opened_over_grpc<M, R>(
    channel: Channel,
    key: Option<&str>,
    path: &'static str,
    request: &Value,
) -> Result<Streaming<R>, Status>
where
    M: Message + DeserializeOwned + Default + 'static,
    R: Message + Default + 'static,
{
    let message: M = serde_json::from_value(request.clone()).expect("the message's own JSON");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("the server takes calls");
    let codec = ProstCodec::<M, R>::default();
    let path = PathAndQuery::from_static(path);
    let answer = grpc
        .server_streaming(keyed(message, key), path, codec)
        .await;
    Ok(answer?.into_inner())
}

/// The same for a method that answers with a stream.
pub async fn stream_over_grpc<M, R>(
    channel: Channel,
    key: Option<&str>,
    path: &'static str,
    request: &Value,
) -> Vec<Value>
where
    M: Message + DeserializeOwned + Default + 'static,
    R: Message + Serialize + Default + 'static,
{
    let opened = opened_over_grpc::<M, R>(channel, key, path, request).await;
    let mut messages = match opened {
        Ok(messages) => messages,
        Err(status) => return vec![envelope(&status)],
    };
    let mut envelopes = Vec::new();
    while let Some(message) = messages.message().await.expect("no failure midway") {
        envelopes.push(json!({"code": 0, "message": "ok", "data": message}));
    }
    envelopes
}

/// The same for a method that answers with a file: its type and its text.
pub async fn file_over_grpc<M>(
    channel: Channel,
    key: Option<&str>,
    path: &'static str,
    request: &Value,
) -> Value
where
    M: Message + DeserializeOwned + Default + 'static,
{
    let opened = opened_over_grpc::<M, HttpBody>(channel, key, path, request).await;
    let mut parts = match opened {
        Ok(parts) => parts,
        Err(status) => return envelope(&status),
    };
    let (mut content_type, mut bytes) = (String::new(), Vec::new());
    while let Some(part) = parts.message().await.expect("no failure midway") {
        bytes.extend_from_slice(&part.data);
        content_type = part.content_type;
    }
    file(&content_type, bytes)
}

/// A file in the form in which it is compared.
pub fn file(content_type: &str, bytes: Vec<u8>) -> Value {
    let text = String::from_utf8(bytes).expect("is text");
    json!({"code": 0, "contentType": content_type, "text": text})
}

/// One unary call.
pub async fn unary<M, R>(
    channel: Channel,
    key: Option<&str>,
    path: &'static str,
    message: M,
) -> Result<Response<R>, Status>
where
    M: Message + Default + 'static,
    R: Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("the server takes calls");
    let codec = ProstCodec::<M, R>::default();
    grpc.unary(keyed(message, key), PathAndQuery::from_static(path), codec)
        .await
}

/// A gRPC request with a key among its metadata.
pub fn keyed<M>(message: M, key: Option<&str>) -> Request<M> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        let value = format!("Bearer {key}").parse().expect("a header's value");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// A failed gRPC call as the envelope that carries the same. Values of details are text on this face.
pub fn envelope(status: &Status) -> Value {
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "piooy");
    let mut details: Map<String, Value> = info
        .metadata
        .into_iter()
        .map(|(name, value)| (name, json!(value)))
        .collect();
    if let Some(bad) = status.get_details_bad_request() {
        let violations = bad.field_violations.iter().map(
            |violation| json!({"field": violation.field, "description": violation.description}),
        );
        details.insert("fieldViolations".to_owned(), violations.collect());
    }
    if status.get_details_retry_info().is_some() {
        details.insert("retryAfterSeconds".to_owned(), json!("soon"));
    }
    json!({
        "code": i32::from(status.code()),
        "message": status.message(),
        "reason": info.reason,
        "details": details,
    })
}

/// An envelope with its details as gRPC can say them.
pub fn as_grpc_says(mut envelope: Value) -> Value {
    let Some(details) = envelope.get_mut("details").and_then(Value::as_object_mut) else {
        return envelope;
    };
    for (name, value) in details {
        *value = match (name.as_str(), &*value) {
            ("fieldViolations", violations) => violations.clone(),
            ("retryAfterSeconds", _) => json!("soon"),
            (_, Value::String(text)) => json!(text),
            (_, Value::Array(words)) => {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                json!(words.join(", "))
            }
            (_, other) => json!(other.to_string()),
        };
    }
    envelope
}

/// A number among the metadata of a gRPC answer.
pub fn number(metadata: &MetadataMap, name: &str) -> Option<u64> {
    metadata.get(name)?.to_str().ok()?.parse().ok()
}
