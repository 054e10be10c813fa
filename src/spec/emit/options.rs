//! Reads what the protos say of a method or field beside its type: comments and options.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor,
    ReflectMessage, Value,
};

use super::Wrong;

/// The message of an answer that is a file.
pub const HTTP_BODY: &str = "google.api.HttpBody";

/// A method's HTTP binding, from `google.api.http`.
pub struct Http {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub verb: &'static str,
    /// The path, with `{jsonName}` for parameters.
    pub path: String,
    /// The JSON names of the path's parameters.
    pub parameters: Vec<String>,
    /// Whether the request message is the body.
    pub body: bool,
}

/// What a caller needs, from `piooy.options.v1.access`.
pub struct Access {
    /// The scope.
    pub scope: String,
    /// `Read` or `Submit`.
    pub budget: &'static str,
}

/// A method's MCP tool, from `piooy.options.v1.tool`.
pub struct Tool {
    /// The tool's name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The four hints: read-only, destructive, idempotent, open-world.
    pub hints: [bool; 4],
    /// The view that shows its answer.
    pub view: Option<String>,
}

/// A field's limits, from `buf.validate.field`.
#[derive(Default)]
pub struct Limits {
    /// Must it be set?
    pub required: bool,
    /// The limits of its type.
    pub kind: Option<Kind>,
}

/// Limits by type.
pub enum Kind {
    /// Of a string.
    Text {
        min: Option<u64>,
        max: Option<u64>,
        one_of: Vec<String>,
        uuid: bool,
    },
    /// Of an integer.
    Number {
        least: Option<i64>,
        greatest: Option<i64>,
    },
    /// Of a list.
    List {
        min: Option<u64>,
        max: Option<u64>,
        items: Box<Limits>,
    },
}

/// The comment of a method, on one line for each paragraph.
///
/// # Errors
/// When there is none.
pub fn method_comment(method: &MethodDescriptor) -> Result<String, Wrong> {
    comment(
        &method.parent_service().parent_file(),
        method.path(),
        method.full_name(),
    )
}

/// The comment of a field.
///
/// # Errors
/// When there is none.
pub fn field_comment(field: &FieldDescriptor) -> Result<String, Wrong> {
    comment(
        &field.parent_message().parent_file(),
        field.path(),
        field.full_name(),
    )
}

/// The comment of a message.
///
/// # Errors
/// When there is none.
pub fn message_comment(message: &MessageDescriptor) -> Result<String, Wrong> {
    comment(&message.parent_file(), message.path(), message.full_name())
}

/// The comment of a service.
///
/// # Errors
/// When there is none.
pub fn service_comment(service: &prost_reflect::ServiceDescriptor) -> Result<String, Wrong> {
    comment(&service.parent_file(), service.path(), service.full_name())
}

