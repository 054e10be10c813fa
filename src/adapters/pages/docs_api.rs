//! `/docs/api`, `/docs/messages` and `/docs/errors`: the OpenAPI document for people, with the address of this server in every
//! example.
//!
//! An operation shows what it takes and what it answers; messages that several of them share are told
//! once, on a page of their own. A request message is told where it is first taken.

use std::collections::BTreeSet;

use askama::Template;
use axum::Router;
use serde_json::{Map, Value, json};

use super::examples::{authority, indented};
use super::snippet::Snippet;
use super::{Frame, KEY, public, written};
use crate::adapters::entry::Shared;
use crate::adapters::{MCP_PATH, Options};
use crate::spec::reason::{Fault, Reason};
use crate::spec::v1::METHODS;
use crate::spec::{self, OPENAPI};

const PATH: &str = "/docs/api";
const MESSAGES: &str = "/docs/messages";
const ERRORS: &str = "/docs/errors";

/// The message of every failure, which has a page of its own.
const ERROR: &str = "Error";

/// The pages. Written once.
pub fn router(house: &Shared) -> Router {
    let document = serde_json::from_str(OPENAPI).expect("the build writes JSON");
    let options = &house.parts.options;
    let (api, messages) = ApiPage::of(&document, options);
    Router::new()
        .route(PATH, written(house, api))
        .route(MESSAGES, written(house, messages))
        .route(ERRORS, written(house, ErrorsPage::of(&document, options)))
}

#[derive(Template)]
#[template(path = "docs_errors.html")]
struct ErrorsPage {
    frame: Frame,
    fields: Vec<Field>,
    reasons: Vec<ReasonRow>,
}

public!(ApiPage, MessagesPage, ErrorsPage);

impl ErrorsPage {
    fn of(document: &Value, options: &Options) -> Self {
        Self {
            frame: Frame::new(
                options,
                ERRORS,
                "Errors",
                "Every reason for which a call fails, its status, whether to try again, and who can mend it.",
            ),
            fields: fields(&document["components"]["schemas"][ERROR]),
            reasons: reasons(),
        }
    }
}

#[derive(Template)]
#[template(path = "docs_messages.html")]
struct MessagesPage {
    frame: Frame,
    messages: Vec<Message>,
}

#[derive(Template)]
#[template(path = "docs_api.html")]
struct ApiPage {
    frame: Frame,
    key: &'static str,
    check: Snippet,
    /// What every operation may answer.
    common: Vec<String>,
    tags: Vec<Tag>,
    services: Vec<&'static str>,
    list: Snippet,
    mcp: String,
}

/// Operations that belong together.
struct Tag {
    name: String,
    description: String,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    title: String,
    verb: String,
    path: String,
    description: String,
    grpc: &'static str,
    tool: Option<&'static str>,
    scope: &'static str,
    parameters: Vec<Field>,
    body: Option<Body>,
    answer: Kind,
    /// The media type of the answer, where it is no envelope of JSON.
    media_type: Option<String>,
    /// The statuses of its failures, but for those that all operations have.
    statuses: Vec<String>,
    example: Snippet,
}

/// A request message, with its fields where they are told here.
struct Body {
    name: String,
    fields: Vec<Field>,
}

/// A message of answers.
struct Message {
    name: String,
    description: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    /// Where a parameter stands, where that is not clear.
    place: &'static str,
    required: bool,
    kind: Kind,
    /// What is allowed, such as `1 to 16`.
    limits: String,
    description: String,
}

/// What a value is: words before, and the message's name.
#[derive(Default)]
struct Kind {
    words: String,
    message: String,
}

struct ReasonRow {
    /// The HTTP status, at the first reason that has it.
    first_of: Option<u16>,
    status: u16,
    word: &'static str,
    meaning: &'static str,
    retryable: bool,
    mender: &'static str,
}

