//! `/generate`: the form that fits itself to the model, its price, and what was made lately.
//!
//! The form is a request in fields: each is called as the API calls it, and both the server and the script send
//! them on as they are. What a model takes is what `GetModel` says, and what is wrong is what the method says.

use std::fmt::Display;

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::form::Form;
use super::shell::{self, status_of};
use super::tasks::{self, Card};
use super::visit::{Visit, Visitor};
use crate::accounts::Scope;
use crate::adapters::pages::Frame;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// The page.
pub const PATH: &str = "/generate";

/// The upstream that paints test pictures.
const SANDBOX: &str = "sandbox";

/// Tasks shown below the form.
const LATELY: u32 = 8;

/// The fields of a request that are texts; the others are a number, a choice and a list.
const TEXTS: [&str; 7] = [
    "model",
    "prompt",
    "negative_prompt",
    "resolution",
    "aspect_ratio",
    "duration",
    "provider",
];

#[derive(Template)]
#[template(path = "generate.html")]
struct Generate<'p> {
    frame: Frame,
    form_token: &'p str,
    /// A new one for each form, so that sending it twice makes one task.
    idempotency_key: String,
    /// Whether the visitor's role lets them run anything.
    may_run: bool,
    images: Vec<Named>,
    videos: Vec<Named>,
    model: Model,
    asked: Asked,
    problem: Option<Problem>,
    quote: Option<Quote>,
    lately: Vec<Card>,
}

/// A model in the picker.
struct Named {
    slug: String,
    title: String,
    /// Nothing would run it now.
    is_away: bool,
    is_chosen: bool,
}

/// What is wrong, and where to go about it.
struct Problem {
    message: String,
    link: Option<(&'static str, &'static str)>,
}

impl Problem {
    fn of(error: &ApiError) -> Self {
        let violations = error.violations.iter();
        let each = violations.map(|violation| format!("{} {}", violation.field, violation.message));
        let each: Vec<String> = each.collect();
        Self {
            message: match each.as_slice() {
                [] => error.message.clone(),
                each => format!("{}.", each.join("; ")),
            },
            link: match error.reason {
                Reason::InsufficientCredits => Some(("settings/usage", "See what was spent")),
                Reason::ModelNotFound | Reason::ModelRetired | Reason::ModelUnavailable => {
                    Some(("models", "See all models"))
                }
                _ => None,
            },
        }
    }
}

/// A model as the method tells it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Model {
    slug: String,
    title: String,
    media_type: String,
    description: String,
    resolutions: Vec<String>,
    aspect_ratios: Vec<String>,
    durations_seconds: Vec<u32>,
    max_outputs: u32,
    max_reference_images: u32,
    audio: String,
    defaults: Defaults,
    typical_seconds_low: u32,
    typical_seconds_high: u32,
    providers: Vec<String>,
    availability: Vec<Availability>,
    negative_prompt: bool,
    seed: bool,
    first_frame: bool,
    last_frame: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Defaults {
    resolution: String,
    aspect_ratio: String,
    duration_seconds: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Availability {
    provider: String,
    state: String,
    reason: String,
}

impl Model {
    fn is_video(&self) -> bool {
        self.media_type == "VIDEO"
    }

    /// Whether sound is the caller's choice.
    fn has_choice_of_sound(&self) -> bool {
        self.audio == "toggle"
    }

    /// The upstreams that would run it, the first choice first.
    fn upstreams(&self) -> Vec<&str> {
        let ready = self.availability.iter();
        let ready = ready.filter(|upstream| matches!(&*upstream.state, "READY" | "RESTING"));
        ready.map(|upstream| upstream.provider.as_str()).collect()
    }

    /// Whether a request that names no upstream is run: the sandbox runs only what names it.
    fn runs_by_itself(&self) -> bool {
        self.upstreams().iter().any(|name| *name != SANDBOX)
    }

    /// Why the upstream that comes first does not run it.
    fn why_away(&self) -> &str {
        let mut reasons = self
            .availability
            .iter()
            .map(|upstream| upstream.reason.as_str());
        reasons
            .find(|reason| !reason.is_empty())
            .unwrap_or_default()
    }

    fn what_pictures_do(&self) -> &'static str {
        match (self.is_video(), self.first_frame, self.last_frame) {
            (true, true, true) => "One is the frame it starts from, two the first and the last.",
            (true, true, false) => "One is the frame it starts from.",
            (true, _, _) => "What the video is to show.",
            (false, ..) => "What to change, or to take after.",
        }
    }
}

/// What a request would cost, as the method tells it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Quote {
    credits: i64,
    available: i64,
    adjustments: Vec<Adjustment>,
}

/// A value that was changed to fit the model.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Adjustment {
    pub field: String,
    pub asked: String,
    pub used: String,
    pub why: String,
}

/// The fields as they were filled in.
#[derive(Default)]
struct Asked(Map<String, Value>);

impl Asked {
    /// As a form sends them.
    fn of_form(form: &Form) -> Self {
        let mut asked = Self::default();
        for name in TEXTS {
            asked.put(name, json!(form.get(name).trim()));
        }
        for name in ["count", "seed"] {
            // What is no number is sent on as it is: the method says what is allowed.
            let text = form.get(name).trim();
            let number = text
                .parse::<i64>()
                .map_or_else(|_| json!(text), |number| json!(number));
            asked.put(name, number);
        }
        match form.get("audio") {
            "true" => asked.put("audio", json!(true)),
            "false" => asked.put("audio", json!(false)),
            _ => {}
        }
        let images = form.get("reference_images").lines().map(str::trim);
        let images: Vec<&str> = images.filter(|image| !image.is_empty()).collect();
        if !images.is_empty() {
            asked.put("reference_images", json!(images));
        }
        asked
    }

