//! Messages: prost structs with serde attributes, the names of enum values, validators.

use std::fmt::Write as _;
use std::path::Path;

use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::options::{self, Limits};
use super::{Spec, Wrong};

/// The well-known type of times; the only message from elsewhere that a field may have.
pub const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// Writes prost messages and tonic services to `{out}/{package}.rs`.
///
/// # Errors
/// A field of a type that has no JSON form here, or the generator's own.
pub fn write(spec: &Spec, out: &Path) -> Result<(), Wrong> {
    let mut config = prost_build::Config::new();
    config.extern_path(
        format!(".{}", options::HTTP_BODY),
        "::piooy::spec::body::HttpBody",
    );
    for message in own_messages(spec) {
        let name = message.full_name();
        config.type_attribute(name, "#[derive(::serde::Serialize, ::serde::Deserialize)]");
        config.type_attribute(name, "#[serde(default, deny_unknown_fields)]");
        for field in message.fields() {
            let path = format!("{name}.{}", field.name());
            config.field_attribute(&path, serde_attribute(spec, &field)?);
        }
    }
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds_with_config(spec.own_files(), config)
        .map_err(|error| error.to_string())
}

fn own_messages(spec: &Spec) -> impl Iterator<Item = MessageDescriptor> + '_ {
    spec.pool
        .all_messages()
        .filter(|message| message.package_name() == spec.package)
}

fn own_enums(spec: &Spec) -> impl Iterator<Item = EnumDescriptor> + '_ {
    spec.pool
        .all_enums()
        .filter(|one| one.package_name() == spec.package)
}

/// How a field is read from and written to JSON.
fn serde_attribute(spec: &Spec, field: &FieldDescriptor) -> Result<String, Wrong> {
    let json = field.json_name();
    let mut parts = vec![format!("rename = {json:?}")];
    for alias in [field.name().to_owned(), camel(field.name())] {
        if alias != json && !parts.contains(&format!("alias = {alias:?}")) {
            parts.push(format!("alias = {alias:?}"));
        }
    }
    let repeated = field.cardinality() == Cardinality::Repeated;
    let read = match field.kind() {
        Kind::Message(message) if message.full_name() == TIMESTAMP && !repeated => {
            parts.push("serialize_with = \"::piooy::spec::json::time\"".to_owned());
            parts.push("skip_serializing_if = \"Option::is_none\"".to_owned());
            "optional".to_owned()
        }
        Kind::Message(message) if message.package_name() == spec.package && !field.is_map() => {
            if !repeated {
                parts.push("skip_serializing_if = \"Option::is_none\"".to_owned());
            }
            if repeated { "messages" } else { "message" }.to_owned()
        }
        Kind::Enum(one) if !repeated && !field.supports_presence() => {
            let path = rust_path(spec, one.full_name());
            parts.push(format!(
                "serialize_with = \"::piooy::spec::json::enum_name::<{path}, _>\""
            ));
            format!("enum_one::<{path}, _>")
        }
        Kind::String | Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Double => {
            if repeated {
                "many".to_owned()
            } else if field.supports_presence() {
                parts.push("skip_serializing_if = \"Option::is_none\"".to_owned());
                "optional".to_owned()
            } else {
                "one".to_owned()
            }
        }
        other => {
            return Err(format!(
                "{} is a {other:?}, which has no JSON form here",
                field.full_name()
            ));
        }
    };
    parts.push(format!(
        "deserialize_with = \"::piooy::spec::json::{read}\""
    ));
    Ok(format!("#[serde({})]", parts.join(", ")))
}

/// `aspect_ratio` as `aspectRatio`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut result = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        result.push_str(&first.to_ascii_uppercase());
        result.push_str(rest);
    }
    result
}

/// `TaskStatus` as prost and tonic name its module, `GenerateImage` its function: `task_status`,
/// `generate_image`.
pub fn snake(name: &str) -> String {
    let mut result = String::new();
    for (index, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            result.push('_');
        }
        result.push(c.to_ascii_lowercase());
    }
    result
}

/// The Rust path of a message or enum of the package.
pub fn rust_path(spec: &Spec, full_name: &str) -> String {
    let inner = full_name
        .strip_prefix(&format!("{}.", spec.package))
        .unwrap_or(full_name);
    let mut parts: Vec<String> = inner.split('.').map(str::to_owned).collect();
    let name = parts.pop().unwrap_or_default();
    let modules: String = parts
        .iter()
        .map(|part| format!("{}::", snake(part)))
        .collect();
    format!("{}::{modules}{name}", spec.root)
}

