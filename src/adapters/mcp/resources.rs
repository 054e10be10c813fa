//! Resources: what can be read by its address.
//!
//! | address | what | through |
//! |---|---|---|
//! | `piooy://models/{slug}` | a model: what it can do and what it costs | GetModel |
//! | `piooy://tasks/{id}` | a task of the caller: how it stands, and links to what it made | GetTaskStatus |
//! | `ui://piooy/viewer` | the view of a task, for hosts | |
//!
//! Reading is a call of the method behind the address: same gate, same scope, same budget. The text is
//! the method's message, without the envelope.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::era::Era;
use super::lists::{self, Keep, List, TTL_MS};
use super::params::needed;
use super::wire::RpcError;
use super::{Ask, Mcp, viewer};
use crate::catalog::{Catalog, Current};
use crate::spec::error::ApiError;
use crate::spec::method::Input;
use crate::spec::reason::Reason;

/// A model, by its slug.
pub const MODEL: &str = "piooy://models/";

/// A task, by its id.
pub const TASK: &str = "piooy://tasks/";

/// The resources that can be listed, and the shapes of those that cannot.
pub struct Resources {
    catalog: Current,
    /// What is listed beside the models.
    more: Vec<Value>,
    /// The result of `resources/list`, and the catalogue that it was written from.
    list: Mutex<(Arc<Catalog>, Arc<List>)>,
    /// The result of `resources/templates/list`.
    pub templates: List,
}

impl Resources {
    /// Lists the models, and `more` of other origin.
    pub fn new(catalog: Current, more: Vec<Value>, more_templates: Vec<Value>) -> Self {
        let newest = catalog.get();
        let list = Arc::new(list(&newest, &more));
        let mut templates = vec![
            json!({
                "uriTemplate": format!("{MODEL}{{slug}}"),
                "name": "model",
                "title": "Model",
                "description": "What a model can do, what it costs, and how long it takes.",
                "mimeType": "application/json",
            }),
            json!({
                "uriTemplate": format!("{TASK}{{id}}"),
                "name": "task",
                "title": "Task",
                "description": "How a generation stands and, once it has ended, links to what it made. Can be subscribed to.",
                "mimeType": "application/json",
            }),
        ];
        templates.extend(more_templates);
        Self {
            catalog,
            more,
            list: Mutex::new((newest, list)),
            templates: List::new("resourceTemplates", templates),
        }
    }

    /// The result of `resources/list`, written again when the catalogue has changed.
    pub fn list(&self) -> Arc<List> {
        let newest = self.catalog.get();
        let mut written = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&written.0, &newest) {
            let list = list(&newest, &self.more);
            *written = (newest, Arc::new(list));
        }
        Arc::clone(&written.1)
    }
}

/// Lists the models, and `more`.
fn list(catalog: &Catalog, more: &[Value]) -> List {
    let models = catalog.models().iter().map(|model| {
        json!({
            "uri": format!("{MODEL}{}", model.slug),
            "name": model.slug,
            "title": model.title,
            "description": model.description,
            "mimeType": "application/json",
        })
    });
    List::new("resources", models.chain(more.iter().cloned()).collect())
}

impl Mcp {
    /// Answers `resources/read`.
    ///
    /// # Errors
    /// An address with nothing behind it, or what the method behind it says.
    pub(super) async fn read(&self, ask: Ask<'_>) -> Result<Bytes, RpcError> {
        let uri = needed(&ask.params.uri, "uri")?;
        if uri == viewer::URI {
            let contents = Value::Array(vec![viewer::resource(&self.house.parts.options)]);
            let fields = format!(r#""contents":{contents}"#);
            return Ok(lists::result(&fields, ask.era, Keep::Public(TTL_MS)));
        }
        let (method, parameter, name, keep) = if let Some(slug) = uri.strip_prefix(MODEL) {
            ("GetModel", "slug", slug, Keep::Private(TTL_MS))
        } else if let Some(id) = uri.strip_prefix(TASK) {
            ("GetTaskStatus", "taskId", id, Keep::Private(0))
        } else {
            return Err(RpcError::no_resource(uri, ask.era));
        };
        let input = Input::Pairs(vec![(parameter.to_owned(), name.to_owned())]);
        let envelope = self
            .calls
            .ask(ask.sender, method, input)
            .await
            .map_err(|error| refused(uri, &error, ask.era))?;
        let message = message(&envelope).ok_or_else(|| RpcError::failed(&ApiError::internal()))?;
        let fields = format!(
            r#""contents":[{{"uri":{},"mimeType":"application/json","text":{}}}]"#,
            Value::from(uri),
            Value::from(message),
        );
        Ok(lists::result(&fields, ask.era, keep))
    }
}

/// The message in an envelope, as JSON text.
fn message(envelope: &[u8]) -> Option<&str> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(envelope).ok()?;
    Some(envelope.data.get())
}

/// A resource that could not be read.
fn refused(uri: &str, error: &ApiError, era: Era) -> RpcError {
    match error.reason {
        Reason::TaskNotFound | Reason::ModelNotFound | Reason::InvalidArgument => {
            RpcError::no_resource(uri, era)
        }
        _ => RpcError::failed(error),
    }
}