    /// As a task tells them; `vary`: so that something else comes of it.
    fn of_task(request: &Value, vary: bool) -> Self {
        let mut asked = Self(request.as_object().cloned().unwrap_or_default());
        if vary {
            asked.0.remove("seed");
        }
        asked
    }

    /// What is empty was not filled in.
    fn put(&mut self, name: &str, value: Value) {
        if value != json!("") {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// The field as the form shows it.
    fn get(&self, name: &str) -> String {
        match self.0.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) => {
                let lines = items.iter().filter_map(Value::as_str);
                lines.collect::<Vec<_>>().join("\n")
            }
            Some(other) => other.to_string(),
        }
    }

    /// Whether this is the value of a choice: the one that was made or, where none was, the default.
    fn is(&self, name: &str, value: &str, default: &str) -> bool {
        let chosen = self.get(name);
        value == if chosen.is_empty() { default } else { &chosen }
    }

    fn is_number(&self, name: &str, value: impl Display, default: impl Display) -> bool {
        self.is(name, &value.to_string(), &default.to_string())
    }

    fn request(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

/// `GET /generate`
pub async fn ask(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let task = visit.query.get("from");
    let asked = if task.is_empty() {
        Asked::of_form(&visit.query)
    } else {
        let task = tasks::read(&visit, &visitor, task).await?;
        Asked::of_task(&task.request, !visit.query.get("vary").is_empty())
    };
    page(&visit, &visitor, asked, None, None).await
}

/// `POST /generate`: chooses a model, asks for the price, or runs it.
pub async fn act(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let asked = Asked::of_form(&visit.form);
    match visit.form.get("do") {
        "price" => match visitor.call(visit.house(), "Quote", &asked.request()).await {
            Ok(quote) => {
                let quote = read_answer(quote)?;
                page(&visit, &visitor, asked, None, Some(quote)).await
            }
            Err(error) => page(&visit, &visitor, asked, Some(&error), None).await,
        },
        "run" => {
            let mut request = asked.request();
            request["idempotency_key"] = json!(visit.form.get("idempotency_key"));
            match visitor.call(visit.house(), "Generate", &request).await {
                Ok(task) => {
                    let id = task["taskId"].as_str().unwrap_or_default();
                    Ok(visit.lead_to(&format!("{PATH}/{id}")))
                }
                Err(error) if error.reason == Reason::IdempotencyKeyReused => {
                    let again = ApiError::new(
                        error.reason,
                        "This form was sent before, with other values. Look them over and press Generate again.",
                    );
                    page(&visit, &visitor, asked, Some(&again), None).await
                }
                Err(error) => page(&visit, &visitor, asked, Some(&error), None).await,
            }
        }
        _ => page(&visit, &visitor, asked, None, None).await,
    }
}

async fn page(
    visit: &Visit,
    visitor: &Visitor,
    asked: Asked,
    error: Option<&ApiError>,
    quote: Option<Quote>,
) -> Result<Response, ApiError> {
    let house = visit.house();
    let mut listed = visitor.call(house, "ListModels", &json!({})).await?;
    let models: Vec<Model> = read_answer(listed["models"].take())?;
    let ready = models.iter().find(|model| !model.providers.is_empty());
    let first = ready.or(models.first()).ok_or_else(ApiError::internal)?;
    let wanted = asked.get("model");
    let slug = if wanted.is_empty() {
        &first.slug
    } else {
        &wanted
    };
    let (model, unknown) = match visitor
        .call(house, "GetModel", &json!({"slug": slug}))
        .await
    {
        Ok(model) => (model, None),
        Err(error) => {
            let request = json!({"slug": first.slug});
            (
                visitor.call(house, "GetModel", &request).await?,
                Some(error),
            )
        }
    };
    let model: Model = read_answer(model)?;
    let error = error.or(unknown.as_ref());
    let named = |kind: &str| {
        let models = models.iter().filter(|listed| listed.media_type == kind);
        let named = models.map(|listed| Named {
            slug: listed.slug.clone(),
            title: listed.title.clone(),
            is_away: listed.providers.is_empty(),
            is_chosen: listed.slug == model.slug,
        });
        named.collect()
    };
    let page = Generate {
        frame: visit.frame("Generate"),
        form_token: &visitor.form_token,
        idempotency_key: Uuid::now_v7().to_string(),
        may_run: visitor.caller.scopes().contains(Scope::Generate),
        images: named("IMAGE"),
        videos: named("VIDEO"),
        model,
        asked,
        problem: error.map(Problem::of),
        quote,
        lately: tasks::cards(visit, visitor, &json!({"pageSize": LATELY}))
            .await?
            .0,
    };
    let status = error.map_or(StatusCode::OK, status_of);
    Ok(shell::page(status, &page))
}

/// An answer of ours, as far as a page shows it.
pub fn read_answer<T: for<'a> Deserialize<'a>>(answer: Value) -> Result<T, ApiError> {
    serde_json::from_value(answer).map_err(|_| ApiError::internal())
}