/// `path` is the place of the thing in its file, as `SourceCodeInfo.Location.path` counts it.
fn comment(file: &FileDescriptor, path: &[i32], name: &str) -> Result<String, Wrong> {
    let source = file.file_descriptor_proto().source_code_info.as_ref();
    let place = source.and_then(|source| source.location.iter().find(|place| place.path == path));
    let text = place
        .map(|place| place.leading_comments().trim())
        .unwrap_or_default();
    if text.is_empty() {
        return Err(format!(
            "{name} has no comment: it is the description that everyone reads"
        ));
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    Ok(lines.join(" "))
}

/// A method's HTTP binding, if it has one.
///
/// # Errors
/// When the binding has no path, or its path names a field that does not exist.
pub fn http(method: &MethodDescriptor) -> Result<Option<Http>, Wrong> {
    let Some(rule) = message_extension(&method.options(), "google.api.http") else {
        return Ok(None);
    };
    let verbs = [
        ("get", "GET"),
        ("put", "PUT"),
        ("post", "POST"),
        ("delete", "DELETE"),
        ("patch", "PATCH"),
    ];
    let (verb, template) = verbs
        .iter()
        .find_map(|(field, verb)| Some((*verb, text(&rule, field)?)))
        .ok_or_else(|| format!("{} is bound to no path", method.full_name()))?;
    let mut parameters = Vec::new();
    let mut path = String::new();
    for segment in template.split('/').skip(1) {
        path.push('/');
        match segment
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
        {
            None => path.push_str(segment),
            Some(name) => {
                let field = method.input().get_field_by_name(name).ok_or_else(|| {
                    format!(
                        "{}: the path names {name}, but {} has no such field",
                        method.full_name(),
                        method.input().full_name()
                    )
                })?;
                path.push_str(&format!("{{{}}}", field.json_name()));
                parameters.push(field.json_name().to_owned());
            }
        }
    }
    match text(&rule, "body").as_deref() {
        None => Ok(Some(Http {
            verb,
            path,
            parameters,
            body: false,
        })),
        Some("*") => Ok(Some(Http {
            verb,
            path,
            parameters,
            body: true,
        })),
        Some(other) => Err(format!(
            "{}: body is \"{other}\"; only \"*\" is supported",
            method.full_name()
        )),
    }
}

/// What a caller of the method needs.
///
/// # Errors
/// When the method does not say.
pub fn access(method: &MethodDescriptor) -> Result<Access, Wrong> {
    let name = method.full_name();
    let option =
        message_extension(&method.options(), "piooy.options.v1.access").ok_or_else(|| {
            format!("{name} has no access option: say which scope and budget a call needs")
        })?;
    let scope = text(&option, "scope").ok_or_else(|| format!("{name} names no scope"))?;
    let budget = match option
        .get_field_by_name("budget")
        .as_deref()
        .and_then(Value::as_enum_number)
    {
        Some(1) => "Read",
        Some(2) => "Submit",
        _ => return Err(format!("{name} names no budget")),
    };
    Ok(Access { scope, budget })
}

/// The method's MCP tool, if it is one.
///
/// # Errors
/// When the tool has no proper name or title.
pub fn tool(method: &MethodDescriptor) -> Result<Option<Tool>, Wrong> {
    let Some(option) = message_extension(&method.options(), "piooy.options.v1.tool") else {
        return Ok(None);
    };
    let name = text(&option, "name").unwrap_or_default();
    let proper = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(proper) {
        return Err(format!(
            "{}: the tool's name must be 1 to 64 of a-z, 0-9 and _",
            method.full_name()
        ));
    }
    let title = text(&option, "title").ok_or_else(|| format!("the tool {name} has no title"))?;
    let hints =
        ["read_only", "destructive", "idempotent", "open_world"].map(|hint| flag(&option, hint));
    let view = text(&option, "view");
    if view.as_ref().is_some_and(|view| !view.starts_with("ui://")) {
        return Err(format!("the tool {name} has a view that is not ui://…"));
    }
    Ok(Some(Tool {
        name,
        title,
        hints,
        view,
    }))
}

/// The name under which addresses of callers are sent the message; none: they are not.
pub fn webhook(message: &MessageDescriptor) -> Option<String> {
    text_extension(&message.options(), "piooy.options.v1.webhook")
}

/// The media type of the file that the method answers with; none: it answers with messages.
///
/// # Errors
/// When it streams a file of no media type, or names one and does not stream a file.
pub fn produces(method: &MethodDescriptor) -> Result<Option<String>, Wrong> {
    let produces = text_extension(&method.options(), "piooy.options.v1.produces");
    let file = method.output().full_name() == HTTP_BODY;
    if file == produces.is_some() && (!file || method.is_server_streaming()) {
        Ok(produces)
    } else {
        Err(format!(
            "{}: a file is a stream of {HTTP_BODY} with the option produces",
            method.full_name()
        ))
    }
}

/// The example value of a field, if it has one.
///
/// # Errors
/// When it is no value of the field's type.
pub fn example(field: &FieldDescriptor) -> Result<Option<serde_json::Value>, Wrong> {
    let Some(text) = text_extension(&field.options(), "piooy.options.v1.example") else {
        return Ok(None);
    };
    let value = match field.kind() {
        prost_reflect::Kind::Int32 | prost_reflect::Kind::Int64 => {
            let number = text.parse::<i64>();
            let no_number = |_| format!("{}: the example is no integer", field.full_name());
            number.map_err(no_number)?.into()
        }
        _ => text.into(),
    };
    Ok(Some(value))
}

/// Whether the schemas of tools leave the field out.
pub fn is_not_in_tools(field: &FieldDescriptor) -> bool {
    extension(&field.options(), "piooy.options.v1.not_in_tools")
        .and_then(|value| value.as_bool())
        .unwrap_or(false)
}

/// The limits of a field.
///
/// # Errors
/// When a rule does not fit the field's type.
pub fn limits(field: &FieldDescriptor) -> Result<Limits, Wrong> {
    match message_extension(&field.options(), "buf.validate.field") {
        None => Ok(Limits::default()),
        Some(rules) => limits_of(&rules).map_err(|wrong| format!("{}: {wrong}", field.full_name())),
    }
}

fn limits_of(rules: &DynamicMessage) -> Result<Limits, Wrong> {
    let kind = if let Some(rules) = nested(rules, "string") {
        let one_of = rules.get_field_by_name("in");
        let one_of = one_of
            .as_deref()
            .and_then(Value::as_list)
            .unwrap_or_default();
        let one_of = one_of
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        Some(Kind::Text {
            min: count(&rules, "min_len"),
            max: count(&rules, "max_len"),
            one_of,
            uuid: flag(&rules, "uuid"),
        })
    } else if let Some(rules) = nested(rules, "int32").or_else(|| nested(rules, "int64")) {
        Some(Kind::Number {
            least: integer(&rules, "gte"),
            greatest: integer(&rules, "lte"),
        })
    } else if let Some(rules) = nested(rules, "repeated") {
        let items = match nested(&rules, "items") {
            Some(items) => limits_of(&items)?,
            None => Limits::default(),
        };
        Some(Kind::List {
            min: count(&rules, "min_items"),
            max: count(&rules, "max_items"),
            items: Box::new(items),
        })
    } else {
        None
    };
    if rules.unknown_fields().next().is_some() {
        return Err("uses a validation rule that is not enforced here".to_owned());
    }
    Ok(Limits {
        required: flag(rules, "required"),
        kind,
    })
}

fn message_extension(options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    extension(options, name)?.as_message().cloned()
}

fn text_extension(options: &DynamicMessage, name: &str) -> Option<String> {
    extension(options, name)?.as_str().map(str::to_owned)
}

fn extension(options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = options
        .descriptor()
        .parent_pool()
        .get_extension_by_name(name)?;
    let set = options.has_extension(&extension);
    set.then(|| options.get_extension(&extension).into_owned())
}

fn set<'m>(message: &'m DynamicMessage, field: &str) -> Option<std::borrow::Cow<'m, Value>> {
    message
        .has_field_by_name(field)
        .then(|| message.get_field_by_name(field))
        .flatten()
}

fn nested(message: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    set(message, field)?.as_message().cloned()
}

fn text(message: &DynamicMessage, field: &str) -> Option<String> {
    set(message, field)?
        .as_str()
        .map(str::to_owned)
        .filter(|text| !text.is_empty())
}

fn flag(message: &DynamicMessage, field: &str) -> bool {
    set(message, field)
        .and_then(|value| value.as_bool())
        .unwrap_or(false)
}

fn count(message: &DynamicMessage, field: &str) -> Option<u64> {
    set(message, field)?.as_u64()
}

fn integer(message: &DynamicMessage, field: &str) -> Option<i64> {
    let value = set(message, field)?;
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}