impl ApiPage {
    /// The page, and that of the messages that it does not tell itself.
    fn of(document: &Value, options: &Options) -> (Self, MessagesPage) {
        let url = &options.public_url;
        let empty = Map::new();
        let schemas = document["components"]["schemas"]
            .as_object()
            .unwrap_or(&empty);
        let mut told = BTreeSet::from([ERROR.to_owned()]);
        let mut tags: Vec<Tag> = document["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tag| Tag {
                name: text(&tag["name"]),
                description: text(&tag["description"]),
                operations: operations(document, &tag["name"], url, schemas, &mut told),
            })
            .collect();
        let common = common_statuses(&mut tags);
        let rest = schemas.iter().filter(|(name, _)| !told.contains(*name));
        let mut services: Vec<_> = METHODS
            .iter()
            .map(|method| service(method.grpc_path))
            .collect();
        services.dedup();
        let messages = MessagesPage {
            frame: Frame::new(
                options,
                MESSAGES,
                "Messages",
                "Every message that answers of the API are made of, with its fields.",
            ),
            messages: rest
                .map(|(name, schema)| Message {
                    name: name.clone(),
                    description: text(&schema["description"]),
                    fields: fields(schema),
                })
                .collect(),
        };
        let api = Self {
            frame: Frame::new(
                options,
                PATH,
                "API reference",
                "Every call of the API: what it takes, what it answers, what can go wrong, and how to make it with curl.",
            ),
            key: KEY,
            check: Snippet::shell(
                "Terminal",
                format!("curl {url}/api/v1/credits \\\n  -H \"Authorization: Bearer {KEY}\""),
                KEY,
            ),
            common,
            tags,
            services,
            list: Snippet::shell(
                "Terminal",
                format!(
                    "grpcurl {}{} list",
                    if url.starts_with("https:") {
                        ""
                    } else {
                        "-plaintext "
                    },
                    authority(url)
                ),
                KEY,
            ),
            mcp: format!("{url}{MCP_PATH}"),
        };
        (api, messages)
    }
}

/// Takes from every operation the statuses that all have.
fn common_statuses(tags: &mut [Tag]) -> Vec<String> {
    let operations = || tags.iter().flat_map(|tag| &tag.operations);
    let mut common = operations()
        .next()
        .map_or_else(Vec::new, |operation| operation.statuses.clone());
    common.retain(|status| operations().all(|operation| operation.statuses.contains(status)));
    for operation in tags.iter_mut().flat_map(|tag| &mut tag.operations) {
        operation.statuses.retain(|status| !common.contains(status));
    }
    common
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `piooy.v1.GenerationService` of `/piooy.v1.GenerationService/Generate`.
fn service(grpc_path: &'static str) -> &'static str {
    let path = grpc_path.trim_start_matches('/');
    path.split_once('/').map_or(path, |(service, _)| service)
}

fn operations(
    document: &Value,
    tag: &Value,
    url: &str,
    schemas: &Map<String, Value>,
    told: &mut BTreeSet<String>,
) -> Vec<Operation> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, verbs)| {
        let verbs = verbs.as_object().into_iter().flatten();
        verbs.map(move |(verb, operation)| (path, verb, operation))
    });
    all.filter(|(_, _, operation)| operation["tags"][0] == *tag)
        .map(|(path, verb, operation)| self::operation(path, verb, operation, url, schemas, told))
        .collect()
}

