//! What people see where no page is, or none any more.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};

use super::{Frame, document, public};
use crate::adapters::entry::{House, Shared};
use crate::adapters::{Options, rest};

/// How deep below the root a path may be for its page to find the way back.
const DEPTH_MAX: usize = 16;

/// Says that something is missing, and where to go instead.
#[derive(Template)]
#[template(path = "missing.html")]
pub struct Missing {
    frame: Frame,
    text: String,
    /// Models that may have been meant.
    models: Vec<String>,
}

public!(Missing);

impl Missing {
    /// A name that leads to no model that runs; `models` are those that may have been meant.
    pub fn model(options: &Options, title: &str, text: String, models: Vec<String>) -> Self {
        Self::at(options, "/models/", title, text, models)
    }

    fn at(options: &Options, path: &str, title: &str, text: String, models: Vec<String>) -> Self {
        let frame = Frame::new(options, path, title, text.clone());
        Self {
            frame: Frame {
                address: None,
                ..frame
            },
            text,
            models,
        }
    }

    /// The answer with that status to who asks with these headers.
    pub fn answer(mut self, house: &House, asked: &HeaderMap, status: StatusCode) -> Response {
        let page = document(&mut self, house.site.is_known(asked));
        // Whatever page they have, what they ask for is not there.
        let mut response = page.answer(&HeaderMap::new());
        *response.status_mut() = status;
        response
    }
}

/// Nothing is bound to the path: a page for people, and for programs the API's envelope.
pub async fn fallback(State(house): State<Shared>, request: Request) -> Response {
    if !is_for_people(request.method(), request.headers()) {
        return rest::not_found(request).await;
    }
    let depth = request.uri().path().matches('/').count();
    let path = "/".repeat(depth.clamp(1, DEPTH_MAX));
    let text = "The address leads nowhere. It may have been mistyped, or the page has moved.";
    let options = &house.parts.options;
    Missing::at(
        options,
        &path,
        "There is no such page",
        text.to_owned(),
        Vec::new(),
    )
    .answer(&house, request.headers(), StatusCode::NOT_FOUND)
}

/// Whether a browser asks for a page. Programs take anything, or JSON.
fn is_for_people(method: &Method, headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT);
    let accepted = accepted
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    (method == Method::GET || method == Method::HEAD) && accepted.contains("text/html")
}
