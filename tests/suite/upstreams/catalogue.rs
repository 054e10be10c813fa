//! What the built-in catalogue tells upstreams: every route can be told all that it claims, and in the
//! words that its upstream documents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use piooy::catalog::{Ask, Catalog, MediaType, Model, Route};
use piooy::providers::{Fal, Gemini, Job, Kie, OpenAi, Operation, Provider, Replicate};
use piooy::settings::missing_upstreams;
use serde_json::{Value, json};
use uuid::Uuid;

use super::conformance::connection;
use crate::fakes::engine::{Serving, json as answer, picture};

/// What stands for a picture in a body, however it was sent.
const PICTURE: &str = "<picture>";
/// Where the listener says that pictures are that were left with it.
const UPLOADED: &str = "https://files.test/picture.png";
/// Lengths that a route cannot make of those that its model makes: another route does.
const GAPS: [(&str, &str, &[u32]); 1] =
    [("gemini-omni-1-2", "kie", &[3, 5, 7, 9, 11, 12, 13, 14, 15])];

/// The adapters of all upstreams of the catalogue, with nobody behind them.
fn adapters(catalog: &Catalog) -> BTreeMap<String, Arc<dyn Provider>> {
    let routes = catalog.models().iter().flat_map(|model| &model.routes);
    let names: BTreeSet<_> = routes.map(|route| route.provider.clone()).collect();
    names
        .into_iter()
        .filter_map(|name| Some((name.clone(), adapter(&name, "http://127.0.0.1:9")?)))
        .collect()
}

/// The adapter of an upstream of the catalogue; `None` where the operator's own files say what is sent.
fn adapter(name: &str, url: &str) -> Option<Arc<dyn Provider>> {
    crate::support::speak_tls();
    let connection = connection(url);
    Some(match name {
        "fal" => {
            let keys = url.parse().expect("is a URL");
            Arc::new(Fal::new(name, connection, "key", keys).expect("is a key"))
        }
        "gemini" => Arc::new(Gemini::new(name, connection, "key").expect("is a key")),
        "replicate" => Arc::new(Replicate::new(name, connection, "key").expect("is a key")),
        "kie" => {
            let kie = Kie::new(name, connection.clone(), connection, "key", None);
            Arc::new(kie.expect("is a key"))
        }
        "openai" | "ark" | "xai" | "openrouter" | "vllm-omni" => {
            Arc::new(OpenAi::new(name, connection, Some("key")).expect("is a key"))
        }
        "comfyui" => return None,
        other => panic!("who is {other}?"),
    })
}

/// The kinds of work that a model does.
fn operations(model: &Model) -> Vec<Operation> {
    let subjects = model.max_reference_images > 0;
    let all = [
        (Operation::Text, true),
        (Operation::Edit, model.media == MediaType::Image && subjects),
        (Operation::ImageToVideo, model.image_to_video),
        (Operation::FirstLastFrame, model.first_last_frame),
        (
            Operation::ReferenceToVideo,
            model.media == MediaType::Video && subjects,
        ),
    ];
    all.into_iter()
        .filter_map(|(operation, does)| does.then_some(operation))
        .collect()
}

fn durations(model: &Model) -> Vec<Option<u32>> {
    match model.media {
        MediaType::Image => vec![None],
        MediaType::Video => model.durations_seconds.iter().copied().map(Some).collect(),
    }
}

