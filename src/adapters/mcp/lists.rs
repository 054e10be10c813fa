//! Lists and other results that are the same for everyone until the server is replaced, or its models are:
//! written once, in the words of both eras.

use axum::body::Bytes;
use serde_json::Value;

use super::about::SERVER_INFO;
use super::era::Era;
use super::params::Params;
use super::wire::RpcError;

/// How long a client may keep what only a new version changes, in milliseconds.
pub const TTL_MS: u32 = 300_000;

/// How long a result may be kept, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Not to be kept. The method has no such hints.
    Unsaid,
    /// By anyone, for that many milliseconds.
    Public(u32),
    /// For this caller, for that many milliseconds.
    Private(u32),
}

/// A result for a client of that era. `fields` is the inside of a JSON object; it may be empty.
pub fn result(fields: &str, era: Era, keep: Keep) -> Bytes {
    let mut text = String::with_capacity(fields.len() + 256);
    text.push('{');
    text.push_str(fields);
    if era == Era::Modern {
        if !fields.is_empty() {
            text.push(',');
        }
        text.push_str(r#""resultType":"complete","#);
        match keep {
            Keep::Unsaid => {}
            Keep::Public(ms) => text += &format!(r#""ttlMs":{ms},"cacheScope":"public","#),
            Keep::Private(ms) => text += &format!(r#""ttlMs":{ms},"cacheScope":"private","#),
        }
        text.push_str(r#""_meta":{"io.modelcontextprotocol/serverInfo":"#);
        text.push_str(&SERVER_INFO);
        text.push('}');
    }
    text.push('}');
    text.into()
}

/// A list that fits one page.
pub struct List {
    legacy: Bytes,
    modern: Bytes,
}

impl List {
    /// Writes the list `name` of `items`.
    pub fn new(name: &str, items: Vec<Value>) -> Self {
        let fields = format!(r#""{name}":{}"#, Value::Array(items));
        Self {
            legacy: result(&fields, Era::Legacy, Keep::Unsaid),
            modern: result(&fields, Era::Modern, Keep::Public(TTL_MS)),
        }
    }

    /// The result for a client of that era.
    ///
    /// # Errors
    /// A cursor: no list here ever gives one out.
    pub fn page(&self, era: Era, params: &Params<'_>) -> Result<Bytes, RpcError> {
        if params.cursor.is_some() {
            let message = "This list is one page; it has no cursors.";
            return Err(RpcError::invalid_params(message));
        }
        Ok(match era {
            Era::Legacy => self.legacy.clone(),
            Era::Modern => self.modern.clone(),
        })
    }
}
