//! The OpenAPI 3.1 document, built with utoipa's types from the same descriptors.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ComponentsBuilder, ContentBuilder, Info, InfoBuilder, OpenApiBuilder, PathItem,
    PathsBuilder, Ref, RefOr, Required, Response, ResponseBuilder, ResponsesBuilder, ServerBuilder,
};

use super::messages::TIMESTAMP;
use super::options::{self, Http};
use super::schema::{self, Nested, Way};
use super::{Spec, Wrong};
use crate::spec::reason::{Reason, Row};

/// The document, as indented JSON.
///
/// # Errors
/// What is wrong with the spec.
pub fn document(spec: &Spec) -> Result<String, Wrong> {
    let mut paths = PathsBuilder::new();
    let mut tags = Vec::new();
    for service in spec.services() {
        let mut bound = false;
        for method in service.methods() {
            let Some(http) = options::http(&method)? else {
                continue;
            };
            bound = true;
            let operation = operation(spec, &method, &http)?;
            paths = paths.path(&http.path, PathItem::new(verb(http.verb), operation));
        }
        if bound {
            let description = options::service_comment(&service)?;
            tags.push(
                TagBuilder::new()
                    .name(tag(service.name()))
                    .description(Some(description))
                    .build(),
            );
        }
    }
    let mut webhooks = None;
    for (name, message) in spec.webhooks() {
        let item = PathItem::new(HttpMethod::Post, webhook(&message)?);
        webhooks = Some(webhooks.unwrap_or_else(PathsBuilder::new).path(name, item));
    }
    let document = OpenApiBuilder::new()
        .info(info())
        .servers(Some([ServerBuilder::new()
            .url("/")
            .description(Some("This server."))
            .build()]))
        .paths(paths.build())
        .webhooks(webhooks.map(PathsBuilder::build))
        .components(Some(components(spec)?))
        .security(Some([
            SecurityRequirement::new("bearer", [""; 0]),
            SecurityRequirement::new("apiKey", [""; 0]),
        ]))
        .tags(Some(tags))
        .build();
    document
        .to_pretty_json()
        .map(|json| json + "\n")
        .map_err(|error| error.to_string())
}

fn info() -> Info {
    InfoBuilder::new()
        .title("Piooy")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "One API key and one credit balance for many image and video models. Calls that start work answer at \
             once with a task; poll it, or follow its events, until its status is SUCCESS, FAILED or CANCELED. \
             Every answer is an envelope: `code` is 0 and `data` holds the answer, or `code` is a gRPC status code, \
             `reason` a stable word for programs and `message` a sentence for people. Field names are accepted in \
             snake_case and lowerCamelCase.",
        ))
        .build()
}

fn tag(service: &str) -> String {
    service.trim_end_matches("Service").to_owned()
}

fn verb(verb: &str) -> HttpMethod {
    match verb {
        "GET" => HttpMethod::Get,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        "PATCH" => HttpMethod::Patch,
        _ => HttpMethod::Post,
    }
}

fn operation(spec: &Spec, method: &MethodDescriptor, http: &Http) -> Result<Operation, Wrong> {
    let comment = options::method_comment(method)?;
    let summary = comment
        .split_inclusive(['.', ';'])
        .next()
        .unwrap_or(&comment)
        .trim_end_matches(['.', ';']);
    let submits = options::access(method)?.budget == "Submit";
    let mut operation = OperationBuilder::new()
        .operation_id(Some(method.name()))
        .tag(tag(method.parent_service().name()))
        .summary(Some(summary))
        .description(Some(&comment));
    for parameter in parameters(spec, method, http)? {
        operation = operation.parameter(parameter);
    }
    if submits && http.body {
        operation = operation.parameter(idempotency_key());
    }
    if http.body {
        let content = ContentBuilder::new()
            .schema(Some(reference(method.input().name())))
            .build();
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let mut responses = ResponsesBuilder::new().response("200", success(method)?);
    for status in error_statuses(http, submits) {
        let response = Ref::from_response_name(response_name(status));
        responses = responses.response(status.to_string(), RefOr::Ref(response));
    }
    Ok(operation.responses(responses.build()).build())
}

/// Path and query parameters: the fields of the request that are not in a body.
fn parameters(
    spec: &Spec,
    method: &MethodDescriptor,
    http: &Http,
) -> Result<Vec<Parameter>, Wrong> {
    let input = method.input();
    let schema = schema::of_message(spec, &input, Way::In, Nested::Reference)?;
    let mut parameters = Vec::new();
    for field in input.fields() {
        let name = field.json_name();
        let in_path = http.parameters.iter().any(|parameter| parameter == name);
        if http.body && !in_path {
            continue;
        }
        if matches!(field.kind(), Kind::Message(message) if message.full_name() != TIMESTAMP) {
            return Err(format!(
                "{}: a message cannot be a query parameter",
                field.full_name()
            ));
        }
        let mut schema = schema["properties"][name].clone();
        let description = schema
            .as_object_mut()
            .and_then(|schema| schema.remove("description"));
        parameters.push(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(if in_path {
                    ParameterIn::Path
                } else {
                    ParameterIn::Query
                })
                .required(if in_path {
                    Required::True
                } else {
                    Required::False
                })
                .description(description.as_ref().and_then(Value::as_str))
                .schema(Some(typed(schema)?))
                .build(),
        );
    }
    Ok(parameters)
}

fn idempotency_key() -> Parameter {
    let schema = json!({"type": "string", "maxLength": 255});
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "One key per thing the person asked for: repeating the call with the same key and content gives the same \
             answer instead of doing it twice.",
        ))
        .schema(typed(schema).ok())
        .build()
}

