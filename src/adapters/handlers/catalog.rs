//! `CatalogService`.

use tonic::{Request, Response, Status};

use super::generation::media_message;
use super::{Api, caller, int32};
use crate::catalog::{self, Operation, Tier};
use crate::gate::Caller;
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
        let (media, tier) = (request.get_ref().media_type(), request.get_ref().tier());
        let models = self.catalog.models().iter().filter(|model| {
            (media == MediaType::Unspecified || media == media_message(model.media))
                && (tier == model::Tier::Unspecified || tier == tier_message(model.tier))
        });
        let models = models
            .map(|model| self.model_message(&caller, model))
            .collect();
        Ok(Response::new(ListModelsResponse { models }))
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<Model>, Status> {
        let caller = caller(&request)?;
        let model = self
            .catalog
            .get(&request.get_ref().slug)
            .map_err(ApiError::from)?;
        Ok(Response::new(self.model_message(&caller, model)))
    }
}

impl Api {
    fn model_message(&self, caller: &Caller, model: &catalog::Model) -> Model {
        model_message(model, self.generation.providers_for(caller, model))
    }
}

/// A model as every face shows it. `providers` are the upstreams on which the caller can have it run.
pub fn model_message(model: &catalog::Model, providers: Vec<String>) -> Model {
    let (low, high) = model.typical_seconds;
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
        providers,
        negative_prompt: model.negative_prompt,
        seed: model.seed,
        first_frame: model.operation_for(1) == Some(Operation::ImageToVideo),
        last_frame: model.operation_for(2) == Some(Operation::FirstLastFrame),
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
