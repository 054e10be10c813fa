//! `CatalogService`.

use tonic::{Request, Response, Status};

use super::generation::media_message;
use super::{Api, caller, int32};
use crate::catalog::{self, Operation, Tier};
use crate::generation::{Availability, Condition, Reach};
use crate::spec::error::ApiError;
use crate::spec::v1::catalog_service_server::CatalogService;
use crate::spec::v1::{
    GetModelRequest, ListModelsRequest, ListModelsResponse, MediaType, Model, ModelDefaults, Price,
    model,
};

#[tonic::async_trait]
impl CatalogService for Api {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let caller = caller(&request)?;
        let upstreams = self.generation.upstreams_of(&caller).await;
        let upstreams = upstreams.map_err(ApiError::from)?;
        let (media, tier) = (request.get_ref().media_type(), request.get_ref().tier());
        let catalog = self.catalog.get();
        let models = catalog.models().iter().filter(|model| {
            (media == MediaType::Unspecified || media == media_message(model.media))
                && (tier == model::Tier::Unspecified || tier == tier_message(model.tier))
        });
        let models = models
            .map(|model| model_message(model, &upstreams.availability(model)))
            .collect();
        Ok(Response::new(ListModelsResponse { models }))
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<Model>, Status> {
        let caller = caller(&request)?;
        let catalog = self.catalog.get();
        let model = catalog
            .get(&request.get_ref().slug)
            .map_err(ApiError::from)?;
        let upstreams = self.generation.upstreams_of(&caller).await;
        let upstreams = upstreams.map_err(ApiError::from)?;
        let availability = upstreams.availability(model);
        let mut message = model_message(model, &availability);
        message.availability = availability.into_iter().map(availability_message).collect();
        Ok(Response::new(message))
    }
}

/// A model as every face shows it in a list: `availability` says only which upstreams would run it now.
pub fn model_message(model: &catalog::Model, availability: &[Availability]) -> Model {
    let (low, high) = model.typical_seconds;
    let ready = availability.iter().filter(|upstream| upstream.is_ready());
    Model {
        slug: model.slug.clone(),
        title: model.title.clone(),
        vendor: model.vendor.clone(),
        description: model.description.clone(),
        media_type: media_message(model.media).into(),
        tier: tier_message(model.tier).into(),
        resolutions: model.resolutions.iter().map(ToString::to_string).collect(),
        aspect_ratios: model
            .aspect_ratios
            .iter()
            .map(ToString::to_string)
            .collect(),
        durations_seconds: model.durations_seconds.iter().copied().map(int32).collect(),
        max_outputs: int32(model.max_outputs),
        max_reference_images: int32(model.input_images_max()),
        audio: model.audio.as_str().to_owned(),
        defaults: Some(ModelDefaults {
            resolution: model.defaults.resolution.to_string(),
            aspect_ratio: model.defaults.aspect_ratio.to_string(),
            duration_seconds: model.defaults.duration_seconds.map(int32),
        }),
        prices: model.price_rows().iter().map(price_message).collect(),
        typical_seconds_low: int32(low),
        typical_seconds_high: int32(high),
        replaced_by: model.replaced_by.clone().unwrap_or_default(),
        deprecated_after: model.deprecated_after.clone().unwrap_or_default(),
        providers: ready.map(|upstream| upstream.provider.clone()).collect(),
        negative_prompt: model.negative_prompt,
        availability: Vec::new(),
        seed: model.seed,
        first_frame: model.operation_for(1) == Some(Operation::ImageToVideo),
        last_frame: model.operation_for(2) == Some(Operation::FirstLastFrame),
    }
}

fn availability_message(upstream: Availability) -> model::Availability {
    use model::availability::State;
    let (state, reason) = match upstream.reach {
        Reach::SetUp(Condition::Ready) => (State::Ready, String::new()),
        Reach::SetUp(condition) => {
            let state = match condition {
                Condition::Resting => State::Resting,
                _ => State::Unavailable,
            };
            (
                state,
                format!("{} {}.", upstream.provider, condition.words()),
            )
        }
        Reach::NotSetUp(Some(setting)) => {
            let reason = format!("The operator of this server would have to set {setting}.");
            (State::Unconfigured, reason)
        }
        Reach::NotSetUp(None) => {
            let reason = "This server knows no such upstream.".to_owned();
            (State::Unconfigured, reason)
        }
    };
    model::Availability {
        provider: upstream.provider,
        state: state.into(),
        reason,
    }
}

fn tier_message(tier: Tier) -> model::Tier {
    match tier {
        Tier::Free => model::Tier::Free,
        Tier::Standard => model::Tier::Standard,
        Tier::Premium => model::Tier::Premium,
    }
}

fn price_message(row: &catalog::PriceRow) -> Price {
    Price {
        resolution: row.resolution.clone(),
        unit: row.unit.as_str().to_owned(),
        audio: row.audio,
        // Prices are far below 2^53 thousandths.
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
        credits: row.millicredits as f64 / 1000.0,
        duration_seconds: row.duration_seconds.map(int32),
    }
}