/// What a caller asks of a route. `None` when the model does not run it for want of a price.
fn job(
    model: &Model,
    (route, operation): (&Route, Operation),
    resolution: &str,
    duration: Option<u32>,
    (aspect_ratio, count): (Option<&str>, u32),
) -> Option<Job> {
    let pictures = match operation {
        Operation::Text => 0,
        Operation::ImageToVideo => 1,
        Operation::Edit | Operation::FirstLastFrame | Operation::ReferenceToVideo => 2,
    };
    let ask = Ask {
        resolution: Some(resolution.to_owned()),
        aspect_ratio: aspect_ratio.map(str::to_owned),
        duration: duration.map(|seconds| seconds.to_string()),
        count: Some(count),
        strict: true,
        ..Ask::default()
    };
    let fitted = model.fit(&ask).expect("the model lists it");
    model.price(&fitted).ok()?;
    Some(Job {
        task_id: Uuid::nil(),
        attempt: 1,
        model: model.slug.clone(),
        model_title: model.title.clone(),
        upstream_model: route.id_for(operation, resolution)?.to_owned(),
        inputs: route.inputs.clone(),
        fixed: route.fixed.clone(),
        operation,
        prompt: "a fox".to_owned(),
        negative_prompt: model.negative_prompt.then(|| "fog".to_owned()),
        resolution: fitted.resolution,
        aspect_ratio: fitted.aspect_ratio,
        width: fitted.width,
        height: fitted.height,
        duration_seconds: fitted.duration_seconds,
        count: fitted.count,
        audio: fitted.audio,
        seed: Some(7),
        references: vec![picture(); pictures],
        webhook_url: None,
    })
}

#[tokio::test]
async fn every_route_can_be_told_all_that_it_claims() {
    let catalog = Catalog::builtin();
    let adapters = adapters(&catalog);
    let mut asked = 0;
    let mut gaps = BTreeSet::new();
    for model in catalog.models() {
        for route in &model.routes {
            let Some(adapter) = adapters.get(&route.provider) else {
                continue;
            };
            let made: Vec<_> = model
                .resolutions
                .iter()
                .map(|resolution| resolution.as_str())
                .filter(|resolution| route.id_for(Operation::Text, resolution).is_some())
                .collect();
            let ends = [made.first(), made.last()].into_iter().flatten();
            for (resolution, operation) in ends
                .flat_map(|resolution| operations(model).into_iter().map(move |o| (resolution, o)))
            {
                for duration in durations(model) {
                    let work = (route, operation);
                    let Some(job) = job(model, work, resolution, duration, (None, 1)) else {
                        continue;
                    };
                    asked += 1;
                    let place = format!(
                        "{} by {} {operation:?} {duration:?}",
                        model.slug, route.provider
                    );
                    match adapter.check(&job) {
                        Ok(()) => {}
                        Err(_) if is_gap(model, route, duration) => {
                            gaps.insert((model.slug.clone(), route.provider.clone(), duration));
                        }
                        Err(failure) => panic!("{place}: {}", failure.message),
                    }
                }
            }
        }
    }
    assert!(asked > 700, "{asked}");
    let known: usize = GAPS.iter().map(|(_, _, lengths)| lengths.len()).sum();
    assert_eq!(gaps.len(), known, "{gaps:?}");
}

fn is_gap(model: &Model, route: &Route, duration: Option<u32>) -> bool {
    let named = |(slug, provider, _): &&(&str, &str, &[u32])| {
        *slug == model.slug && *provider == route.provider
    };
    let gap = GAPS.iter().find(named);
    gap.zip(duration)
        .is_some_and(|((_, _, lengths), duration)| lengths.contains(&duration))
}

#[test]
fn every_route_leads_to_an_upstream_that_is_known() {
    let known: Vec<_> = missing_upstreams(&[]).map(|(name, _)| name).collect();
    for model in Catalog::builtin().models() {
        for route in &model.routes {
            let name = route.provider.as_str();
            assert!(known.contains(&name), "{} by {name}", model.slug);
        }
    }
}

