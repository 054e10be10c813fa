//! A piece of configuration or a command on a page, in colours and with a button that copies it.

use askama::Template;
use serde_json::{Value, json};

/// The longest list or object on one line, without its brackets.
const LINE_MAX: usize = 64;

/// Text to be copied.
#[derive(Template)]
#[template(path = "snippet.html")]
pub struct Snippet {
    /// Where it belongs: a file's name, or in words.
    place: &'static str,
    pieces: Vec<Piece>,
}

/// A part of the text in one colour.
#[derive(Debug, PartialEq)]
struct Piece {
    /// The class of its element.
    kind: &'static str,
    text: String,
}

impl Piece {
    fn new(kind: &'static str, text: &str) -> Self {
        Self {
            kind,
            text: text.to_owned(),
        }
    }
}

impl Snippet {
    /// JSON in few lines. `key` is what stands where the reader's key belongs.
    pub fn json(place: &'static str, value: &Value, key: &str) -> Self {
        Self::quoted(place, &json_text(value), key)
    }

    /// A text in which strings stand between quotation marks, as in JSON and Python.
    pub fn quoted(place: &'static str, text: &str, key: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find('"') {
            let length = string_length(&rest[begin..]);
            let (before, from) = rest.split_at(begin);
            let (string, after) = from.split_at(length);
            pieces.push(Piece::new("mark", before));
            let kind = if after.starts_with(':') {
                "name"
            } else {
                "text"
            };
            pieces.extend(around(string, key, kind));
            rest = after;
        }
        pieces.push(Piece::new("mark", rest));
        Self { place, pieces }
    }

    /// A command for a shell.
    pub fn shell(place: &'static str, text: String, key: &str) -> Self {
        let (command, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let mut pieces = vec![Piece::new("name", command)];
        pieces.extend(around(&format!(" {rest}"), key, "text"));
        Self { place, pieces }
    }

    /// Text without parts.
    pub fn plain(place: &'static str, text: String) -> Self {
        let pieces = vec![Piece { kind: "text", text }];
        Self { place, pieces }
    }

    /// What is copied.
    #[cfg(test)]
    pub fn text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect()
    }
}

/// JSON as snippets show it.
pub fn json_text(value: &Value) -> String {
    layout(value, 0, &Value::to_string)
}

/// The same as a literal of Python.
pub fn python_text(value: &Value) -> String {
    layout(value, 0, &|leaf| match leaf {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    })
}

/// JSON with what is small on one line: a list or object that has no others inside and is not long.
fn layout(value: &Value, depth: usize, leaf: &dyn Fn(&Value) -> String) -> String {
    let (open, items, close): (_, Vec<(String, &Value)>, _) = match value {
        Value::Array(items) => (
            '[',
            items.iter().map(|item| (String::new(), item)).collect(),
            ']',
        ),
        Value::Object(fields) => {
            let named = |(name, item)| (format!("{}: ", json!(name)), item);
            ('{', fields.iter().map(named).collect(), '}')
        }
        other => return leaf(other),
    };
    let is_flat = items
        .iter()
        .all(|(_, item)| !item.is_object() && !item.is_array());
    let lines: Vec<String> = items
        .into_iter()
        .map(|(name, item)| name + &layout(item, depth + 1, leaf))
        .collect();
    let on_one = lines.join(", ");
    if is_flat && on_one.len() <= LINE_MAX {
        let room = if open == '{' && !on_one.is_empty() {
            " "
        } else {
            ""
        };
        return format!("{open}{room}{on_one}{room}{close}");
    }
    let (outer, inner) = ("  ".repeat(depth), "  ".repeat(depth + 1));
    let lines = lines.join(&format!(",\n{inner}"));
    format!("{open}\n{inner}{lines}\n{outer}{close}")
}

/// The text with the key's stand-in on its own.
fn around(text: &str, key: &str, kind: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (at, part) in text.split(key).enumerate() {
        if at > 0 {
            pieces.push(Piece::new("key", key));
        }
        pieces.push(Piece::new(kind, part));
    }
    pieces.retain(|piece| !piece.text.is_empty());
    pieces
}

/// The length of the JSON string at the start of `text`, quotes included.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_no_text() {
        let value = json!({"a\"b": "x K y", "list": [1, true, "K"], "empty": {}});
        let snippet = Snippet::json("f", &value, "K");
        assert_eq!(
            snippet.text(),
            "{\n  \"a\\\"b\": \"x K y\",\n  \"list\": [1, true, \"K\"],\n  \"empty\": {}\n}"
        );
        let long = json!({"list": ["x".repeat(LINE_MAX)]});
        let text = Snippet::json("f", &long, "K").text();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert_eq!(text.parse::<Value>().expect("is JSON"), long);
        let of_kind = |kind| {
            let pieces = snippet.pieces.iter().filter(|piece| piece.kind == kind);
            pieces.map(|piece| piece.text.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of_kind("name"), ["\"a\\\"b\"", "\"list\"", "\"empty\""]);
        assert_eq!(of_kind("key"), ["K", "K"]);
        assert_eq!(of_kind("text"), ["\"x ", " y\"", "\"", "\""]);
        let command = "curl -H \"Bearer K\" x";
        assert_eq!(Snippet::shell("t", command.to_owned(), "K").text(), command);
    }
}
