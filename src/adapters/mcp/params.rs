//! The parameters of a request, read once for whichever method it names. Everything is borrowed from the
//! body; what only some methods look into stays text.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::wire::{RpcError, Text};

/// The parameters that any method takes. Each method says which of them it needs.
#[derive(Deserialize, Default)]
#[serde(default, expecting = "an object")]
pub struct Params<'a> {
    /// How the request is to be taken.
    #[serde(borrow, rename = "_meta")]
    pub meta: Meta<'a>,
    /// Of `initialize`.
    #[serde(borrow, rename = "protocolVersion")]
    pub protocol_version: Option<Text<'a>>,
    /// A tool or a prompt.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// A resource.
    #[serde(borrow)]
    pub uri: Option<Text<'a>>,
    /// A task.
    #[serde(borrow, rename = "taskId")]
    pub task_id: Option<Text<'a>>,
    /// Of a tool or a prompt.
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
    /// Where a list goes on.
    #[serde(borrow)]
    pub cursor: Option<Text<'a>>,
    /// What is completed.
    #[serde(borrow, rename = "ref")]
    pub reference: Option<&'a RawValue>,
    /// Which argument of it is completed.
    #[serde(borrow)]
    pub argument: Option<&'a RawValue>,
    /// What its other arguments are.
    #[serde(borrow)]
    pub context: Option<&'a RawValue>,
    /// What is to be logged.
    #[serde(borrow)]
    pub level: Option<Text<'a>>,
    /// What a stream is to tell of.
    #[serde(borrow)]
    pub notifications: Option<&'a RawValue>,
}

/// The `_meta` of a request.
#[derive(Deserialize, Default)]
#[serde(default, expecting = "an object")]
pub struct Meta<'a> {
    /// The version that the request is in.
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    pub version: Option<Text<'a>>,
    /// What the client can do.
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub capabilities: Option<&'a RawValue>,
    /// What progress is to be reported under: a string or a number.
    #[serde(borrow, rename = "progressToken")]
    pub progress_token: Option<&'a RawValue>,
    /// The key of a submission that may be repeated.
    #[serde(borrow, rename = "idempotencyKey")]
    pub idempotency_key: Option<Text<'a>>,
}

impl<'a> Params<'a> {
    /// Reads parameters.
    ///
    /// # Errors
    /// The first that is not what it must be.
    pub fn read(params: Option<&'a RawValue>) -> Result<Self, RpcError> {
        let Some(params) = params else {
            return Ok(Self::default());
        };
        serde_json::from_str(params.get()).map_err(|error| {
            RpcError::invalid_params(format!("The params could not be read: {error}."))
        })
    }
}

impl Meta<'_> {
    /// Whether the client declared its capabilities at all, as an object.
    pub fn is_capable(&self) -> bool {
        self.capabilities
            .is_some_and(|capabilities| capabilities.get().starts_with('{'))
    }

    /// Whether the client declared this extension.
    pub fn declares(&self, extension: &str) -> bool {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Capabilities<'a> {
            #[serde(borrow)]
            extensions: HashMap<Text<'a>, IgnoredAny>,
        }
        self.capabilities
            .and_then(|text| serde_json::from_str::<Capabilities<'_>>(text.get()).ok())
            .is_some_and(|declared| declared.extensions.keys().any(|name| &**name == extension))
    }
}

/// A parameter that the method needs.
///
/// # Errors
/// That it is missing.
pub fn needed<'p, 'a>(param: &'p Option<Text<'a>>, name: &str) -> Result<&'p str, RpcError> {
    param
        .as_deref()
        .ok_or_else(|| RpcError::invalid_params(format!("params.{name} is missing.")))
}
