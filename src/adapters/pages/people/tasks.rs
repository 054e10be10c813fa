//! What was asked for: `/generate/history`, `/generate/{taskId}`, and the card of a task wherever one is shown.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::apikeys::minute;
use super::generate::{Adjustment, PATH, read_answer};
use super::shell;
use super::visit::{Visit, Visitor};
use crate::accounts::Scope;
use crate::adapters::pages::Frame;
use crate::adapters::pages::examples::Examples;
use crate::spec::error::ApiError;
use crate::spec::v1::MediaType;

/// Tasks in a page of the history.
const PAGE: u32 = 24;

/// What a task's status is called, and the class of its badge.
const STATUSES: [(&str, &str, &str); 5] = [
    ("PENDING", "Waiting", ""),
    ("PROCESSING", "Being made", "accent"),
    ("SUCCESS", "Done", "good"),
    ("FAILED", "Failed", "danger"),
    ("CANCELED", "Canceled", ""),
];

/// A task as the method tells it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    task_id: String,
    status: String,
    progress: u32,
    model: String,
    media_type: String,
    outputs: Vec<Output>,
    late_outputs: Vec<Output>,
    error: Option<Failure>,
    credits: Credits,
    adjustments: Vec<Adjustment>,
    provider: String,
    created_at: String,
    finished_at: Option<String>,
    /// What was asked, as a request would say it again.
    pub request: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Output {
    url: String,
    mime_type: String,
    width: u32,
    height: u32,
    duration_seconds: Option<f64>,
    size_bytes: u64,
    thumbnail_url: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure {
    message: String,
    retryable: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Credits {
    quoted: i64,
    charged: i64,
}

/// A task in short.
#[derive(Template)]
#[template(path = "task_card.html")]
pub struct Card {
    /// What links begin with.
    root: String,
    id: String,
    status_name: &'static str,
    status_class: &'static str,
    is_open: bool,
    is_video: bool,
    progress: u32,
    prompt: String,
    model: String,
    cost: String,
    created: String,
    /// Why it failed.
    failure: String,
    /// The first picture and its size.
    picture: Option<(String, u32, u32)>,
    /// How many files there are beside the first.
    more: usize,
}

#[derive(Template)]
#[template(path = "history.html")]
struct History<'p> {
    frame: Frame,
    cards: Vec<Card>,
    filters: [Filter<'p>; 2],
    models: Vec<(String, String)>,
    model: &'p str,
    is_filtered: bool,
    /// The query of the next page.
    next: Option<String>,
}

/// A choice among few.
struct Filter<'p> {
    name: &'static str,
    label: &'static str,
    any: &'static str,
    values: Vec<(&'static str, &'static str)>,
    chosen: &'p str,
}

#[derive(Template)]
#[template(path = "task.html")]
struct Page<'p> {
    frame: Frame,
    form_token: &'p str,
    card: Card,
    outputs: Vec<Shown>,
    late: Vec<Shown>,
    facts: Vec<(&'static str, String)>,
    negative_prompt: String,
    references: Vec<String>,
    adjustments: &'p [Adjustment],
    failure: Option<&'p Failure>,
    examples: Examples,
    may_run: bool,
}

/// A file as the page shows it.
struct Shown {
    url: String,
    poster: String,
    is_video: bool,
    width: u32,
    height: u32,
    name: String,
    facts: String,
}

/// One task of the account, with what was asked.
pub async fn read(visit: &Visit, visitor: &Visitor, id: &str) -> Result<Task, ApiError> {
    let request = json!({"taskId": id, "with_request": true});
    let task = visitor
        .call(visit.house(), "GetTaskStatus", &request)
        .await?;
    read_answer(task)
}

/// A page of the account's tasks, and the token of the next one.
pub async fn cards(
    visit: &Visit,
    visitor: &Visitor,
    request: &Value,
) -> Result<(Vec<Card>, String), ApiError> {
    let mut request = request.clone();
    request["with_request"] = json!(true);
    let mut answer = visitor.call(visit.house(), "ListTasks", &request).await?;
    let tasks: Vec<Task> = read_answer(answer["tasks"].take())?;
    let next = answer["nextPageToken"].as_str().unwrap_or_default();
    let cards = tasks.iter().map(|task| card(visit, task));
    Ok((cards.collect(), next.to_owned()))
}

/// `GET /generate/history`
pub async fn history(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let query = &visit.query;
    let known = |name: &str, values: &[&str]| {
        let value = query.get(name);
        if values.contains(&value) { value } else { "" }
    };
    let status = known("status", &STATUSES.map(|(status, ..)| status));
    let media = known("media", &["IMAGE", "VIDEO"]);
    let model = query.get("model");
    let mut request = json!({"pageSize": PAGE, "pageToken": query.get("page"), "model": model});
    for (field, value) in [("status", status), ("mediaType", media)] {
        if !value.is_empty() {
            request[field] = json!(value);
        }
    }
    let (cards, next) = cards(&visit, &visitor, &request).await?;
    let models = models(&visit, &visitor).await?;
    let next = (!next.is_empty()).then(|| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let pairs = [("status", status), ("media", media), ("model", model)];
        query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
        query.append_pair("page", &next).finish()
    });
    let page = History {
        frame: visit.frame("History"),
        cards,
        filters: [
            Filter {
                name: "media",
                label: "Kind",
                any: "Pictures and videos",
                values: vec![("IMAGE", "Pictures"), ("VIDEO", "Videos")],
                chosen: media,
            },
            Filter {
                name: "status",
                label: "State",
                any: "Any",
                values: STATUSES.map(|(status, name, _)| (status, name)).to_vec(),
                chosen: status,
            },
        ],
        models,
        model,
        is_filtered: !(status.is_empty() && media.is_empty() && model.is_empty()),
        next,
    };
    Ok(shell::page(StatusCode::OK, &page))
}

