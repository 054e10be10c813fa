//! The methods of the API as data, and their handlers behind one plain shape.
//!
//! The generated `register` function fills a [`Registry`] from one implementation of the service
//! traits. The gRPC face serves the registry's tonic services; REST and MCP walk its [`Method`]s and
//! call the very same handlers in process, with JSON decoded straight into the message. Nothing is
//! looked up by reflection when a call arrives.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt;
use futures_util::stream::{Stream, StreamExt};
use http::Extensions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::metadata::MetadataMap;
use tonic::service::{Routes, RoutesBuilder};
use tonic::{Request, Response, Status};

use super::body::HttpBody;
use super::error::ApiError;
use super::json::{Message, Pairs};
use super::reason::Reason;
use super::validate::{self, Validate};

/// The rate budget that a call spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Budget {
    /// Calls that only read.
    Read,
    /// Calls that start work or change something.
    Submit,
}

/// What the spec says of one method.
#[derive(Debug)]
pub struct MethodInfo {
    /// The method's name, such as `GenerateImage`.
    pub name: &'static str,
    /// Its gRPC path, such as `/piooy.v1.GenerationService/GenerateImage`.
    pub grpc_path: &'static str,
    /// The scope a caller needs.
    pub scope: &'static str,
    /// The budget a call spends.
    pub budget: Budget,
    /// Its HTTP binding; none: not offered over REST.
    pub http: Option<HttpBinding>,
    /// Its MCP tool; none: not offered over MCP.
    pub tool: Option<ToolInfo>,
}

/// Where a method is reached over HTTP.
#[derive(Debug)]
pub struct HttpBinding {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub verb: &'static str,
    /// The path, with `{jsonName}` for parameters.
    pub path: &'static str,
    /// Whether the request message is the body; otherwise it comes from path and query.
    pub body: bool,
}

/// The MCP tool that is a method. The hints are those of MCP's `ToolAnnotations`.
#[derive(Debug)]
pub struct ToolInfo {
    /// The tool's name.
    pub name: &'static str,
    /// A title for people.
    pub title: &'static str,
    /// What it does, for the model that decides to call it.
    pub description: &'static str,
    /// JSON Schema 2020-12 of its arguments, as JSON text.
    pub input_schema: &'static str,
    /// JSON Schema 2020-12 of its answer, the envelope, as JSON text.
    pub output_schema: &'static str,
    /// It changes nothing.
    pub read_only: bool,
    /// It may destroy something.
    pub destructive: bool,
    /// Repeating it has no further effect.
    pub idempotent: bool,
    /// It reaches things outside the server.
    pub open_world: bool,
    /// The MCP Apps view (`ui://…`) that shows people its answer, a task.
    pub view: Option<&'static str>,
}