fn success(method: &MethodDescriptor) -> Result<Response, Wrong> {
    let output = method.output();
    if let Some(media) = options::produces(method)? {
        let file = typed(json!({"type": "string", "description": "The file."}))?;
        return Ok(ResponseBuilder::new()
            .description("The file.")
            .content(media, ContentBuilder::new().schema(Some(file)).build())
            .build());
    }
    let envelope = typed(json!({
        "type": "object",
        "properties": {
            "code": {"type": "integer", "description": "0: it worked.", "examples": [0]},
            "message": {"type": "string", "examples": ["ok"]},
            "data": {"$ref": format!("#/components/schemas/{}", output.name())},
        },
        "required": ["code", "message", "data"],
    }))?;
    let media = if method.is_server_streaming() {
        "text/event-stream"
    } else {
        "application/json"
    };
    let content = ContentBuilder::new().schema(Some(envelope)).build();
    Ok(ResponseBuilder::new()
        .description(options::message_comment(&output)?)
        .content(media, content)
        .build())
}

/// The headers of what addresses of callers are sent (Standard Webhooks 1.0).
const SIGNED: [(&str, &str); 3] = [
    (
        "webhook-id",
        "The id of the delivery, the same each time it is sent.",
    ),
    (
        "webhook-timestamp",
        "When it was sent, in seconds since 1970.",
    ),
    (
        "webhook-signature",
        "One or more signatures, with a space between: v1, a comma, and the Base64 of the HMAC-SHA256 of id, timestamp \
         and body with dots between.",
    ),
];

/// What addresses of callers are sent, and what they should answer.
fn webhook(message: &MessageDescriptor) -> Result<Operation, Wrong> {
    let content = ContentBuilder::new().schema(Some(reference(message.name())));
    let body = RequestBodyBuilder::new()
        .content("application/json", content.build())
        .required(Some(Required::True));
    let yes = ResponseBuilder::new().description("Taken: it is not sent again.");
    let mut operation = OperationBuilder::new();
    for (name, description) in SIGNED {
        let header = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some(description))
            .schema(Some(typed(json!({"type": "string"}))?));
        operation = operation.parameter(header.build());
    }
    Ok(operation
        .description(Some(options::message_comment(message)?))
        // Keys are for calls in the other direction.
        .securities(Some(Vec::<SecurityRequirement>::new()))
        .request_body(Some(body.build()))
        .response("2XX", yes.build())
        .build())
}

/// The statuses that an operation can answer with beside success.
fn error_statuses(http: &Http, submits: bool) -> BTreeSet<u16> {
    let only_submits = [402, 409, 410, 413, 415];
    let never = [405, 499, 502, 504];
    let has_input = http.body || !http.parameters.is_empty() || http.verb == "GET";
    Reason::ALL
        .iter()
        .map(|reason| reason.row().http_status)
        .filter(|status| !never.contains(status))
        .filter(|status| submits || !only_submits.contains(status))
        .filter(|status| has_input || ![400, 422].contains(status))
        .collect()
}

