//! JSON Schema 2020-12 of messages.
//!
//! One emitter serves MCP tools, where nested messages stand in place, and OpenAPI 3.1, whose schemas
//! are JSON Schema 2020-12 as well, where they are named once and referred to.

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::messages::TIMESTAMP;
use super::options::{self, Limits};
use super::{Spec, Wrong};

/// Which way the message goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A request: unknown fields are refused, required ones must be given.
    In,
    /// An answer: fields may be added later, those that are always there are required.
    Out,
}

/// How nested messages are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nested {
    /// In place, for tools: what is not in tools is left out.
    Inline,
    /// As `#/components/schemas/{Name}`.
    Reference,
}

/// The schema of a message.
///
/// # Errors
/// A missing comment, a message that contains itself (in place), or a rule that does not fit.
pub fn of_message(
    spec: &Spec,
    message: &MessageDescriptor,
    way: Way,
    nested: Nested,
) -> Result<Value, Wrong> {
    message_at(spec, message, way, nested, 0)
}

fn message_at(
    spec: &Spec,
    message: &MessageDescriptor,
    way: Way,
    nested: Nested,
    depth: usize,
) -> Result<Value, Wrong> {
    if depth > 8 {
        return Err(format!(
            "{} contains itself: it cannot be written in place",
            message.full_name()
        ));
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in message.fields() {
        if nested == Nested::Inline && options::is_not_in_tools(&field) {
            continue;
        }
        let limits = options::limits(&field)?;
        let always = match way {
            Way::In => limits.required,
            Way::Out => !field.supports_presence(),
        };
        if always {
            required.push(json!(field.json_name()));
        }
        properties.insert(
            field.json_name().to_owned(),
            of_field(spec, &field, &limits, way, nested, depth)?,
        );
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = Value::Array(required);
    }
    if way == Way::In {
        schema["additionalProperties"] = json!(false);
    }
    Ok(schema)
}

fn of_field(
    spec: &Spec,
    field: &FieldDescriptor,
    limits: &Limits,
    way: Way,
    nested: Nested,
    depth: usize,
) -> Result<Value, Wrong> {
    let repeated = field.cardinality() == Cardinality::Repeated;
    let item_limits = match &limits.kind {
        Some(options::Kind::List { items, .. }) => items.as_ref(),
        _ => limits,
    };
    let mut schema = of_kind(spec, field, item_limits, way, nested, depth)?;
    if repeated {
        schema = json!({"type": "array", "items": schema});
        if let Some(options::Kind::List { min, max, .. }) = &limits.kind {
            put(&mut schema, "minItems", *min);
            put(&mut schema, "maxItems", *max);
        }
    }
    // A reference with siblings is allowed in 2020-12; the sibling describes the field.
    schema["description"] = json!(options::field_comment(field)?);
    if let Some(example) = options::example(field)? {
        schema["examples"] = json!([example]);
    }
    Ok(schema)
}

fn of_kind(
    spec: &Spec,
    field: &FieldDescriptor,
    limits: &Limits,
    way: Way,
    nested: Nested,
    depth: usize,
) -> Result<Value, Wrong> {
    Ok(match field.kind() {
        Kind::String => {
            let mut schema = json!({"type": "string"});
            if let Some(options::Kind::Text {
                min,
                max,
                one_of,
                uuid,
            }) = &limits.kind
            {
                put(
                    &mut schema,
                    "minLength",
                    min.or(limits.required.then_some(1)),
                );
                put(&mut schema, "maxLength", *max);
                if !one_of.is_empty() {
                    schema["enum"] = json!(one_of);
                }
                if *uuid {
                    schema["format"] = json!("uuid");
                }
            }
            schema
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Double => json!({"type": "number"}),
        Kind::Int32 | Kind::Int64 => {
            let mut schema = json!({"type": "integer"});
            if let Some(options::Kind::Number { least, greatest }) = &limits.kind {
                put(&mut schema, "minimum", *least);
                put(&mut schema, "maximum", *greatest);
            }
            schema
        }
        Kind::Enum(one) => {
            let names: Vec<String> = one
                .values()
                .filter(|value| value.number() != 0)
                .map(|value| value.name().to_owned())
                .collect();
            json!({"type": "string", "enum": names})
        }
        Kind::Message(message) if message.full_name() == TIMESTAMP => {
            json!({"type": "string", "format": "date-time"})
        }
        Kind::Message(message) => match nested {
            Nested::Inline => message_at(spec, &message, way, nested, depth + 1)?,
            Nested::Reference => {
                json!({"$ref": format!("#/components/schemas/{}", message.name())})
            }
        },
        other => {
            return Err(format!(
                "{} is a {other:?}, which has no schema here",
                field.full_name()
            ));
        }
    })
}

fn put<T: serde::Serialize>(schema: &mut Value, keyword: &str, value: Option<T>) {
    if let Some(value) = value {
        schema[keyword] = json!(value);
    }
}

/// The schema of a tool's answer: the envelope, whose `data` is the message. One schema describes
/// success and failure, since clients check both against it.
///
/// # Errors
/// Those of [`of_message`].
pub fn of_envelope(spec: &Spec, message: &MessageDescriptor) -> Result<Value, Wrong> {
    let mut data = of_message(spec, message, Way::Out, Nested::Inline)?;
    data["description"] = json!("The answer, when code is 0.");
    Ok(json!({
        "type": "object",
        "properties": {
            "code": {"type": "integer", "description": "0 on success, otherwise a gRPC status code."},
            "message": {"type": "string", "description": "ok, or what went wrong and what is allowed."},
            "data": data,
            "reason": {"type": "string", "description": "On failure: a stable word for programs."},
            "details": {"type": "object", "description": "On failure: named values that the message speaks of."},
        },
        "required": ["code", "message"],
    }))
}
