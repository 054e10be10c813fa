//! `WebhookService`, and what the addresses are told.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::generation::task_message;
use super::{Api, caller, given, int32, invalid, page_size, timestamp};
use crate::assets::Assets;
use crate::gate::Caller;
use crate::generation::{self, Generation};
use crate::spec::error::ApiError;
use crate::spec::v1::webhook_service_server::WebhookService;
use crate::spec::v1::{
    CreateWebhookRequest, CreateWebhookResponse, DeleteWebhookRequest, Delivery,
    GetSigningSecretRequest, ListDeliveriesRequest, ListDeliveriesResponse, ListWebhooksRequest,
    ListWebhooksResponse, RedeliverWebhookRequest, RotateSigningSecretRequest, SigningSecret,
    Webhook, WebhookMessage, delivery,
};
use crate::webhooks::{self, DeliveryFilter, DeliveryStatus, Messages, World};

/// Deliveries in a page when the request does not say.
const PAGE_DEFAULT: u32 = 50;

#[tonic::async_trait]
impl WebhookService for Api {
    async fn create_webhook(
        &self,
        request: Request<CreateWebhookRequest>,
    ) -> Result<Response<CreateWebhookResponse>, Status> {
        let world = world(&caller(&request)?);
        let made = self.webhooks.create(world, &request.get_ref().url).await;
        let (secret, webhook) = made.map_err(ApiError::from)?;
        // The account's next task is to know of it.
        self.gate.forget();
        Ok(Response::new(CreateWebhookResponse {
            secret: secret.expose(),
            webhook: Some(webhook_message(webhook)),
        }))
    }

    async fn list_webhooks(
        &self,
        request: Request<ListWebhooksRequest>,
    ) -> Result<Response<ListWebhooksResponse>, Status> {
        let world = world(&caller(&request)?);
        let webhooks = self.webhooks.list(world).await.map_err(ApiError::from)?;
        Ok(Response::new(ListWebhooksResponse {
            webhooks: webhooks.into_iter().map(webhook_message).collect(),
        }))
    }