/// What belongs to messages and enums beside the structs: enum names and validators.
///
/// # Errors
/// A comment that is missing, or a rule that cannot be enforced.
pub fn companions(spec: &Spec) -> Result<String, Wrong> {
    let mut code = String::new();
    for one in own_enums(spec) {
        let names: String = one
            .values()
            .filter(|value| value.number() != 0)
            .map(|value| format!("({:?}, {}), ", value.name(), value.number()))
            .collect();
        let path = rust_path(spec, one.full_name());
        let _ = writeln!(
            code,
            "impl ::piooy::spec::json::Enumeration for {path} {{\n    \
             const NAMES: &'static [(&'static str, i32)] = &[{names}];\n}}"
        );
    }
    for message in own_messages(spec) {
        options::message_comment(&message)?;
        let mut checks = String::new();
        for field in message.fields() {
            options::field_comment(&field)?;
            checks.push_str(&check(spec, &field)?);
        }
        let path = rust_path(spec, message.full_name());
        let names = message.fields().map(|field| field.json_name().to_owned());
        let fields: Vec<String> = names.collect();
        let argument = if checks.is_empty() { "_" } else { "to" };
        let _ = writeln!(
            code,
            "impl ::piooy::spec::validate::Validate for {path} {{\n    \
             const FIELDS: &'static [&'static str] = &{fields:?};\n    \
             fn validate(&self, {argument}: &mut ::piooy::spec::validate::Violations) {{\n{checks}    }}\n}}"
        );
    }
    Ok(code)
}

/// The statements that check one field.
fn check(spec: &Spec, field: &FieldDescriptor) -> Result<String, Wrong> {
    let limits = options::limits(field)?;
    let (json, name) = (field.json_name(), field_ident(field.name()));
    let repeated = field.cardinality() == Cardinality::Repeated;
    if let Kind::Message(message) = field.kind() {
        let mut code = String::new();
        if limits.required && !repeated {
            let _ = writeln!(code, "        to.present({json:?}, self.{name}.is_some());");
        }
        if message.package_name() == spec.package && !repeated {
            let _ = writeln!(
                code,
                "        if let Some(message) = &self.{name} {{ to.nested({json:?}, message); }}"
            );
        }
        return Ok(code);
    }
    match (&limits.kind, field.kind()) {
        (Some(options::Kind::List { min, max, items }), kind) if repeated => {
            let mut code = format!(
                "        to.items({json:?}, self.{name}.len(), {}, {});\n",
                size(*min),
                size(*max)
            );
            if let (Some(options::Kind::Text { .. }), Kind::String) = (&items.kind, kind) {
                let _ = writeln!(
                    code,
                    "        for (index, item) in self.{name}.iter().enumerate() {{\n            \
                     to.text(&format!(\"{json}[{{index}}]\"), item, {});\n        }}",
                    text_limits(items)
                );
            }
            Ok(code)
        }
        (Some(options::Kind::Number { least, greatest }), Kind::Int32 | Kind::Int64)
            if !repeated =>
        {
            let limits = format!(
                "::piooy::spec::validate::Number {{ least: {least:?}, greatest: {greatest:?} }}"
            );
            Ok(if field.supports_presence() {
                format!(
                    "        if let Some(value) = self.{name} {{ to.number({json:?}, value, {limits}); }}\n"
                )
            } else {
                format!("        to.number({json:?}, self.{name}, {limits});\n")
            })
        }
        (Some(options::Kind::Text { .. }), Kind::String)
            if !repeated && !field.supports_presence() =>
        {
            Ok(format!(
                "        to.text({json:?}, &self.{name}, {});\n",
                text_limits(&limits)
            ))
        }
        (None, Kind::String) if !repeated && !field.supports_presence() => Ok(format!(
            "        to.text({json:?}, &self.{name}, {});\n",
            text_limits(&limits)
        )),
        (None, _) if !limits.required => Ok(String::new()),
        _ => Err(format!(
            "{}: this validation rule does not fit the field",
            field.full_name()
        )),
    }
}

fn text_limits(limits: &Limits) -> String {
    let (min, max, one_of, uuid) = match &limits.kind {
        Some(options::Kind::Text {
            min,
            max,
            one_of,
            uuid,
        }) => (*min, *max, one_of.as_slice(), *uuid),
        _ => (None, None, &[][..], false),
    };
    format!(
        "::piooy::spec::validate::Text {{ required: {}, characters_min: {}, characters_max: {}, one_of: &{one_of:?}, uuid: {uuid} }}",
        limits.required,
        size(min),
        size(max)
    )
}

fn size(bound: Option<u64>) -> String {
    format!("{bound:?}")
}

/// prost escapes fields that are Rust keywords.
fn field_ident(name: &str) -> String {
    if matches!(
        name,
        "type" | "match" | "ref" | "use" | "in" | "as" | "move" | "loop" | "where" | "for"
    ) {
        format!("r#{name}")
    } else {
        name.to_owned()
    }
}
