//! `/models` and `/models/{slug}`: every model, and one of them whole. All facts are those of the
//! catalogue's answers in the API, made by the same function; nothing is worked out here but words.

use askama::Template;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::examples::Examples;
use super::missing::Missing;
use super::snippet::Snippet;
use super::{Frame, KEY, answer, public};
use crate::adapters::entry::{House, Shared};
use crate::adapters::handlers::model_message;
use crate::catalog::LookupError;
use crate::spec::v1::model::Tier;
use crate::spec::v1::{MediaType, Model, Price};

/// The pages. Written for each request.
pub fn router(house: &Shared) -> Router {
    Router::new()
        .route("/models", get(all))
        .route("/models/{slug}", get(one))
        .with_state(house.clone())
}

/// Every model, as the API shows it to whoever has a live key.
pub fn models(house: &House) -> Vec<Model> {
    let catalog = house.parts.catalog.get();
    let models = catalog.models().iter();
    models.map(|model| message(house, model)).collect()
}

fn message(house: &House, model: &crate::catalog::Model) -> Model {
    let upstreams = house.parts.generation.as_ref();
    let upstreams = upstreams.map(|generation| generation.upstreams_of_everyone());
    let availability = upstreams.map(|upstreams| upstreams.availability(model));
    model_message(model, &availability.unwrap_or_default())
}

async fn all(
    State(house): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let choice = Choice::of(query.as_deref().unwrap_or_default());
    answer(&house, ModelsPage::of(&house, choice), &headers)
}

/// Leads every other name of a model to its slug, and says of names that lead nowhere what else there is.
async fn one(
    State(house): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let options = &house.parts.options;
    match house.parts.catalog.get().get(&name) {
        Ok(model) if model.slug == name => {
            let page = ModelPage::of(&house, message(&house, model));
            answer(&house, page, &headers)
        }
        Ok(model) => {
            let location = [(header::LOCATION, model.slug.clone())];
            (StatusCode::TEMPORARY_REDIRECT, location).into_response()
        }
        Err(LookupError::Unknown { asked, near }) => {
            let text = format!("No model here is called “{asked}”.");
            Missing::model(options, "There is no such model", text, near).answer(
                &house,
                &headers,
                StatusCode::NOT_FOUND,
            )
        }
        Err(LookupError::Retired { model, replaced_by }) => {
            let text = format!("{model} has been switched off and does not run any more.");
            let successor = replaced_by.into_iter().collect();
            Missing::model(options, "This model is gone", text, successor).answer(
                &house,
                &headers,
                StatusCode::GONE,
            )
        }
    }
}

/// Which models are to be seen. A word that means nothing chooses nothing.
#[derive(Clone, Copy, Default, PartialEq)]
struct Choice {
    media: Option<MediaType>,
    tier: Option<Tier>,
}

const MEDIA: [(&str, &str, MediaType); 2] = [
    ("image", "Images", MediaType::Image),
    ("video", "Videos", MediaType::Video),
];

const TIERS: [(&str, &str, Tier); 3] = [
    ("free", "Free", Tier::Free),
    ("standard", "Standard", Tier::Standard),
    ("premium", "Premium", Tier::Premium),
];

/// The second of the row whose third is asked for.
fn name_of<T: Copy + PartialEq>(
    rows: &[(&'static str, &'static str, T)],
    asked: T,
) -> &'static str {
    let row = rows.iter().find(|(_, _, value)| *value == asked);
    row.map_or("", |(_, name, _)| name)
}

impl Choice {
    fn of(query: &str) -> Self {
        fn found<T: Copy>(rows: &[(&str, &str, T)], word: &str) -> Option<T> {
            let row = rows
                .iter()
                .find(|(known, _, _)| word.eq_ignore_ascii_case(known));
            row.map(|(_, _, value)| *value)
        }
        let mut choice = Self::default();
        for (name, word) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "media" => choice.media = found(&MEDIA, &word),
                "tier" => choice.tier = found(&TIERS, &word),
                _ => {}
            }
        }
        choice
    }

    fn admits(self, model: &Model) -> bool {
        self.media.is_none_or(|media| media == model.media_type())
            && self.tier.is_none_or(|tier| tier == model.tier())
    }

    /// The query that chooses the same.
    fn query(self) -> String {
        fn word<T: PartialEq>(
            rows: &[(&'static str, &str, T)],
            value: Option<T>,
        ) -> Option<&'static str> {
            let row = rows
                .iter()
                .find(|(_, _, known)| Some(known) == value.as_ref());
            row.map(|(word, _, _)| *word)
        }
        let pairs = [
            ("media", word(&MEDIA, self.media)),
            ("tier", word(&TIERS, self.tier)),
        ];
        let pairs = pairs
            .iter()
            .filter_map(|(name, word)| Some(format!("{name}={}", (*word)?)));
        let query = pairs.collect::<Vec<_>>().join("&");
        if query.is_empty() {
            query
        } else {
            format!("?{query}")
        }
    }
}