    async fn delete_webhook(
        &self,
        request: Request<DeleteWebhookRequest>,
    ) -> Result<Response<Webhook>, Status> {
        let world = world(&caller(&request)?);
        let id = uuid("id", &request.get_ref().id)?;
        let deleted = self.webhooks.delete(world, id).await;
        let deleted = deleted.map_err(ApiError::from)?;
        Ok(Response::new(webhook_message(deleted)))
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<Response<ListDeliveriesResponse>, Status> {
        let world = world(&caller(&request)?);
        let status = status_of(request.get_ref().status());
        let asked = request.into_inner();
        let optional = |field, text| -> Result<_, ApiError> {
            given(text).map(|text| uuid(field, &text)).transpose()
        };
        let before = given(asked.page_token)
            .map(|token| Uuid::try_parse(&token))
            .transpose()
            .map_err(|_| invalid("pageToken", "must be the nextPageToken of an earlier page"))?;
        let filter = DeliveryFilter {
            webhook_id: optional("webhookId", asked.webhook_id)?,
            task_id: optional("taskId", asked.task_id)?,
            status,
        };
        let limit = page_size(asked.page_size, PAGE_DEFAULT);
        let page = self.webhooks.deliveries(world, filter, before, limit).await;
        let page = page.map_err(ApiError::from)?;
        Ok(Response::new(ListDeliveriesResponse {
            deliveries: page.deliveries.into_iter().map(delivery_message).collect(),
            next_page_token: page.next.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn redeliver_webhook(
        &self,
        request: Request<RedeliverWebhookRequest>,
    ) -> Result<Response<Delivery>, Status> {
        let world = world(&caller(&request)?);
        let id = uuid("id", &request.get_ref().id)?;
        let delivery = self.webhooks.redeliver(world, id).await;
        let delivery = delivery.map_err(ApiError::from)?;
        Ok(Response::new(delivery_message(delivery)))
    }

    async fn get_signing_secret(
        &self,
        request: Request<GetSigningSecretRequest>,
    ) -> Result<Response<SigningSecret>, Status> {
        let world = world(&caller(&request)?);
        let secret = self.webhooks.signing_secret(world).await;
        Ok(Response::new(secret_message(
            secret.map_err(ApiError::from)?,
        )))
    }

    async fn rotate_signing_secret(
        &self,
        request: Request<RotateSigningSecretRequest>,
    ) -> Result<Response<SigningSecret>, Status> {
        let world = world(&caller(&request)?);
        let secret = self.webhooks.rotate_signing_secret(world).await;
        Ok(Response::new(secret_message(
            secret.map_err(ApiError::from)?,
        )))
    }
}

/// Tells the addresses of a task what every face would answer of it.
pub struct TaskMessages {
    generation: Arc<Generation>,
    assets: Assets,
}

impl TaskMessages {
    /// Of these tasks, with links to these files.
    #[must_use]
    pub fn new(generation: Arc<Generation>, assets: Assets) -> Self {
        Self { generation, assets }
    }
}

#[async_trait]
impl Messages for TaskMessages {
    async fn message(&self, world: World, task_id: Uuid) -> Option<Bytes> {
        let World { account_id, test } = world;
        let task = self.generation.stored(account_id, test, task_id).await;
        let task = task
            .inspect_err(|error| tracing::warn!(?error, task = %task_id, "nobody is told of it"))
            .ok()?;
        let message = WebhookMessage {
            r#type: event(task.status)?.to_owned(),
            timestamp: task.finished_at.map(timestamp),
            data: Some(task_message(task, &self.assets)),
        };
        serde_json::to_vec(&message).ok().map(Bytes::from)
    }
}

/// What has happened to a task that stands so; none while it is open.
fn event(status: generation::Status) -> Option<&'static str> {
    match status {
        generation::Status::Pending | generation::Status::Processing => None,
        generation::Status::Success => Some("task.succeeded"),
        generation::Status::Failed => Some("task.failed"),
        generation::Status::Canceled => Some("task.canceled"),
    }
}

fn world(caller: &Caller) -> World {
    World {
        account_id: caller.account_id(),
        test: caller.is_test(),
    }
}

fn uuid(field: &str, text: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text).map_err(|_| invalid(field, "must be a UUID"))
}

fn status_of(status: delivery::Status) -> Option<DeliveryStatus> {
    match status {
        delivery::Status::Unspecified => None,
        delivery::Status::Pending => Some(DeliveryStatus::Pending),
        delivery::Status::Delivered => Some(DeliveryStatus::Delivered),
        delivery::Status::Failed => Some(DeliveryStatus::Failed),
        delivery::Status::Canceled => Some(DeliveryStatus::Canceled),
    }
}

fn status_message(status: DeliveryStatus) -> delivery::Status {
    match status {
        DeliveryStatus::Pending => delivery::Status::Pending,
        DeliveryStatus::Delivered => delivery::Status::Delivered,
        DeliveryStatus::Failed => delivery::Status::Failed,
        DeliveryStatus::Canceled => delivery::Status::Canceled,
    }
}

fn webhook_message(webhook: webhooks::Webhook) -> Webhook {
    Webhook {
        id: webhook.id.to_string(),
        url: webhook.url,
        test: webhook.test,
        created_at: Some(timestamp(webhook.created_at)),
        disabled_at: webhook.disabled_at.map(timestamp),
    }
}

fn delivery_message(delivery: webhooks::Delivery) -> Delivery {
    Delivery {
        id: delivery.id.to_string(),
        task_id: delivery.task_id.to_string(),
        webhook_id: delivery
            .webhook_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        url: delivery.url,
        status: status_message(delivery.status).into(),
        attempts: int32(delivery.attempts),
        answer_status: delivery.answer_status.map(i32::from),
        answer: delivery.answer.unwrap_or_default(),
        error: delivery.error.unwrap_or_default(),
        created_at: Some(timestamp(delivery.created_at)),
        attempted_at: delivery.attempted_at.map(timestamp),
        next_attempt_at: delivery.due_at.map(timestamp),
        ended_at: delivery.ended_at.map(timestamp),
    }
}

fn secret_message((secret, created_at): (webhooks::SigningSecret, SystemTime)) -> SigningSecret {
    SigningSecret {
        secret: secret.expose(),
        created_at: Some(timestamp(created_at)),
    }
}
