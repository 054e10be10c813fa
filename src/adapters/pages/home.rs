//! `/`: what the server is, in short, and one call in four forms.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;

use super::examples::{Examples, authority};
use super::models::{models, request};
use super::{Frame, answer, public};
use crate::adapters::MCP_PATH;
use crate::adapters::entry::{House, Shared};
use crate::spec::v1::MediaType;

/// The page. Written for each request.
pub fn router(house: &Shared) -> Router {
    Router::new()
        .route("/", get(home))
        .with_state(house.clone())
}

async fn home(State(house): State<Shared>, headers: HeaderMap) -> Response {
    answer(&house, HomePage::of(&house), &headers)
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    frame: Frame,
    images: usize,
    videos: usize,
    url: String,
    mcp: String,
    grpc: String,
    /// None where the catalogue is empty.
    examples: Option<Examples>,
}

public!(HomePage);

impl HomePage {
    fn of(house: &House) -> Self {
        let options = &house.parts.options;
        let url = options.public_url.clone();
        let models = models(house);
        let number = |media| {
            models
                .iter()
                .filter(|model| model.media_type() == media)
                .count()
        };
        let (images, videos) = (number(MediaType::Image), number(MediaType::Video));
        let example = |model| {
            Examples::new(
                &url,
                crate::spec::v1::Model::media_type(model),
                &request(model),
            )
        };
        Self {
            frame: Frame::new(
                options,
                "/",
                "One key for every image and video model",
                format!(
                    "One API key and one credit balance for {images} image and {videos} video models, over REST, gRPC and MCP."
                ),
            ),
            images,
            videos,
            mcp: format!("{url}{MCP_PATH}"),
            grpc: authority(&url),
            examples: models.first().map(example),
            url,
        }
    }
}