fn components(spec: &Spec) -> Result<Components, Wrong> {
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    for service in spec.services() {
        for method in service.methods() {
            let Some(http) = options::http(&method)? else {
                continue;
            };
            if http.body {
                collect(spec, &method.input(), Way::In, &mut schemas)?;
            }
            if options::produces(&method)?.is_none() {
                collect(spec, &method.output(), Way::Out, &mut schemas)?;
            }
        }
    }
    for (_, message) in spec.webhooks() {
        collect(spec, &message, Way::Out, &mut schemas)?;
    }
    schemas.insert("Error".to_owned(), error_schema());
    let mut components = ComponentsBuilder::new();
    for (name, schema) in schemas {
        components = components.schema(name, typed(schema)?);
    }
    let mut by_status: BTreeMap<u16, Vec<Row>> = BTreeMap::new();
    for reason in Reason::ALL {
        by_status
            .entry(reason.row().http_status)
            .or_default()
            .push(reason.row());
    }
    for (status, rows) in by_status {
        let meanings: Vec<String> = rows
            .iter()
            .map(|row| format!("`{}`: {}", row.word, row.meaning.trim()))
            .collect();
        let content = ContentBuilder::new()
            .schema(Some(reference("Error")))
            .build();
        let response = ResponseBuilder::new()
            .description(meanings.join("\n\n"))
            .content("application/json", content);
        components = components.response(response_name(status), response.build());
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key: piooy_live_… or piooy_test_…"))
        .build();
    let header = ApiKey::Header(ApiKeyValue::with_description(
        "x-api-key",
        "The same key, for clients that prefer it.",
    ));
    Ok(components
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("apiKey", SecurityScheme::ApiKey(header))
        .build())
}

/// Collects a message and the messages it holds.
fn collect(
    spec: &Spec,
    message: &MessageDescriptor,
    way: Way,
    schemas: &mut BTreeMap<String, Value>,
) -> Result<(), Wrong> {
    if message.full_name() == TIMESTAMP || schemas.contains_key(message.name()) {
        return Ok(());
    }
    let mut schema = schema::of_message(spec, message, way, Nested::Reference)?;
    schema["description"] = json!(options::message_comment(message)?);
    schemas.insert(message.name().to_owned(), schema);
    for field in message.fields() {
        if let Kind::Message(inner) = field.kind() {
            collect(spec, &inner, way, schemas)?;
        }
    }
    Ok(())
}

/// The named values of failures: name, type, meaning.
const DETAILS: [(&str, &str, &str); 12] = [
    ("available", "integer", "The credits that could be spent."),
    ("column", "integer", "Where in its line the JSON is wrong."),
    ("limit", "integer", "The number that the plan allows."),
    (
        "limitPerMinute",
        "integer",
        "The calls per minute that the plan allows.",
    ),
    ("line", "integer", "The line in which the JSON is wrong."),
    (
        "model",
        "string",
        "The model that cannot take what was asked for.",
    ),
    ("near", "strings", "Models of a similar name."),
    ("needed", "integer", "The credits that the call costs."),
    ("replacedBy", "string", "The model to use instead."),
    ("retryAfterSeconds", "integer", "When to come back."),
    ("scope", "string", "The scope that the call needs."),
    (
        "settings",
        "strings",
        "The server's settings any of which would make the model available.",
    ),
];

fn error_schema() -> Value {
    let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.row().word).collect();
    let violation = json!({
        "type": "object",
        "properties": {
            "field": {"type": "string", "description": "The field."},
            "description": {"type": "string", "description": "What is allowed."},
        },
        "required": ["field", "description"],
    });
    let mut details = json!({
        "fieldViolations": {"type": "array", "items": violation, "description": "The fields that are wrong."},
    });
    for (name, kind, meaning) in DETAILS {
        details[name] = match kind {
            "strings" => {
                json!({"type": "array", "items": {"type": "string"}, "description": meaning})
            }
            kind => json!({"type": kind, "description": meaning}),
        };
    }
    json!({
        "type": "object",
        "description": "A call that failed.",
        "properties": {
            "code": {"type": "integer", "description": "A gRPC status code, never 0."},
            "message": {"type": "string", "description": "What happened and what is allowed, for people."},
            "reason": {"type": "string", "description": "A stable word for programs.", "enum": words},
            "details": {
                "type": "object",
                "description": "Named values that the message speaks of; each only where it applies.",
                "properties": details,
            },
        },
        "required": ["code", "message", "reason", "details"],
    })
}

fn response_name(status: u16) -> String {
    format!("Status{status}")
}

fn reference(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

/// A JSON Schema as utoipa's type. Nothing may be lost on the way.
fn typed(schema: Value) -> Result<RefOr<Schema>, Wrong> {
    let typed: RefOr<Schema> =
        serde_json::from_value(schema.clone()).map_err(|error| format!("{schema}: {error}"))?;
    let kept = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    if kept == schema {
        Ok(typed)
    } else {
        Err(format!("the schema {schema} would become {kept}"))
    }
}