/// The slugs and titles of all models.
async fn models(visit: &Visit, visitor: &Visitor) -> Result<Vec<(String, String)>, ApiError> {
    let mut answer = visitor
        .call(visit.house(), "ListModels", &json!({}))
        .await?;
    let models = answer["models"].as_array_mut();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = models.into_iter().flatten();
    Ok(named
        .map(|model| (text(&model["slug"]), text(&model["title"])))
        .collect())
}

/// `GET /generate/{id}`: the whole page or, for the script, the card alone.
pub async fn show(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let task = read(&visit, &visitor, visit.params.get("id")).await?;
    let card = card(&visit, &task);
    if visit.query.get("part") == "card" {
        return Ok(shell::page(StatusCode::OK, &card));
    }
    let text = |name: &str| match &task.request[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let media = match task.media_type.as_str() {
        "VIDEO" => MediaType::Video,
        _ => MediaType::Image,
    };
    let facts = [
        ("Model", task.model.clone()),
        ("Resolution", text("resolution")),
        ("Shape", text("aspect_ratio")),
        ("Length", seconds(&text("duration"))),
        ("Sound", sound(&task.request["audio"])),
        ("Files", text("count")),
        ("Seed", text("seed")),
        ("Cost", card.cost.clone()),
        ("Ran on", task.provider.clone()),
        ("Asked", minute(&task.created_at)),
        (
            "Ended",
            task.finished_at.as_deref().map(minute).unwrap_or_default(),
        ),
    ];
    let references = task.request["reference_images"].as_array();
    let references = references.into_iter().flatten().filter_map(Value::as_str);
    let shown = |outputs: &[Output]| {
        let numbered = (1..).zip(outputs);
        let shown = numbered.map(|(number, output)| shown(&visit, &task, number, output));
        shown.collect()
    };
    let page = Page {
        frame: visit.frame("Task"),
        form_token: &visitor.form_token,
        outputs: shown(&task.outputs),
        late: shown(&task.late_outputs),
        facts: facts
            .into_iter()
            .filter(|(_, fact)| !fact.is_empty())
            .collect(),
        negative_prompt: text("negative_prompt"),
        references: references.map(|url| local(&visit, url)).collect(),
        adjustments: &task.adjustments,
        failure: task.error.as_ref(),
        examples: Examples::new(
            &visit.house().parts.options.public_url,
            media,
            &worth_saying(&task.request),
        ),
        may_run: visitor.caller.scopes().contains(Scope::Generate),
        card,
    };
    Ok(shell::page(StatusCode::OK, &page))
}

/// `POST /generate/{id}/cancel`
pub async fn cancel(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"taskId": visit.params.get("id")});
    let task: Task = read_answer(visitor.call(visit.house(), "CancelTask", &request).await?)?;
    Ok(visit.lead_to(&format!("{PATH}/{}", task.task_id)))
}