fn operation(
    path: &str,
    verb: &str,
    operation: &Value,
    url: &str,
    schemas: &Map<String, Value>,
    told: &mut BTreeSet<String>,
) -> Operation {
    let id = text(&operation["operationId"]);
    let method = METHODS.iter().find(|method| method.name == id);
    let parameters: Vec<&Value> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let body = content(&operation["requestBody"]).map(|(_, schema)| message(schema));
    let answer = content(&operation["responses"]["200"]);
    let is_json = answer.is_some_and(|(media_type, _)| media_type == "application/json");
    let statuses = operation["responses"].as_object().into_iter().flatten();
    Operation {
        title: in_words(&id),
        verb: verb.to_uppercase(),
        path: path.to_owned(),
        description: text(&operation["description"]),
        grpc: method.map_or("", |method| method.grpc_path.trim_start_matches('/')),
        tool: method.and_then(|method| Some(method.tool.as_ref()?.name)),
        scope: method.map_or("", |method| method.scope),
        parameters: parameters
            .iter()
            .map(|parameter| self::parameter(parameter))
            .collect(),
        example: example(
            verb,
            path,
            &parameters,
            body.and_then(|name| schemas.get(name)),
            url,
        ),
        body: body.map(|name| Body {
            name: name.to_owned(),
            fields: if told.insert(name.to_owned()) {
                schemas.get(name).map(fields).unwrap_or_default()
            } else {
                Vec::new()
            },
        }),
        answer: answer
            .map(|(_, schema)| answer_kind(schema))
            .unwrap_or_default(),
        media_type: answer
            .map(|(media_type, _)| media_type.to_owned())
            .filter(|_| !is_json),
        statuses: statuses
            .map(|(status, _)| status.clone())
            .filter(|status| status != "200")
            .collect(),
        id,
    }
}

/// The media type and schema of what is sent.
fn content(holder: &Value) -> Option<(&str, &Value)> {
    let (media_type, content) = holder["content"].as_object()?.iter().next()?;
    Some((media_type, &content["schema"]))
}

/// The name of the message that a schema refers to.
fn message(schema: &Value) -> &str {
    let reference = schema["$ref"].as_str().unwrap_or_default();
    reference.rsplit('/').next().unwrap_or_default()
}

/// What stands in the envelope, or, where there is none, what is answered.
fn answer_kind(schema: &Value) -> Kind {
    let data = &schema["properties"]["data"];
    kind(if data.is_null() { schema } else { data })
}

/// `GetTaskStatus` as `Get task status`.
fn in_words(name: &str) -> String {
    let mut words = String::new();
    for (at, letter) in name.chars().enumerate() {
        if at > 0 && letter.is_ascii_uppercase() {
            words.push(' ');
            words.push(letter.to_ascii_lowercase());
        } else {
            words.push(letter);
        }
    }
    words.replace("api key", "API key")
}

fn parameter(parameter: &Value) -> Field {
    let schema = &parameter["schema"];
    Field {
        name: text(&parameter["name"]),
        place: match parameter["in"].as_str() {
            Some("path") => "in the path",
            Some("header") => "header",
            _ => "query",
        },
        required: parameter["required"] == true,
        kind: kind(schema),
        limits: limits(schema),
        description: text(&parameter["description"]),
    }
}

fn fields(schema: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    put_fields(schema, "", &mut fields);
    fields
}

/// The fields of a schema, and, after each that has fields of its own without being a message, those.
fn put_fields(schema: &Value, prefix: &str, fields: &mut Vec<Field>) {
    let required = schema["required"].as_array();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        fields.push(Field {
            place: "",
            required: required.is_some_and(|names| names.contains(&json!(name))),
            kind: kind(field),
            limits: limits(field),
            description: text(&field["description"]),
            name: path.clone(),
        });
        put_fields(field, &format!("{path}."), fields);
        put_fields(&field["items"], &format!("{path}[]."), fields);
    }
}

fn kind(schema: &Value) -> Kind {
    if schema.get("$ref").is_some() {
        return Kind {
            words: String::new(),
            message: message(schema).to_owned(),
        };
    }
    let words = match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("array"), _) => {
            let of = kind(&schema["items"]);
            return Kind {
                words: format!("list of {}", of.words),
                message: of.message,
            };
        }
        (_, Some("date-time")) => "time",
        (_, Some("uuid")) => "UUID",
        (Some("boolean"), _) => "true or false",
        (Some("integer"), _) => "whole number",
        (Some(name), _) => name,
        (None, _) => "any",
    };
    Kind {
        words: words.to_owned(),
        message: String::new(),
    }
}