/// A request message as a face received it.
pub enum Input {
    /// A JSON object; empty text is an empty object.
    Json(bytes::Bytes),
    /// Path and query parameters, decoded.
    Pairs(Vec<(String, String)>),
    /// A JSON object, and path parameters that go before it.
    JsonAndPairs(bytes::Bytes, Vec<(String, String)>),
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Envelopes as they come.
pub type Envelopes = Pin<Box<dyn Stream<Item = Result<Vec<u8>, ApiError>> + Send>>;

/// Calls a handler with JSON and answers with the success envelope, as JSON text.
pub type UnaryCall = Box<
    dyn Fn(Input, MetadataMap, Extensions) -> BoxFuture<Result<Vec<u8>, ApiError>> + Send + Sync,
>;

/// Calls a streaming handler with JSON and answers with one success envelope per message.
pub type StreamCall = Box<
    dyn Fn(Input, MetadataMap, Extensions) -> BoxFuture<Result<Envelopes, ApiError>> + Send + Sync,
>;

/// A file as it comes, in parts.
pub struct File {
    /// What the handler says beside it, such as `content-disposition`.
    pub metadata: MetadataMap,
    /// The parts; each names the media type.
    pub parts: Pin<Box<dyn Stream<Item = Result<HttpBody, ApiError>> + Send>>,
}

/// Calls a handler that answers with a file.
pub type FileCall =
    Box<dyn Fn(Input, MetadataMap, Extensions) -> BoxFuture<Result<File, ApiError>> + Send + Sync>;

/// A handler behind the JSON shape.
pub enum Call {
    /// One answer.
    Unary(UnaryCall),
    /// A stream of answers.
    Stream(StreamCall),
    /// A file.
    File(FileCall),
}

/// A method and its handler.
pub struct Method {
    /// What the spec says of it.
    pub info: &'static MethodInfo,
    /// Its handler.
    pub call: Call,
}

/// Everything that was registered.
pub struct Registry {
    grpc: RoutesBuilder,
    methods: Vec<Method>,
    /// The largest request message, in bytes.
    pub message_bytes_max: usize,
}

impl Registry {
    /// An empty registry for messages of at most that many bytes.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            grpc: RoutesBuilder::default(),
            methods: Vec::new(),
            message_bytes_max,
        }
    }

    /// Gives out the tonic services and the methods.
    #[must_use]
    pub fn into_parts(self) -> (Routes, Vec<Method>) {
        (self.grpc.routes(), self.methods)
    }

    /// The tonic services, to add one to.
    pub fn grpc(&mut self) -> &mut RoutesBuilder {
        &mut self.grpc
    }

    /// Registers a method with one answer. Called by the generated code.
    pub fn unary<M, R, F, Fut>(&mut self, info: &'static MethodInfo, handler: F)
    where
        M: DeserializeOwned + Validate,
        R: Serialize,
        F: Fn(Request<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<R>, Status>> + Send + 'static,
    {
        let call: UnaryCall = Box::new(move |input, metadata, extensions| {
            let message = match decode(&input) {
                Ok(message) => message,
                Err(error) => return Box::pin(std::future::ready(Err(error))),
            };
            let answer = handler(Request::from_parts(metadata, extensions, message));
            Box::pin(async move { envelope(answer.await?.get_ref()) })
        });
        self.methods.push(Method {
            info,
            call: Call::Unary(call),
        });
    }

    /// Registers a method with a stream of answers. Called by the generated code.
    pub fn streaming<M, R, S, F, Fut>(&mut self, info: &'static MethodInfo, handler: F)
    where
        M: DeserializeOwned + Validate,
        R: Serialize,
        S: Stream<Item = Result<R, Status>> + Send + 'static,
        F: Fn(Request<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<S>, Status>> + Send + 'static,
    {
        let call: StreamCall = Box::new(move |input, metadata, extensions| {
            let message = match decode(&input) {
                Ok(message) => message,
                Err(error) => return Box::pin(std::future::ready(Err(error))),
            };
            let answer = handler(Request::from_parts(metadata, extensions, message));
            Box::pin(async move {
                let messages = answer.await?.into_inner();
                let envelopes = messages.map(|message| envelope(&message.map_err(ApiError::from)?));
                Ok(Box::pin(envelopes) as Envelopes)
            })
        });
        self.methods.push(Method {
            info,
            call: Call::Stream(call),
        });
    }

    /// Registers a method that answers with a file. Called by the generated code.
    pub fn file<M, S, F, Fut>(&mut self, info: &'static MethodInfo, handler: F)
    where
        M: DeserializeOwned + Validate,
        S: Stream<Item = Result<HttpBody, Status>> + Send + 'static,
        F: Fn(Request<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<S>, Status>> + Send + 'static,
    {
        let call: FileCall = Box::new(move |input, metadata, extensions| {
            let message = match decode(&input) {
                Ok(message) => message,
                Err(error) => return Box::pin(std::future::ready(Err(error))),
            };
            let answer = handler(Request::from_parts(metadata, extensions, message));
            Box::pin(async move {
                let (metadata, parts, _) = answer.await?.into_parts();
                let parts = Box::pin(parts.map(|part| part.map_err(ApiError::from)));
                Ok(File { metadata, parts })
            })
        });
        self.methods.push(Method {
            info,
            call: Call::File(call),
        });
    }
}

/// A service whose requests are checked against their limits before its handlers see them, and whose
/// handlers may panic.
/// The generated code implements the service traits for it.
pub struct Checked<S>(pub S);

/// Refuses a request whose message is outside its limits. Called by the generated code.
///
/// # Errors
/// `INVALID_ARGUMENT` with every violation.
pub fn check<M: Validate>(request: &Request<M>) -> Result<(), Status> {
    validate::check(request.get_ref())
        .map_err(|violations| ApiError::invalid(Reason::InvalidArgument, violations).into())
}

/// Runs a handler. One that panics has failed through a fault of ours, and its caller is told so over
/// whichever face. Called by the generated code.
///
/// # Errors
/// Those of the handler, and `INTERNAL`.
pub async fn run<R>(
    handler: impl Future<Output = Result<Response<R>, Status>> + Send,
) -> Result<Response<R>, Status> {
    let ended = AssertUnwindSafe(handler).catch_unwind().await;
    ended.unwrap_or_else(|_| {
        tracing::error!("a handler panicked");
        Err(ApiError::internal().into())
    })
}

/// The success envelope around `data`.
fn envelope(data: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    let mut json = Vec::with_capacity(1024);
    json.extend_from_slice(br#"{"code":0,"message":"ok","data":"#);
    serde_json::to_writer(&mut json, data).map_err(|error| {
        ApiError::new(
            Reason::Internal,
            format!("The answer could not be written: {error}"),
        )
    })?;
    json.push(b'}');
    Ok(json)
}

/// The message in `input`.
fn decode<M: DeserializeOwned + Validate>(input: &Input) -> Result<M, ApiError> {
    match input {
        Input::Pairs(pairs) => serde_path_to_error::deserialize::<_, Message<M>>(Pairs(pairs))
            .map(|message| message.0)
            .map_err(|error| {
                misread(
                    &error.path().to_string(),
                    &error.inner().to_string(),
                    M::FIELDS,
                )
            }),
        Input::Json(text) => decode_json(text),
        Input::JsonAndPairs(text, pairs) => {
            let mut fields: serde_json::Map<String, serde_json::Value> = parse(text, M::FIELDS)?;
            for (name, value) in pairs {
                fields.insert(name.clone(), serde_json::Value::String(value.clone()));
            }
            decode_json(serde_json::Value::Object(fields).to_string().as_bytes())
        }
    }
}

fn decode_json<M: DeserializeOwned + Validate>(text: &[u8]) -> Result<M, ApiError> {
    parse(text, M::FIELDS).map(|message: Message<M>| message.0)
}

/// Reads a JSON object, naming the place of a mistake.
fn parse<T: DeserializeOwned>(text: &[u8], fields: &[&str]) -> Result<T, ApiError> {
    let text = if text.iter().all(u8::is_ascii_whitespace) {
        b"{}"
    } else {
        text
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // serde_json ends its texts with the place; it is told apart below.
        let text = inner.to_string();
        let place = format!(" at line {} column {}", inner.line(), inner.column());
        let text = text.strip_suffix(&place).unwrap_or(&text);
        if inner.is_data() {
            misread(&path, text, fields)
                .with(
                    "line",
                    super::error::Detail::Number(i64::try_from(inner.line()).unwrap_or(i64::MAX)),
                )
                .with(
                    "column",
                    super::error::Detail::Number(i64::try_from(inner.column()).unwrap_or(i64::MAX)),
                )
        } else {
            malformed(text, &inner)
        }
    })?;
    json.end()
        .map_err(|error| malformed("there is more after the end of the object", &error))?;
    Ok(value)
}

fn malformed(text: &str, error: &serde_json::Error) -> ApiError {
    let message = format!(
        "The body is not valid JSON: {text}, at line {} column {}.",
        error.line(),
        error.column()
    );
    ApiError::new(Reason::MalformedRequest, message)
        .with(
            "line",
            super::error::Detail::Number(i64::try_from(error.line()).unwrap_or(i64::MAX)),
        )
        .with(
            "column",
            super::error::Detail::Number(i64::try_from(error.column()).unwrap_or(i64::MAX)),
        )
}

/// Valid JSON, but not this message.
fn misread(path: &str, text: &str, fields: &[&str]) -> ApiError {
    if text.starts_with("unknown field") {
        return unknown_field(path, text, fields);
    }
    let message = match path {
        "." | "" | "?" => format!("The request could not be read: {text}."),
        path => format!("{path} could not be read: {text}."),
    };
    ApiError::new(Reason::MalformedRequest, message)
}

/// serde names the unknown field, which `path` leads to, and every spelling of those that exist; of
/// those, callers are told the one that is published (`fields`).
fn unknown_field(path: &str, text: &str, fields: &[&str]) -> ApiError {
    let mut names = text.split('`').skip(1).step_by(2);
    let asked = names.next().unwrap_or_default();
    let spelling = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let published = |name| {
        let same = |field: &&&str| spelling(field) == spelling(name);
        fields.iter().find(same).copied().unwrap_or(name)
    };
    let mut known: Vec<&str> = Vec::new();
    for name in names.map(published) {
        if !known.iter().any(|known| spelling(known) == spelling(name)) {
            known.push(name);
        }
    }
    let takes = match known.is_empty() {
        true => "takes no fields".to_owned(),
        false => format!("takes {}", known.join(", ")),
    };
    let within = path.strip_suffix(asked).unwrap_or_default();
    let message = match within.strip_suffix('.') {
        Some(place) => format!("There is no field {path}; {place} {takes}."),
        None => format!("There is no field {asked} here; the request {takes}."),
    };
    ApiError::new(Reason::UnknownField, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::v1::{
        CreateApiKeyRequest, GenerateImageRequest, ListTasksRequest, Task, task,
    };

    fn read(text: &str) -> Result<GenerateImageRequest, ApiError> {
        decode(&Input::Json(bytes::Bytes::copy_from_slice(text.as_bytes())))
    }

    #[test]
    fn both_spellings_and_loose_scalars_are_read() {
        let snake =
            read(r#"{"model":"m","prompt":"p","aspect_ratio":"16:9","count":"2","seed":7.0}"#);
        let camel = read(
            r#"{"model":"m","prompt":"p","aspectRatio":"16:9","count":2,"seed":"7","strict":null}"#,
        );
        assert_eq!(snake, camel);
        assert_eq!(snake.expect("reads").count, Some(2));
        let number = read(r#"{"model":5,"referenceImages":"data:,"}"#).expect("reads");
        assert_eq!(
            (number.model.as_str(), number.reference_images.len()),
            ("5", 1)
        );
    }

    #[test]
    fn mistakes_name_their_place() {
        let table = [
            (
                "{\"model\":\n 1,}",
                Reason::MalformedRequest,
                "line 2 column 4",
            ),
            (
                r#"{"promt":"x"}"#,
                Reason::UnknownField,
                "no field promt here; the request takes model, prompt, resolution, aspect_ratio",
            ),
            (
                r#"{"count":"two"}"#,
                Reason::MalformedRequest,
                "count could not be read",
            ),
            (
                r#"{"count":{}}"#,
                Reason::MalformedRequest,
                "count could not be read",
            ),
            (r"[1]", Reason::MalformedRequest, "expected a JSON object"),
            (r"{} x", Reason::MalformedRequest, "more after the end"),
        ];
        for (text, reason, part) in table {
            let error = read(text).expect_err(text);
            assert_eq!(error.reason, reason, "{text}: {}", error.message);
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_its_whole_place() {
        let text = br#"{"name":"n","spendingCaps":{"perHour":1,"perWeek":2}}"#;
        let input = Input::Json(bytes::Bytes::from_static(text));
        let error = decode::<CreateApiKeyRequest>(&input).expect_err("no such cap");
        assert_eq!(error.reason, Reason::UnknownField);
        assert_eq!(
            error.message,
            "There is no field spendingCaps.perWeek; spendingCaps takes perHour, perDay, total."
        );
    }

    #[test]
    fn query_parameters_read_like_json() {
        let pairs = [("pageSize", "5"), ("status", "success")];
        let pairs = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        let read: ListTasksRequest = decode(&Input::Pairs(pairs)).expect("reads");
        assert_eq!(
            (read.page_size, read.status()),
            (Some(5), task::Status::Success)
        );
        let wrong = vec![("status".to_owned(), "done".to_owned())];
        let error = decode::<ListTasksRequest>(&Input::Pairs(wrong)).expect_err("no such status");
        assert!(
            error
                .message
                .contains("one of PENDING, PROCESSING, SUCCESS"),
            "{}",
            error.message
        );
    }

    #[test]
    fn path_parameters_win_over_the_body() {
        let pairs = vec![("model".to_owned(), "from-path".to_owned())];
        let body = bytes::Bytes::from_static(br#"{"model":"from-body","prompt":"p"}"#);
        let read: GenerateImageRequest = decode(&Input::JsonAndPairs(body, pairs)).expect("reads");
        assert_eq!(
            (read.model.as_str(), read.prompt.as_str()),
            ("from-path", "p")
        );
    }

    #[test]
    fn answers_have_one_form() {
        let task = Task {
            task_id: "t".into(),
            status: task::Status::Success.into(),
            ..Task::default()
        };
        let json: serde_json::Value =
            serde_json::from_slice(&envelope(&task).expect("writes")).expect("is JSON");
        assert_eq!(
            (&json["code"], &json["data"]["taskId"]),
            (&0.into(), &"t".into())
        );
        assert_eq!(
            (&json["data"]["status"], &json["data"]["outputs"]),
            (&"SUCCESS".into(), &serde_json::json!([]))
        );
        assert!(
            json["data"].get("error").is_none(),
            "absent messages are left out"
        );
    }
}