/// The link to a file of ours as this page reaches it, whatever name the browser calls the server by.
fn local(visit: &Visit, url: &str) -> String {
    let public_url = &visit.house().parts.options.public_url;
    match url.strip_prefix(public_url.as_str()) {
        Some(path) => format!("{}{path}", visit.house().site.base()),
        None => url.to_owned(),
    }
}

fn card(visit: &Visit, task: &Task) -> Card {
    let known = STATUSES.iter().find(|(status, ..)| *status == task.status);
    let (_, status_name, status_class) = known.copied().unwrap_or(("", "", ""));
    let is_open = matches!(&*task.status, "PENDING" | "PROCESSING");
    let first = task.outputs.first();
    let picture = first.filter(|output| !output.thumbnail_url.is_empty());
    let credits = |credits| match credits {
        0 => "free".to_owned(),
        1 => "1 credit".to_owned(),
        many => format!("{many} credits"),
    };
    Card {
        root: format!("{}/", visit.house().site.base()),
        id: task.task_id.clone(),
        status_name,
        status_class,
        is_open,
        is_video: task.media_type == "VIDEO",
        progress: task.progress,
        prompt: task.request["prompt"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        model: task.model.clone(),
        cost: match (is_open, &*task.status) {
            (true, _) => format!("{} held", credits(task.credits.quoted)),
            (_, "SUCCESS") => credits(task.credits.charged),
            _ => "nothing charged".to_owned(),
        },
        created: minute(&task.created_at),
        failure: task
            .error
            .as_ref()
            .map(|error| error.message.clone())
            .unwrap_or_default(),
        picture: picture.map(|output| {
            (
                local(visit, &output.thumbnail_url),
                output.width,
                output.height,
            )
        }),
        more: task.outputs.len().saturating_sub(1),
    }
}

fn shown(visit: &Visit, task: &Task, number: usize, output: &Output) -> Shown {
    let is_video = output.mime_type.starts_with("video/");
    let (_, kind) = output.mime_type.split_once('/').unwrap_or_default();
    let length = output.duration_seconds;
    let length = length
        .map(|length| format!(", {length:.0} s"))
        .unwrap_or_default();
    Shown {
        url: local(visit, &output.url),
        poster: local(visit, &output.thumbnail_url),
        is_video,
        width: output.width,
        height: output.height,
        name: format!("{}-{number}.{}", task.model, kind.replace("jpeg", "jpg")),
        facts: format!(
            "{} × {}{length}, {}",
            output.width,
            output.height,
            bytesize::ByteSize::b(output.size_bytes).display().si()
        ),
    }
}

/// A request without what need not be said.
fn worth_saying(request: &Value) -> Value {
    let fields = request.as_object().into_iter().flatten();
    let said = fields.filter(|(name, value)| {
        let is_usual = *name == "count" && **value == json!(1);
        !is_usual && **value != json!([])
    });
    said.map(|(name, value)| (name.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn seconds(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{text} s")
    }
}

fn sound(value: &Value) -> String {
    match value.as_bool() {
        Some(true) => "with sound".to_owned(),
        Some(false) => "silent".to_owned(),
        None => String::new(),
    }
}
