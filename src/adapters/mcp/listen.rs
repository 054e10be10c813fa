//! `subscriptions/listen`: one long answer that tells what changes, for clients of the modern era.
//!
//! Tasks change, and so do the resources that show them; models change when the operator changes the
//! catalogue. Tools and prompts change only when the server is replaced, so nobody is promised news of them. A
//! stream follows tasks
//! as WatchTask does and costs nothing while nothing happens: it has no task of the runtime and no
//! buffer of its own, only its place in the connection that pulls it.
//!
//! It ends with its client (the connection drops it), with its credential and with the server (as
//! [`open_streams`](super::open_streams) has it), and after [`LIFE`] in any case, in good order: the
//! client listens again, perhaps on another replica.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, SelectAll, Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::about::SERVER_INFO;
use super::calls::Sender;
use super::open_streams::Place;
use super::stream::Messages;
use super::wire::{Outcome, RpcError, notification, response};
use super::{Ask, Mcp, resources, tasks};
use crate::accounts::Scope;
use crate::assets::Assets;
use crate::catalog::{Catalog, Current};
use crate::spec::method::{Budget, Envelopes, Input};

/// The most tasks and resources that one stream follows.
const FOLLOWED_MAX: usize = 64;

/// How old a stream may become.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// What a client wants to hear of. What it may also name, and what never changes, is not read.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", expecting = "an object")]
struct Wanted {
    resource_subscriptions: Vec<String>,
    resources_list_changed: bool,
    task_ids: Vec<String>,
}