/// A shape or a number of results that some route cannot be told, another can.
#[tokio::test]
async fn every_shape_and_number_that_a_model_lists_has_a_route() {
    let catalog = Catalog::builtin();
    let adapters = adapters(&catalog);
    for model in catalog.models() {
        let resolution = model.defaults.resolution.as_str();
        let duration = model.defaults.duration_seconds;
        let ratios = model.aspect_ratios.iter().map(|ratio| ratio.as_str());
        for ratio in ratios {
            for count in BTreeSet::from([1, model.max_outputs]) {
                let able = model.routes.iter().any(|route| {
                    let work = (route, Operation::Text);
                    let asked = (Some(ratio), count);
                    let job = job(model, work, resolution, duration, asked);
                    job.zip(adapters.get(&route.provider))
                        .is_some_and(|(job, adapter)| adapter.check(&job).is_ok())
                });
                assert!(able, "{} {ratio} {count}", model.slug);
            }
        }
    }
}

/// A server that writes down what it is sent and refuses it.
struct Listener {
    bodies: Arc<Mutex<Vec<Value>>>,
    serving: Serving,
}

impl Listener {
    async fn start() -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        let serving = Serving::start(|_| Router::new().fallback(hear).with_state(kept)).await;
        Self { bodies, serving }
    }

    /// What an upstream is sent for a job, with a mark for each picture.
    async fn body(&self, provider: &str, job: &Job) -> Value {
        let adapter = adapter(provider, &self.serving.url()).expect("is spoken");
        adapter.submit(job).await.expect_err("is refused");
        let mut body = self
            .bodies
            .lock()
            .expect("nobody panicked")
            .pop()
            .expect("was sent");
        mark_pictures(&mut body);
        body
    }
}

async fn hear(State(bodies): State<Arc<Mutex<Vec<Value>>>>, uri: Uri, body: Bytes) -> Response {
    if uri.path().contains("upload") {
        let file = json!({"success": true, "code": 200, "data": {"downloadUrl": UPLOADED}});
        return answer(StatusCode::OK, &file);
    }
    let body = serde_json::from_slice(&body).expect("is JSON");
    bodies.lock().expect("nobody panicked").push(body);
    answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({}))
}

fn mark_pictures(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("data:image/png;base64,") || text == UPLOADED => {
            *text = PICTURE.to_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(mark_pictures),
        Value::Object(fields) => {
            for (field, value) in fields {
                if field == "inlineData" {
                    *value = PICTURE.into();
                }
                mark_pictures(value);
            }
        }
        _ => {}
    }
}

/// One line of the tables below: a model, the kind of work, a resolution, how many, and what is sent.
type Line = (&'static str, Operation, &'static str, u32, Value);

async fn sends(provider: &str, lines: &[Line]) {
    let catalog = Catalog::builtin();
    let listener = Listener::start().await;
    for (slug, operation, resolution, count, expected) in lines {
        let model = catalog.get(slug).expect("is there");
        let mut routes = model.routes.iter();
        let route = routes
            .find(|route| {
                route.provider == provider && route.id_for(*operation, resolution).is_some()
            })
            .expect("is a route");
        let duration = model.defaults.duration_seconds;
        let work = (route, *operation);
        let job = job(model, work, resolution, duration, (None, *count));
        let body = listener.body(provider, &job.expect("has a price")).await;
        assert_eq!(&body, expected, "{slug} {operation:?} {resolution}");
    }
}

