//! What the emitters make of small specs, and which specs they refuse.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::schema::{Nested, Way};
use super::{Spec, compile, methods, openapi, schema};

/// Compiles a service with one method `Do`, with those options, on messages `In` and `Out`.
fn spec(name: &str, options: &str, messages: &str) -> Result<Spec, String> {
    let text = format!(
        "syntax = \"proto3\"; package small.v1;\n\
         import \"buf/validate/validate.proto\"; import \"google/api/annotations.proto\";\n\
         import \"piooy/options/v1/options.proto\"; import \"google/protobuf/timestamp.proto\";\n\
         // Does things.\nservice SmallService {{\n// Does one thing. Then rests.\nrpc Do(In) returns (Out) {{ {options} }} }}\n{messages}"
    );
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("target/emit-tests")
        .join(name);
    fs::create_dir_all(&folder).expect("a folder for the proto");
    let file = folder.join("small.proto");
    fs::write(&file, text).expect("the proto is written");
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    compile("small.v1", "crate::small", &[&folder, &protos], &[&file])
}

const ACCESS: &str = r#"option (piooy.options.v1.access) = {scope: "read", budget: READ};"#;
const MESSAGES: &str = "// In.\nmessage In {\n// Its id.\nstring the_id = 1; }\n// Out.\nmessage Out {\n// Done?\nbool done = 1; }";

fn wrong(name: &str, options: &str, messages: &str) -> String {
    let made = spec(name, options, messages).and_then(|spec| {
        super::messages::companions(&spec)?;
        methods::register(&spec)?;
        openapi::document(&spec)
    });
    made.err().unwrap_or_else(|| panic!("{name} was taken"))
}

#[test]
fn specs_that_cannot_be_kept_are_refused() {
    let path = r#"option (google.api.http) = {get: "/a/{nope}"};"#;
    let body = r#"option (google.api.http) = {post: "/a", body: "the_id"};"#;
    let tool = r#"option (piooy.options.v1.tool) = {name: "Do It", title: "x"};"#;
    let produces = r#"option (piooy.options.v1.produces) = "text/csv";"#;
    let view =
        r#"option (piooy.options.v1.tool) = {name: "do_it", title: "x", view: "https://x.test"};"#;
    let table: [(&str, String, &str, &str); 10] = [
        (
            "bad-view",
            format!("{ACCESS}{view}"),
            MESSAGES,
            "has a view that is not ui://",
        ),
        (
            "bad-example",
            ACCESS.to_owned() + r#"option (piooy.options.v1.tool) = {name: "do_it", title: "x"};"#,
            "// In.\nmessage In {\n// Id.\nint32 the_id = 1 [(piooy.options.v1.example) = \"one\"]; }\n// Out.\nmessage Out {}",
            "the example is no integer",
        ),
        (
            "bad-file",
            format!("{ACCESS}{produces}"),
            MESSAGES,
            "a file is a stream of google.api.HttpBody",
        ),
        ("no-access", String::new(), MESSAGES, "has no access option"),
        (
            "bad-path",
            format!("{ACCESS}{path}"),
            MESSAGES,
            "the path names nope",
        ),
        (
            "bad-body",
            format!("{ACCESS}{body}"),
            MESSAGES,
            "only \"*\" is supported",
        ),
        (
            "bad-tool",
            format!("{ACCESS}{tool}"),
            MESSAGES,
            "a-z, 0-9 and _",
        ),
        (
            "no-comment",
            ACCESS.to_owned(),
            "// In.\nmessage In { string the_id = 1; }\n// Out.\nmessage Out {}",
            "small.v1.In.the_id has no comment",
        ),
        (
            "bad-rule",
            ACCESS.to_owned(),
            "// In.\nmessage In {\n// Id.\nstring the_id = 1 [(buf.validate.field).int32.gte = 1]; }\n// Out.\nmessage Out {}",
            "does not fit the field",
        ),
        (
            "bad-type",
            ACCESS.to_owned(),
            "// In.\nmessage In {\n// Id.\nbytes the_id = 1; }\n// Out.\nmessage Out {}",
            "bytes",
        ),
    ];
    for (name, options, messages, part) in table {
        let message = if name == "bad-type" {
            let spec = spec(name, &options, messages).expect("compiles");
            let out = std::env::temp_dir().join(format!("piooy-emit-{}", std::process::id()));
            spec.write(&out).expect_err("bytes have no JSON form")
        } else {
            wrong(name, &options, messages)
        };
        assert!(message.contains(part), "{name}: {message}");
    }
}