impl Mcp {
    /// Answers `subscriptions/listen`: an acknowledgement of what will be told, then news.
    ///
    /// # Errors
    /// Too much at once, tasks without the extension for them, too many streams, or what the gate says.
    pub(super) async fn listen(&self, ask: Ask<'_>) -> Result<Outcome, RpcError> {
        let wanted = wanted(&ask)?;
        let id = ask.id.get().to_owned();
        let (sender, gate) = (ask.sender, &self.house.parts.gate);
        match gate.admit(&sender.caller, Scope::Read, Budget::Read) {
            Ok(allowance) => sender.limits.left(&allowance),
            Err(refusal) => return Err(RpcError::failed(&sender.limits.refused(refusal))),
        }
        let place = self.streams.take(&sender.caller);
        let place = place.map_err(|error| RpcError::failed(&error))?;
        let tasks = wanted.task_ids.into_iter().map(async |task| {
            let changes = self.changes(&sender, &task).await?;
            Some((task, changes))
        });
        let (models, shown): (Vec<_>, Vec<_>) = wanted
            .resource_subscriptions
            .into_iter()
            .partition(|uri| uri.starts_with(resources::MODEL));
        let shown = shown.into_iter().map(async |uri| {
            let changes = match uri.strip_prefix(resources::TASK) {
                Some(task) => self.changes(&sender, task).await?,
                None => return None,
            };
            Some((uri, changes))
        });
        let (tasks, shown) = (join_all(tasks).await, join_all(shown).await);

        let (mut news, mut accepted) = (SelectAll::new(), json!({}));
        for (task, changes) in tasks.into_iter().flatten() {
            push(&mut accepted, "taskIds", task);
            news.push(of_task(
                self.house.parts.assets.clone(),
                id.clone(),
                changes,
            ));
        }
        for (uri, changes) in shown.into_iter().flatten() {
            news.push(of_resource(id.clone(), uri.clone(), changes));
            push(&mut accepted, "resourceSubscriptions", uri);
        }
        let catalog = &self.house.parts.catalog;
        for uri in models {
            news.push(of_model(catalog, id.clone(), uri.clone()));
            push(&mut accepted, "resourceSubscriptions", uri);
        }
        if wanted.resources_list_changed {
            accepted["resourcesListChanged"] = true.into();
            news.push(of_models(catalog, &id));
        }
        let params = format!(r#"{{{},"notifications":{accepted}}}"#, subscription(&id));
        let acknowledged = notification("notifications/subscriptions/acknowledged", &params);
        let listening = Listening {
            place,
            id,
            news,
            until: Instant::now() + LIFE,
            over: false,
        };
        let told = stream::unfold(Box::new(listening), Listening::next);
        Ok(Outcome::Stream(
            stream::iter([acknowledged]).chain(told).boxed(),
        ))
    }

    /// The changes of a task, or nothing where the caller has no such task.
    async fn changes(&self, sender: &Sender, task: &str) -> Option<Envelopes> {
        let input = Input::Pairs(vec![("taskId".to_owned(), task.to_owned())]);
        let changes = self.calls.follow(sender.clone(), "WatchTask", input).await;
        changes.ok()
    }
}

fn wanted(ask: &Ask<'_>) -> Result<Wanted, RpcError> {
    let wanted: Wanted = match ask.params.notifications {
        None => Wanted::default(),
        Some(wanted) => serde_json::from_str(wanted.get()).map_err(|error| {
            RpcError::invalid_params(format!("params.notifications could not be read: {error}."))
        })?,
    };
    if !wanted.task_ids.is_empty() {
        tasks::require(&ask.params.meta)?;
    }
    if wanted.task_ids.len() + wanted.resource_subscriptions.len() > FOLLOWED_MAX {
        return Err(RpcError::invalid_params(format!(
            "A stream follows at most {FOLLOWED_MAX} tasks and resources."
        )));
    }
    Ok(wanted)
}

fn push(accepted: &mut Value, kind: &str, name: String) {
    match accepted[kind].as_array_mut() {
        Some(names) => names.push(name.into()),
        None => accepted[kind] = json!([name]),
    }
}

/// The mark that every message of a stream carries.
fn subscription(id: &str) -> String {
    format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#)
}

/// How a task stands, each time that this changes.
fn of_task(assets: Assets, id: String, changes: Envelopes) -> Messages {
    let mark = subscription(&id);
    let told = changes.filter_map(move |change| {
        let (assets, mark) = (assets.clone(), mark.clone());
        // In a box: it is made seldom, and would make every idle stream larger.
        Box::pin(async move {
            let fields = tasks::detailed(&assets, &change.ok()?).await?;
            let params = format!("{{{mark},{fields}}}");
            Some(notification("notifications/tasks", &params))
        })
    });
    told.boxed()
}

/// That a resource is worth reading again, each time that what it shows changes.
fn of_resource(id: String, uri: String, changes: Envelopes) -> Messages {
    let told = changes.filter_map(move |change| {
        let told = change.ok().map(|_| {
            let uri = Value::from(uri.as_str());
            let params = format!(r#"{{{},"uri":{uri}}}"#, subscription(&id));
            notification("notifications/resources/updated", &params)
        });
        std::future::ready(told)
    });
    told.boxed()
}

/// That a model is worth reading again, each time that it changes, comes or goes.
fn of_model(catalog: &Current, id: String, uri: String) -> Messages {
    let slug = uri.trim_start_matches(resources::MODEL).to_owned();
    let model = move |catalog: &Catalog| catalog.get(&slug).ok().cloned();
    let before = model(&catalog.get());
    let told = changes(catalog).scan(before, move |before, catalog| {
        let now = model(&catalog);
        let is_news = *before != now;
        *before = now;
        let uri = Value::from(uri.as_str());
        let params = format!(r#"{{{},"uri":{uri}}}"#, subscription(&id));
        let told = is_news.then(|| notification("notifications/resources/updated", &params));
        std::future::ready(Some(told))
    });
    told.filter_map(std::future::ready).boxed()
}

/// That there are other models, each time that the catalogue changes.
fn of_models(catalog: &Current, id: &str) -> Messages {
    let params = format!("{{{}}}", subscription(id));
    let told = changes(catalog)
        .map(move |_| notification("notifications/resources/list_changed", &params));
    told.boxed()
}

/// Each catalogue that takes another's place from now on.
fn changes(catalog: &Current) -> impl Stream<Item = Arc<Catalog>> + Send + use<> {
    stream::unfold(catalog.changes(), async |mut changes| {
        changes.changed().await.ok()?;
        let newest = Arc::clone(&changes.borrow_and_update());
        Some((newest, changes))
    })
}

/// A stream at work.
struct Listening {
    place: Place,
    id: String,
    news: SelectAll<Messages>,
    until: Instant,
    over: bool,
}

impl Listening {
    async fn next(mut self: Box<Self>) -> Option<(Bytes, Box<Self>)> {
        if self.over {
            return None;
        }
        let message = tokio::select! {
            Some(message) = self.news.next() => message,
            () = self.place.refused() => self.end(),
            () = self.place.stopping() => self.end(),
            () = sleep_until(self.until) => self.end(),
        };
        Some((message, self))
    }

    /// The response that ends the stream in good order.
    fn end(&mut self) -> Bytes {
        self.over = true;
        let subscription = subscription(&self.id);
        let mark = subscription.strip_suffix('}').unwrap_or_default();
        let result = format!(
            r#"{{"resultType":"complete",{mark},"io.modelcontextprotocol/serverInfo":{}}}}}"#,
            *SERVER_INFO
        );
        response(&self.id, result.as_bytes())
    }
}
