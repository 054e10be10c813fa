//! What programs that read the web ask for first: `robots.txt`, `sitemap.xml` and `llms.txt`, the
//! last for language models that want to know what the server is and how to call it.

use std::fmt::Write;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;

use super::ASK_AGAIN;
use super::models::{Summary, models, request};
use crate::adapters::MCP_PATH;
use crate::adapters::documents::{Document, KEEP_AN_HOUR};
use crate::adapters::entry::{House, Shared};
use crate::adapters::mcp::about;
use crate::spec::v1::{MediaType, Model};

/// The documents. Those that name models are written for each request.
pub fn router(house: &Shared) -> Router {
    let robots = Document::new(
        "text/plain; charset=utf-8",
        KEEP_AN_HOUR,
        robots(&house.parts.options.public_url),
    );
    Router::new()
        .route("/robots.txt", robots.route())
        .route("/sitemap.xml", get(sitemap))
        .route("/llms.txt", get(llms))
        .with_state(house.clone())
}

/// Nothing behind a key or a login is worth a crawler's time.
fn robots(public_url: &str) -> String {
    format!(
        "User-agent: *\nDisallow: /api/\nDisallow: /files/\nDisallow: /settings/\n\nSitemap: {public_url}/sitemap.xml\n"
    )
}

async fn sitemap(State(house): State<Shared>, headers: HeaderMap) -> Response {
    let url = &house.parts.options.public_url;
    let catalog = house.parts.catalog.get();
    let slugs = catalog
        .models()
        .iter()
        .map(|model| format!("/models/{}", model.slug));
    let pages = [
        "/",
        "/models",
        "/docs/api",
        "/docs/messages",
        "/docs/errors",
        "/docs/mcp",
    ]
    .map(str::to_owned);
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
    );
    for path in pages.into_iter().chain(slugs) {
        // Neither addresses as settings take them nor slugs have a letter that XML minds.
        text += &format!("<url><loc>{url}{path}</loc></url>\n");
    }
    text += "</urlset>\n";
    Document::new("application/xml", ASK_AGAIN, text).answer(&headers)
}

async fn llms(State(house): State<Shared>, headers: HeaderMap) -> Response {
    Document::new("text/plain; charset=utf-8", ASK_AGAIN, llms_text(&house)).answer(&headers)
}

/// As llmstxt.org has it: a title, a summary, and lists of links.
fn llms_text(house: &House) -> String {
    let url = &house.parts.options.public_url;
    let models = models(house);
    let mut text = format!(
        "# Piooy\n\n> {} REST, gRPC and MCP are three faces of the same calls.\n\n\
         A call that starts work answers with a task, at once or after wait_seconds (at most 50). Ask for the task until its \
         status is SUCCESS, FAILED or CANCELED; SUCCESS has links in outputs. What fails costs nothing.\n\n\
         - REST: {url}/api/v1, with the header Authorization: Bearer KEY. POST {url}/api/v1/generate starts, \
         GET {url}/api/v1/tasks/TASK_ID asks.\n\
         - MCP: {url}{MCP_PATH} (Streamable HTTP), with the same header. Tools generate_image and generate_video start, \
         get_task_status asks.\n\
         - gRPC: the same host and port, services piooy.v1.*, with reflection.\n",
        about::DESCRIPTION
    );
    if let Some(model) = models.first() {
        let _ = write!(text, "\nA body to start with: {}\n", request(model));
    }
    let _ = write!(
        text,
        "\n## Documentation\n\n\
         - [API reference]({url}/docs/api): every call and field\n\
         - [Messages]({url}/docs/messages): what answers are made of\n\
         - [Errors]({url}/docs/errors): every reason for which a call fails, and what to do\n\
         - [OpenAPI document]({url}/openapi.json): the same for programs\n\
         - [Connecting agents]({url}/docs/mcp): configuration of MCP clients\n"
    );
    for (title, media) in [
        ("Image models", MediaType::Image),
        ("Video models", MediaType::Video),
    ] {
        let _ = write!(text, "\n## {title}\n\n");
        for model in models.iter().filter(|model| model.media_type() == media) {
            text += &llms_line(url, model);
        }
    }
    text
}

fn llms_line(url: &str, model: &Model) -> String {
    let Summary {
        slug,
        description,
        price,
        time,
        ..
    } = Summary::of(model);
    let description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("- [{slug}]({url}/models/{slug}): {description} {price}, {time}.\n")
}