/// What a schema allows, in words.
fn limits(schema: &Value) -> String {
    let mut limits = Vec::new();
    let choices = schema["enum"]
        .as_array()
        .or(schema["items"]["enum"].as_array());
    // The reasons have a table.
    if let Some(choices) = choices.filter(|choices| choices.len() < Reason::ALL.len()) {
        let words: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        limits.push(words.join(", "));
    }
    match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => {}
        (low, Value::Null) => limits.push(format!("{low} or more")),
        (Value::Null, high) => limits.push(format!("at most {high}")),
        (low, high) => limits.push(format!("{low} to {high}")),
    }
    for (name, what) in [("maxLength", "characters"), ("maxItems", "of them")] {
        if let Some(most) = schema[name].as_u64() {
            limits.push(format!("at most {most} {what}"));
        }
    }
    limits.join("; ")
}

/// The shortest call: what must be given, as the spec's examples have it.
fn example(
    verb: &str,
    path: &str,
    parameters: &[&Value],
    body: Option<&Value>,
    url: &str,
) -> Snippet {
    let mut target = path.to_owned();
    for parameter in parameters
        .iter()
        .filter(|parameter| parameter["in"] == "path")
    {
        let name = text(&parameter["name"]);
        let value = parameter["schema"]["examples"][0]
            .as_str()
            .map_or_else(|| name.to_uppercase(), str::to_owned);
        target = target.replace(&format!("{{{name}}}"), &value);
    }
    let mut text = format!("curl {url}{target} \\\n  -H \"Authorization: Bearer {KEY}\"");
    if let Some(schema) = body {
        let required = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let named = required.map(|name| {
            (
                name.to_owned(),
                schema["properties"][name]["examples"][0].clone(),
            )
        });
        let object = Value::Object(named.collect());
        text += &format!(
            " \\\n  -H \"Content-Type: application/json\" \\\n  -d '{}'",
            indented(&object, 2)
        );
    } else if verb != "get" {
        text += &format!(" \\\n  -X {}", verb.to_uppercase());
    }
    Snippet::shell("Terminal", text, KEY)
}

/// Everything that can go wrong, by HTTP status.
fn reasons() -> Vec<ReasonRow> {
    let mut rows: Vec<_> = Reason::ALL.iter().map(|reason| reason.row()).collect();
    rows.sort_by_key(|row| row.http_status);
    let mut before = 0;
    let row = |row: spec::reason::Row| {
        let status = row.http_status;
        let first_of = (status != before).then_some(status);
        before = status;
        ReasonRow {
            first_of,
            status,
            word: row.word,
            meaning: row.meaning.trim(),
            retryable: row.retryable,
            mender: match row.fault {
                Fault::Caller => "you",
                Fault::Operator => "the operator",
                Fault::Upstream => "the upstream",
            },
        }
    };
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_message_and_reason_is_on_its_page_once() {
        let document: Value = serde_json::from_str(OPENAPI).expect("is JSON");
        let options = Options {
            public_url: "https://gw.example".to_owned(),
            body_bytes_max: 1,
            trusted_proxy: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            mcp_sse: true,
        };
        let (api, messages) = ApiPage::of(&document, &options);
        let page = api.render().expect("is text") + &messages.render().expect("is text");
        let errors = ErrorsPage::of(&document, &options);
        let errors = errors.render().expect("is text");
        let places = |page: &str, id: &str| page.matches(&format!(" id=\"{id}\"")).count();
        let anchors = |id: &str| places(&page, id);
        let verbs = document["paths"]
            .as_object()
            .into_iter()
            .flat_map(Map::values);
        for operation in verbs
            .flat_map(|verbs| verbs.as_object())
            .flat_map(Map::values)
        {
            assert_eq!(anchors(&text(&operation["operationId"])), 1);
        }
        for name in document["components"]["schemas"]
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .filter(|name| *name != ERROR)
        {
            assert_eq!(anchors(&format!("message-{name}")), 1, "{name}");
        }
        for reason in Reason::ALL {
            assert_eq!(places(&errors, reason.row().word), 1);
        }
        assert_eq!((page + &errors).matches("localhost").count(), 0);
    }

    #[test]
    fn names_are_told_in_words() {
        assert_eq!(in_words("GetTaskStatus"), "Get task status");
        assert_eq!(in_words("ListApiKeys"), "List API keys");
    }
}