#[test]
fn limits_become_schema_keywords() {
    let messages = "// In.\nmessage In {\n\
        // The name.\nstring the_name = 1 [(buf.validate.field) = {required: true, string: {max_len: 9}}, (piooy.options.v1.example) = \"Ann\"];\n\
        // How many.\noptional int32 count = 2 [(buf.validate.field).int32 = {gte: 1, lte: 4}];\n\
        // Tags.\nrepeated string tags = 3 [(buf.validate.field).repeated = {max_items: 2, items: {string: {in: \"a\" in: \"b\"}}}];\n\
        // When.\ngoogle.protobuf.Timestamp at = 4; }\n// Out.\nmessage Out {\n// Left.\noptional int64 left = 1;\n// Names.\nrepeated string names = 2; }";
    let spec = spec("keywords", ACCESS, messages).expect("compiles");
    let message = |name: &str| spec.pool.get_message_by_name(name).expect("is there");
    let schema = schema::of_message(&spec, &message("small.v1.In"), Way::In, Nested::Inline)
        .expect("has a schema");
    assert_eq!(
        schema,
        json!({
            "type": "object",
            "properties": {
                "theName": {"type": "string", "minLength": 1, "maxLength": 9, "description": "The name.", "examples": ["Ann"]},
                "count": {"type": "integer", "minimum": 1, "maximum": 4, "description": "How many."},
                "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "maxItems": 2, "description": "Tags."},
                "at": {"type": "string", "format": "date-time", "description": "When."},
            },
            "required": ["theName"],
            "additionalProperties": false,
        })
    );
    let out = schema::of_message(&spec, &message("small.v1.Out"), Way::Out, Nested::Inline)
        .expect("has a schema");
    assert_eq!(
        out["required"],
        json!(["names"]),
        "only what is always there"
    );
}

#[test]
fn tools_leave_out_what_a_model_need_not_choose() {
    let messages = "// In.\nmessage In {\n// How many.\nint32 count = 1 [(piooy.options.v1.example) = \"3\"];\n\
        // Old.\nstring old = 2 [(piooy.options.v1.not_in_tools) = true]; }\n// Out.\nmessage Out {}";
    let spec = spec("left-out", ACCESS, messages).expect("compiles");
    let message = spec.pool.get_message_by_name("small.v1.In");
    let message = message.expect("is there");
    let fields = |nested| {
        let schema = schema::of_message(&spec, &message, Way::In, nested);
        schema.expect("has a schema")["properties"].clone()
    };
    let count = json!({"type": "integer", "description": "How many.", "examples": [3]});
    assert_eq!(fields(Nested::Inline), json!({"count": count}));
    let whole = fields(Nested::Reference);
    assert_eq!(
        (&whole["count"], whole.get("old").is_some()),
        (&count, true)
    );
}

#[test]
fn a_file_is_documented_by_its_type() {
    let document: Value = serde_json::from_str(crate::spec::OPENAPI).expect("is JSON");
    let path = &document["paths"]["/api/v1/credits/transactions.csv"];
    let answer = &path["get"]["responses"]["200"]["content"];
    assert_eq!(answer["text/csv"]["schema"]["type"], "string");
    let kinds = &path["get"]["parameters"][0]["schema"];
    assert_eq!(kinds["items"]["enum"][4], "EXPIRE");
    assert_eq!(document["components"]["schemas"].get("HttpBody"), None);
}

#[test]
fn a_binding_becomes_an_operation() {
    let http = r#"option (google.api.http) = {get: "/things/{the_id}"};"#;
    let spec = spec("operation", &format!("{ACCESS}{http}"), MESSAGES).expect("compiles");
    let document: Value =
        serde_json::from_str(&openapi::document(&spec).expect("documented")).expect("is JSON");
    assert_eq!(document["openapi"], "3.1.0");
    let operation = &document["paths"]["/things/{theId}"]["get"];
    assert_eq!(
        (&operation["operationId"], &operation["summary"]),
        (&json!("Do"), &json!("Does one thing"))
    );
    assert_eq!(operation["parameters"][0]["name"], "theId");
    assert_eq!(operation["parameters"][0]["in"], "path");
    assert_eq!(
        operation["responses"]["429"]["$ref"],
        "#/components/responses/Status429"
    );
}