/// A link that changes the choice.
struct Chip {
    name: &'static str,
    query: String,
    current: bool,
}

fn chips<T: Copy>(
    choice: Choice,
    any: &'static str,
    rows: &[(&str, &'static str, T)],
    put: impl Fn(Choice, Option<T>) -> Choice,
) -> Vec<Chip> {
    let values = rows.iter().map(|(_, name, value)| (*name, Some(*value)));
    let chip = |(name, value)| {
        let then = put(choice, value);
        Chip {
            name,
            query: then.query(),
            current: then == choice,
        }
    };
    std::iter::once((any, None))
        .chain(values)
        .map(chip)
        .collect()
}

/// Every model in short.
#[derive(Template)]
#[template(path = "models.html")]
struct ModelsPage {
    frame: Frame,
    media: Vec<Chip>,
    tiers: Vec<Chip>,
    models: Vec<Summary>,
    total: usize,
}

public!(ModelsPage, ModelPage);

impl ModelsPage {
    fn of(house: &House, choice: Choice) -> Self {
        let all = models(house);
        let shown = all.iter().filter(|model| choice.admits(model));
        Self {
            frame: Frame::new(
                &house.parts.options,
                "/models",
                "Models",
                format!(
                    "All {} image and video models of this server: what each is best at, what it costs and how long it takes.",
                    all.len()
                ),
            ),
            media: chips(choice, "All", &MEDIA, |choice, media| Choice {
                media,
                ..choice
            }),
            tiers: chips(choice, "Any tier", &TIERS, |choice, tier| Choice {
                tier,
                ..choice
            }),
            models: shown.map(Summary::of).collect(),
            total: all.len(),
        }
    }
}

/// A model in short.
pub struct Summary {
    pub slug: String,
    pub title: String,
    pub vendor: String,
    pub description: String,
    pub makes: &'static str,
    pub tier: &'static str,
    /// Such as `from 4.6 credits a second`.
    pub price: String,
    pub time: String,
    pub is_leaving: bool,
    pub is_away: bool,
}

impl Summary {
    pub fn of(model: &Model) -> Self {
        Self {
            slug: model.slug.clone(),
            title: model.title.clone(),
            vendor: model.vendor.clone(),
            description: model.description.clone(),
            makes: match model.media_type() {
                MediaType::Video => "Video",
                _ => "Image",
            },
            tier: name_of(&TIERS, model.tier()),
            price: lowest_price(&model.prices),
            time: typical_time(model),
            is_leaving: is_leaving(model),
            is_away: model.providers.is_empty(),
        }
    }
}

fn is_leaving(model: &Model) -> bool {
    !model.deprecated_after.is_empty() || !model.replaced_by.is_empty()
}

fn lowest_price(prices: &[Price]) -> String {
    let lowest = prices.iter().min_by(|a, b| a.credits.total_cmp(&b.credits));
    let Some(price) = lowest else {
        return "no price".to_owned();
    };
    let from = if prices.len() > 1 { "from " } else { "" };
    format!("{from}{} credits {}", price.credits, per(&price.unit))
}

fn per(unit: &str) -> String {
    let article = if unit.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {unit}")
}

fn typical_time(model: &Model) -> String {
    time_span(model.typical_seconds_low, model.typical_seconds_high)
}

/// A span of time in seconds, or, where that reads better, in minutes.
fn time_span(low: i32, high: i32) -> String {
    let in_seconds = |low, high| {
        if low == high {
            format!("{low} s")
        } else {
            format!("{low}–{high} s")
        }
    };
    if low < 60 || low % 60 != 0 || high % 60 != 0 {
        return in_seconds(low, high);
    }
    let (low, high) = (low / 60, high / 60);
    if low == high {
        format!("{low} min")
    } else {
        format!("{low}–{high} min")
    }
}

/// One model.
#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage {
    frame: Frame,
    model: Model,
    summary: Summary,
    /// What it takes and makes, each with its name.
    facts: Vec<(&'static str, Vec<Choosable>)>,
    /// What is done with pictures that are given with the prompt, where it takes any.
    pictures: Vec<String>,
    audio: Option<&'static str>,
    prices: PriceTable,
    examples: Examples,
    /// The request with a picture, where it takes one.
    with_picture: Option<Snippet>,
}

/// A value that a request may name.
struct Choosable {
    name: String,
    /// Used where a request names none.
    is_default: bool,
}

/// The prices, and which conditions they have.
struct PriceTable {
    has_audio: bool,
    has_duration: bool,
    rows: Vec<PriceLine>,
}

struct PriceLine {
    resolution: String,
    audio: &'static str,
    duration: String,
    credits: String,
    unit: String,
}

impl PriceTable {
    fn of(prices: &[Price]) -> Self {
        let line = |price: &Price| PriceLine {
            resolution: price.resolution.clone(),
            audio: match price.audio {
                Some(true) => "with",
                Some(false) => "without",
                None => "either",
            },
            duration: price
                .duration_seconds
                .map_or_else(|| "any".to_owned(), |seconds| format!("{seconds} s")),
            credits: price.credits.to_string(),
            unit: per(&price.unit),
        };
        Self {
            has_audio: prices.iter().any(|price| price.audio.is_some()),
            has_duration: prices.iter().any(|price| price.duration_seconds.is_some()),
            rows: prices.iter().map(line).collect(),
        }
    }
}

impl ModelPage {
    fn of(house: &House, model: Model) -> Self {
        let options = &house.parts.options;
        let request = request(&model);
        Self {
            frame: Frame::new(
                options,
                format!("/models/{}", model.slug),
                model.title.clone(),
                model.description.clone(),
            ),
            summary: Summary::of(&model),
            facts: facts(&model),
            pictures: pictures(&model),
            audio: audio(&model),
            prices: PriceTable::of(&model.prices),
            examples: Examples::new(&options.public_url, model.media_type(), &request),
            with_picture: (model.max_reference_images > 0)
                .then(|| Snippet::json("Body of the request", &request_with_picture(&model), KEY)),
            model,
        }
    }
}

fn facts(model: &Model) -> Vec<(&'static str, Vec<Choosable>)> {
    let defaults = model.defaults.clone().unwrap_or_default();
    let choosable = |names: &[String], default: &str| {
        let one = |name: &String| Choosable {
            name: name.clone(),
            is_default: name == default,
        };
        names.iter().map(one).collect::<Vec<_>>()
    };
    let seconds = |seconds: i32| format!("{seconds} s");
    let durations: Vec<String> = model
        .durations_seconds
        .iter()
        .copied()
        .map(seconds)
        .collect();
    let duration = defaults.duration_seconds.map(seconds).unwrap_or_default();
    let mut facts = vec![
        (
            "Resolutions",
            choosable(&model.resolutions, &defaults.resolution),
        ),
        (
            "Shapes",
            choosable(&model.aspect_ratios, &defaults.aspect_ratio),
        ),
        ("Lengths", choosable(&durations, &duration)),
    ];
    facts.retain(|(_, values)| !values.is_empty());
    facts
}

/// What becomes of pictures that are given with the prompt, by their number.
fn pictures(model: &Model) -> Vec<String> {
    let most = model.max_reference_images;
    let frames = if model.last_frame {
        2
    } else {
        i32::from(model.first_frame)
    };
    let mut uses = Vec::new();
    if model.first_frame {
        uses.push("One is the frame that the video starts from.".to_owned());
    }
    if model.last_frame {
        uses.push("Two are the frames that it starts from and ends with.".to_owned());
    }
    if most > frames {
        let number = if most == 1 {
            "One is".to_owned()
        } else if frames > 0 {
            format!("Up to {most} are")
        } else {
            format!("One to {most} are")
        };
        let what = match model.media_type() {
            MediaType::Video => "subjects to show",
            _ => "edited, or drawn upon",
        };
        uses.push(format!("{number} {what}."));
    }
    uses
}

fn audio(model: &Model) -> Option<&'static str> {
    if model.media_type() != MediaType::Video {
        return None;
    }
    Some(match model.audio.as_str() {
        "toggle" => "With sound, unless audio is false",
        "always" => "Always with sound",
        "input_or_auto" => "Always with sound: your track, or one that it makes up",
        _ => "Silent",
    })
}

/// A request that the model runs as it is.
pub fn request(model: &Model) -> Value {
    let defaults = model.defaults.clone().unwrap_or_default();
    let mut request = json!({
        "model": model.slug,
        "prompt": match model.media_type() {
            MediaType::Video => "drone shot of a lighthouse at sunset, cinematic",
            _ => "a golden retriever wearing a beret in Paris",
        },
        "resolution": defaults.resolution,
        "aspect_ratio": defaults.aspect_ratio,
    });
    if let Some(seconds) = defaults.duration_seconds {
        request["duration"] = seconds.to_string().into();
    }
    request["wait_seconds"] = 50.into();
    request
}

fn request_with_picture(model: &Model) -> Value {
    let mut request = request(model);
    request["prompt"] = match model.media_type() {
        MediaType::Video => "slow push in, leaves moving in the wind".into(),
        _ => "the same scene at night, in the rain".into(),
    };
    request["reference_images"] = json!(["https://example.com/picture.png"]);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_what_its_query_says() {
        for query in [
            "",
            "?media=video",
            "?tier=free",
            "?media=image&tier=premium",
        ] {
            assert_eq!(Choice::of(query.trim_start_matches('?')).query(), query);
        }
        assert_eq!(Choice::of("media=sound&tier=%3Cb%3E&x=y").query(), "");
        assert_eq!(Choice::of("media=VIDEO").query(), "?media=video");
    }

    #[test]
    fn time_is_told_in_the_larger_unit_that_fits() {
        assert_eq!(time_span(5, 20), "5–20 s");
        assert_eq!(time_span(60, 180), "1–3 min");
        assert_eq!(time_span(60, 90), "60–90 s");
        assert_eq!(time_span(120, 120), "2 min");
    }
}