#[tokio::test]
async fn replicate_is_told_in_the_words_of_each_model() {
    use Operation::{Edit, FirstLastFrame, ImageToVideo, ReferenceToVideo, Text};
    let input = |input: Value| json!({ "input": input });
    sends(
        "replicate",
        &[
            (
                "nano-banana-pro", Edit, "2K", 1,
                input(json!({"prompt": "a fox", "aspect_ratio": "1:1", "resolution": "2K", "image_input": [PICTURE, PICTURE]})),
            ),
            (
                "nano-banana", Text, "1K", 1,
                input(json!({"prompt": "a fox", "aspect_ratio": "1:1"})),
            ),
            (
                "seedream-4-5", Edit, "4K", 3,
                input(json!({
                    "prompt": "a fox", "size": "4K", "aspect_ratio": "1:1", "image_input": [PICTURE, PICTURE],
                    "sequential_image_generation": "auto", "max_images": 3
                })),
            ),
            (
                "seedream-5-lite", Text, "3K", 1,
                input(json!({
                    "prompt": "a fox", "size": "3K", "aspect_ratio": "1:1",
                    "sequential_image_generation": "disabled", "max_images": 1
                })),
            ),
            (
                "flux-2-pro", Edit, "4MP", 1,
                input(json!({
                    "prompt": "a fox", "aspect_ratio": "1:1", "resolution": "4 MP", "seed": 7,
                    "input_images": [PICTURE, PICTURE]
                })),
            ),
            (
                "veo-3-1", ReferenceToVideo, "720p", 1,
                input(json!({
                    "prompt": "a fox", "negative_prompt": "fog", "duration": 8, "resolution": "720p",
                    "aspect_ratio": "16:9", "generate_audio": true, "seed": 7, "reference_images": [PICTURE, PICTURE]
                })),
            ),
            (
                "veo-3-1-fast", FirstLastFrame, "1080p", 1,
                input(json!({
                    "prompt": "a fox", "negative_prompt": "fog", "duration": 8, "resolution": "1080p",
                    "aspect_ratio": "16:9", "generate_audio": true, "seed": 7, "image": PICTURE, "last_frame": PICTURE
                })),
            ),
            (
                "kling-3-0", FirstLastFrame, "1080p", 1,
                input(json!({
                    "prompt": "a fox", "negative_prompt": "fog", "duration": 5, "mode": "pro", "aspect_ratio": "16:9",
                    "generate_audio": true, "start_image": PICTURE, "end_image": PICTURE
                })),
            ),
            (
                "kling-3-0", ReferenceToVideo, "720p", 1,
                input(json!({
                    "prompt": "a fox", "duration": 5, "mode": "standard", "aspect_ratio": "16:9",
                    "generate_audio": true, "reference_images": [PICTURE, PICTURE]
                })),
            ),
            (
                "seedance-2-0", FirstLastFrame, "720p", 1,
                input(json!({
                    "prompt": "a fox", "duration": 5, "resolution": "720p", "aspect_ratio": "16:9",
                    "generate_audio": true, "seed": 7, "image": PICTURE, "last_frame_image": PICTURE
                })),
            ),
            (
                "seedance-2-0-fast", ReferenceToVideo, "480p", 1,
                input(json!({
                    "prompt": "a fox", "duration": 5, "resolution": "480p", "aspect_ratio": "16:9",
                    "generate_audio": true, "seed": 7, "reference_images": [PICTURE, PICTURE]
                })),
            ),
            (
                "hailuo-2-3", ImageToVideo, "768p", 1,
                input(json!({"prompt": "a fox", "duration": 6, "resolution": "768p", "first_frame_image": PICTURE})),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn kie_is_told_in_the_words_of_each_model() {
    use Operation::{Edit, FirstLastFrame, ImageToVideo, ReferenceToVideo, Text};
    let body = |model: &str, input: Value| json!({ "model": model, "input": input });
    sends(
        "kie",
        &[
            (
                "nano-banana-pro", Edit, "4K", 1,
                body("nano-banana-pro", json!({
                    "prompt": "a fox", "aspect_ratio": "1:1", "resolution": "4K", "image_input": [PICTURE, PICTURE]
                })),
            ),
            (
                "nano-banana", Edit, "1K", 1,
                body("google/nano-banana-edit", json!({
                    "prompt": "a fox", "aspect_ratio": "1:1", "image_urls": [PICTURE, PICTURE]
                })),
            ),
            (
                "gpt-image-2", Edit, "2K", 1,
                body("gpt-image-2-image-to-image", json!({
                    "prompt": "a fox", "aspect_ratio": "1:1", "resolution": "2K", "input_urls": [PICTURE, PICTURE]
                })),
            ),
            (
                "seedream-4-5", Edit, "4K", 1,
                body("seedream/4.5-edit", json!({
                    "prompt": "a fox", "aspect_ratio": "1:1", "quality": "high", "image_urls": [PICTURE, PICTURE]
                })),
            ),
            (
                "seedream-5-pro", Text, "1K", 1,
                body("seedream/5-pro-text-to-image", json!({
                    "prompt": "a fox", "aspect_ratio": "1:1", "quality": "basic"
                })),
            ),
            (
                "flux-2-pro", Edit, "4MP", 1,
                body("flux-2/pro-image-to-image", json!({
                    "prompt": "a fox", "aspect_ratio": "1:1", "resolution": "2K", "input_urls": [PICTURE, PICTURE]
                })),
            ),
            (
                "z-image-turbo", Text, "1K", 1,
                body("z-image", json!({"prompt": "a fox", "aspect_ratio": "1:1"})),
            ),
            (
                "gemini-omni-1-2", ReferenceToVideo, "1080p", 1,
                body("gemini-omni-video", json!({
                    "prompt": "a fox", "duration": "8", "resolution": "1080p", "aspect_ratio": "16:9", "seed": 7,
                    "image_urls": [PICTURE, PICTURE]
                })),
            ),
            (
                "kling-3-0", Text, "720p", 1,
                body("kling-3.0/video", json!({
                    "prompt": "a fox", "duration": "5", "mode": "std", "aspect_ratio": "16:9", "sound": true,
                    "multi_shots": false
                })),
            ),
            (
                "kling-3-0", FirstLastFrame, "1080p", 1,
                body("kling-3.0/video", json!({
                    "prompt": "a fox", "duration": "5", "mode": "pro", "aspect_ratio": "16:9", "sound": true,
                    "multi_shots": false, "image_urls": [PICTURE, PICTURE]
                })),
            ),
            (
                "seedance-1-5-pro", ImageToVideo, "720p", 1,
                body("bytedance/seedance-1.5-pro", json!({
                    "prompt": "a fox", "duration": 5, "resolution": "720p", "aspect_ratio": "16:9",
                    "generate_audio": true, "input_urls": [PICTURE]
                })),
            ),
            (
                "seedance-2-5", FirstLastFrame, "1080p", 1,
                body("bytedance/seedance-2-5", json!({
                    "prompt": "a fox", "duration": 5, "resolution": "1080p", "aspect_ratio": "16:9",
                    "generate_audio": true, "first_frame_url": PICTURE, "last_frame_url": PICTURE
                })),
            ),
            (
                "seedance-2-5", ReferenceToVideo, "720p", 1,
                body("bytedance/seedance-2-5", json!({
                    "prompt": "a fox", "duration": 5, "resolution": "720p", "aspect_ratio": "16:9",
                    "generate_audio": true, "reference_image_urls": [PICTURE, PICTURE]
                })),
            ),
            (
                "wan-3-0", ImageToVideo, "1080p", 1,
                body("wan/3-0-video", json!({
                    "prompt": "a fox", "duration": 5, "resolution": "1080P", "aspect_ratio": "16:9", "audio": true,
                    "seed": 7, "first_frame_url": PICTURE
                })),
            ),
            (
                "minimax-h3", FirstLastFrame, "768p", 1,
                body("minimax-h3/image-to-video", json!({
                    "prompt": "a fox", "duration": 6, "first_frame_url": PICTURE, "last_frame_url": PICTURE
                })),
            ),
            (
                "minimax-h3", ReferenceToVideo, "768p", 1,
                body("minimax-h3/reference-to-video", json!({
                    "prompt": "a fox", "duration": 6, "resolution": "768p", "aspect_ratio": "16:9",
                    "reference_image_urls": [PICTURE, PICTURE]
                })),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn fal_is_told_in_the_words_of_each_model() {
    use Operation::{Edit, FirstLastFrame, ImageToVideo, Text};
    sends(
        "fal",
        &[
            (
                "z-image-turbo", Text, "1K", 4,
                json!({"prompt": "a fox", "image_size": {"width": 1024, "height": 1024}, "num_images": 4, "seed": 7}),
            ),
            (
                "gpt-image-2", Edit, "1K", 2,
                json!({
                    "prompt": "a fox", "image_size": {"width": 1024, "height": 1024}, "num_images": 2,
                    "image_urls": [PICTURE, PICTURE], "quality": "medium"
                }),
            ),
            (
                "veo-3-1", FirstLastFrame, "1080p", 1,
                json!({
                    "prompt": "a fox", "negative_prompt": "fog", "duration": "8s", "resolution": "1080p",
                    "aspect_ratio": "16:9", "generate_audio": true, "seed": 7,
                    "first_frame_url": PICTURE, "last_frame_url": PICTURE
                }),
            ),
            (
                "hailuo-2-3", ImageToVideo, "768p", 1,
                json!({"prompt": "a fox", "duration": "6", "image_url": PICTURE}),
            ),
            (
                "hailuo-2-3", ImageToVideo, "1080p", 1,
                json!({"prompt": "a fox", "image_url": PICTURE}),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn gemini_is_told_no_size_where_there_is_one() {
    use Operation::{Edit, Text};
    let parts = json!([{"inlineData": PICTURE}, {"inlineData": PICTURE}, {"text": "a fox"}]);
    sends(
        "gemini",
        &[
            (
                "nano-banana", Edit, "1K", 1,
                json!({
                    "generationConfig": {
                        "responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "1:1"}
                    },
                    "contents": [{"role": "user", "parts": parts}]
                }),
            ),
            (
                "nano-banana-pro", Text, "2K", 1,
                json!({
                    "generationConfig": {
                        "responseModalities": ["TEXT", "IMAGE"], "seed": 7,
                        "imageConfig": {"aspectRatio": "1:1", "imageSize": "2K"}
                    },
                    "contents": [{"role": "user", "parts": [{"text": "a fox"}]}]
                }),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn servers_that_speak_as_openai_does_are_told_in_their_own_fields() {
    use Operation::{Edit, Text};
    sends(
        "ark",
        &[
            (
                "seedream-4-5", Edit, "2K", 2,
                json!({
                    "model": "seedream-4-5-251128", "prompt": "a fox", "size": "2048x2048", "image": [PICTURE, PICTURE],
                    "sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 2},
                    "response_format": "url", "watermark": false
                }),
            ),
            (
                "seedream-5-pro", Text, "1K", 1,
                json!({
                    "model": "dola-seedream-5-0-pro-260628", "prompt": "a fox", "size": "1024x1024",
                    "response_format": "url", "watermark": false
                }),
            ),
        ],
    )
    .await;
    sends(
        "xai",
        &[(
            "grok-imagine-image-2", Text, "2K", 4,
            json!({
                "model": "grok-imagine-image-2.0", "prompt": "a fox", "n": 4, "aspect_ratio": "1:1", "resolution": "2k",
                "response_format": "b64_json", "quality": "medium"
            }),
        )],
    )
    .await;
    sends(
        "openrouter",
        &[(
            "wan-3-0",
            Text,
            "720p",
            1,
            json!({
                "model": "alibaba/wan-3.0", "prompt": "a fox", "duration": 5, "resolution": "720p",
                "aspect_ratio": "16:9", "generate_audio": true, "seed": 7
            }),
        )],
    )
    .await;
    sends(
        "vllm-omni",
        &[(
            "z-image-turbo", Text, "1K", 2,
            json!({
                "model": "Tongyi-MAI/Z-Image-Turbo", "prompt": "a fox", "n": 2, "size": "1024x1024", "seed": 7,
                "response_format": "b64_json"
            }),
        )],
    )
    .await;
}
