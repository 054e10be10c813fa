//! `GenerationService`.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::SystemTime;

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use url::Url;
use uuid::Uuid;

use super::waiting::Wait;
use super::{Api, caller, given, header_key, int32, invalid, page_size, timestamp};
use crate::assets::{Assets, INPUT_BYTES_MAX, UploadId, data_uri};
use crate::catalog::MediaType;
use crate::gate::Caller;
use crate::generation::{self, Asked, Filter, Picture, Scene};
use crate::spec::error::ApiError;
use crate::spec::v1::generation_service_server::GenerationService;
use crate::spec::v1::{
    Adjustment, CancelTaskRequest, CreateUploadRequest, GenerateImageRequest, GenerateRequest,
    GenerateVideoRequest, GetTaskStatusRequest, ListTasksRequest, ListTasksResponse,
    MediaType as MediaTypeMessage, Output, QuoteResponse, Task, TaskCredits, TaskError,
    TaskRequest, Upload, WatchTaskRequest, task,
};
use crate::webhooks::WebhookError;

/// Tasks in a page when the request does not say.
const PAGE_DEFAULT: u32 = 20;

#[tonic::async_trait]
impl GenerationService for Api {
    async fn generate_image(
        &self,
        request: Request<GenerateImageRequest>,
    ) -> Result<Response<Task>, Status> {
        let (caller, key) = (caller(&request)?, header_key(request.metadata())?);
        let (wait, asked) = Wait::of(request, |asked| asked.wait_seconds);
        let key = key.or(given(asked.idempotency_key));
        let request = generation::Request {
            model: asked.model,
            prompt: asked.prompt,
            resolution: given(asked.resolution),
            aspect_ratio: given(asked.aspect_ratio),
            count: asked.count.and_then(|count| count.try_into().ok()),
            seed: asked.seed.and_then(|seed| seed.try_into().ok()),
            negative_prompt: given(asked.negative_prompt),
            reference_images: pictures(asked.reference_images).await?,
            provider: given(asked.provider),
            expects: Some(MediaType::Image),
            strict: asked.strict,
            quote: given(asked.quote_id),
            webhook_url: self.webhook_url(&asked.webhook_url)?,
            ..generation::Request::default()
        };
        self.submit(&caller, request, key, wait).await
    }

    async fn generate_video(
        &self,
        request: Request<GenerateVideoRequest>,
    ) -> Result<Response<Task>, Status> {
        let (caller, key) = (caller(&request)?, header_key(request.metadata())?);
        let (wait, asked) = Wait::of(request, |asked| asked.wait_seconds);
        let key = key.or(given(asked.idempotency_key));
        let request = generation::Request {
            model: asked.model,
            prompt: asked.prompt,
            resolution: given(asked.resolution),
            aspect_ratio: given(asked.aspect_ratio),
            duration: given(asked.duration),
            audio: asked.audio,
            seed: asked.seed.and_then(|seed| seed.try_into().ok()),
            negative_prompt: given(asked.negative_prompt),
            reference_images: pictures(asked.reference_images).await?,
            provider: given(asked.provider),
            expects: Some(MediaType::Video),
            strict: asked.strict,
            quote: given(asked.quote_id),
            webhook_url: self.webhook_url(&asked.webhook_url)?,
            ..generation::Request::default()
        };
        self.submit(&caller, request, key, wait).await
    }

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Task>, Status> {
        let (caller, key) = (caller(&request)?, header_key(request.metadata())?);
        let (wait, mut asked) = Wait::of(request, |asked| asked.wait_seconds);
        let key = key.or(given(std::mem::take(&mut asked.idempotency_key)));
        let webhook_url = self.webhook_url(&asked.webhook_url)?;
        let request = generation::Request {
            webhook_url,
            ..wish(asked).await?
        };
        self.submit(&caller, request, key, wait).await
    }

    async fn quote(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<QuoteResponse>, Status> {
        let caller = caller(&request)?;
        let wish = wish(request.into_inner()).await?;
        let quote = self
            .generation
            .quote(&caller, &wish)
            .await
            .map_err(ApiError::from)?;
        let fitted = quote.fitted;
        let adjustments = fitted.adjustments.iter().map(generation::Adjustment::from);
        Ok(Response::new(QuoteResponse {
            model: quote.model,
            media_type: media_message(quote.media).into(),
            credits: quote.credits,
            resolution: fitted.resolution,
            aspect_ratio: fitted.aspect_ratio,
            width: int32(fitted.width),
            height: int32(fitted.height),
            duration_seconds: fitted.duration_seconds.map(int32),
            count: int32(fitted.count),
            adjustments: adjustments.map(adjustment_message).collect(),
            available: quote.available,
            quote_id: quote.id,
            expires_at: Some(timestamp(quote.expires_at)),
            unknowns: quote.unknowns,
            own_key: quote.own_key.unwrap_or_default(),
        }))
    }

    async fn get_task_status(
        &self,
        request: Request<GetTaskStatusRequest>,
    ) -> Result<Response<Task>, Status> {
        let caller = caller(&request)?;
        let (wait, asked) = Wait::of(request, |asked| asked.wait_seconds);
        let task = self
            .generation
            .get(&caller, task_id(&asked.task_id)?)
            .await
            .map_err(ApiError::from)?;
        let task = wait.for_end(self, &caller, task).await;
        let tasks = self
            .task_messages(&caller, vec![task], asked.with_request)
            .await?;
        let mut tasks = tasks.into_iter();
        Ok(Response::new(
            tasks.next().expect("a message for each task"),
        ))
    }

    async fn list_tasks(
        &self,
        request: Request<ListTasksRequest>,
    ) -> Result<Response<ListTasksResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.get_ref();
        let before = given(asked.page_token.clone())
            .map(|token| Uuid::try_parse(&token))
            .transpose()
            .map_err(|_| invalid("pageToken", "must be the nextPageToken of an earlier page"))?;
        let limit = page_size(asked.page_size, PAGE_DEFAULT);
        let filter = Filter {
            status: status_of(asked.status()),
            media: media_of(asked.media_type()),
            model: given(asked.model.clone()),
        };
        let page = self
            .generation
            .list(&caller, before, &filter, limit)
            .await
            .map_err(ApiError::from)?;
        let tasks = self.task_messages(&caller, page.tasks, asked.with_request);
        Ok(Response::new(ListTasksResponse {
            tasks: tasks.await?,
            next_page_token: page.next.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn cancel_task(
        &self,
        request: Request<CancelTaskRequest>,
    ) -> Result<Response<Task>, Status> {
        let caller = caller(&request)?;
        let id = task_id(&request.get_ref().task_id)?;
        let task = self
            .generation
            .cancel(&caller, id)
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(self.task_message(task)))
    }

    async fn create_upload(
        &self,
        request: Request<CreateUploadRequest>,
    ) -> Result<Response<Upload>, Status> {
        let (caller, now) = (caller(&request)?, SystemTime::now());
        let upload = self.assets.begin_upload(caller.account_id(), now);
        let link = self.assets.upload_link(&upload, now);
        Ok(Response::new(Upload {
            reference: upload.id.to_string(),
            upload_url: link.url,
            upload_url_expires_at: Some(timestamp(link.expires_at)),
            expires_at: Some(timestamp(upload.id.expires_at())),
        }))
    }

    type WatchTaskStream = Pin<Box<dyn Stream<Item = Result<Task, Status>> + Send>>;

    async fn watch_task(
        &self,
        request: Request<WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let caller = caller(&request)?;
        let id = task_id(&request.get_ref().task_id)?;
        let changes = self
            .generation
            .watch(&caller, id)
            .await
            .map_err(ApiError::from)?;
        let assets = self.assets.clone();
        let messages = changes.map(move |change| match change {
            Ok(task) => Ok(task_message(task, &assets)),
            Err(error) => Err(ApiError::from(error).into()),
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

impl Api {
    async fn submit(
        &self,
        caller: &Caller,
        request: generation::Request,
        idempotency_key: Option<String>,
        wait: Wait,
    ) -> Result<Response<Task>, Status> {
        let task = self
            .generation
            .submit(caller, request, idempotency_key.as_deref())
            .await
            .map_err(ApiError::from)?;
        let task = wait.for_end(self, caller, task).await;
        Ok(Response::new(self.task_message(task)))
    }

    /// The address that a request names, if it may be told.
    fn webhook_url(&self, text: &str) -> Result<Option<String>, ApiError> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        match self.webhooks.address(text) {
            Ok(url) => Ok(Some(url.into())),
            Err(error @ (WebhookError::Url | WebhookError::Address(_))) => {
                Err(invalid("webhook_url", error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn task_message(&self, task: generation::Task) -> Task {
        task_message(task, &self.assets)
    }

    /// The tasks of the caller, each with what was asked of it if that is wanted.
    async fn task_messages(
        &self,
        caller: &Caller,
        tasks: Vec<generation::Task>,
        with_request: bool,
    ) -> Result<Vec<Task>, ApiError> {
        let mut asked = if with_request {
            let ids: Vec<Uuid> = tasks.iter().map(|task| task.id).collect();
            self.generation.asked(caller, &ids).await?
        } else {
            HashMap::new()
        };
        let messages = tasks.into_iter().map(|task| {
            let request = asked.remove(&task.id);
            Task {
                request: request.map(|asked| request_message(asked, task.media, &self.assets)),
                ..self.task_message(task)
            }
        });
        Ok(messages.collect())
    }
}

/// A request for either media; what is in `options` counts where the outer field is not given. Whom to tell of its
/// end is left out: a quote does not look at it.
async fn wish(asked: GenerateRequest) -> Result<generation::Request, ApiError> {
    let expects = media_of(asked.media_type());
    let options = asked.options.unwrap_or_default();
    let images = if asked.reference_images.is_empty() {
        options.reference_images
    } else {
        asked.reference_images
    };
    Ok(generation::Request {
        model: asked.model,
        prompt: asked.prompt,
        resolution: given(asked.resolution).or(given(options.resolution)),
        aspect_ratio: given(asked.aspect_ratio).or(given(options.aspect_ratio)),
        duration: given(asked.duration).or(given(options.duration)),
        count: asked
            .count
            .or(options.count)
            .and_then(|count| count.try_into().ok()),
        audio: asked.audio.or(options.audio),
        seed: asked
            .seed
            .or(options.seed)
            .and_then(|seed| seed.try_into().ok()),
        negative_prompt: given(asked.negative_prompt).or(given(options.negative_prompt)),
        reference_images: pictures(images).await?,
        provider: given(asked.provider),
        expects,
        scene: Scene::parse(&asked.scene),
        strict: asked.strict,
        quote: given(asked.quote_id),
        webhook_url: None,
    })
}

/// Pictures as they are given. Decoding megabytes takes milliseconds: not on a thread that serves others.
async fn pictures(texts: Vec<String>) -> Result<Vec<Picture>, ApiError> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let read = move || {
        let numbered = texts.iter().enumerate();
        numbered
            .map(|(at, text)| {
                picture(text)
                    .map_err(|message| invalid(&format!("reference_images[{at}]"), message))
            })
            .collect()
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|_| Err(invalid("reference_images", "could not be read")))
}

/// An address, the reference of an upload, or a data URI; else what is wrong with it.
fn picture(text: &str) -> Result<Picture, String> {
    let text = text.trim();
    match text.split_once("://").map(|(scheme, _)| scheme) {
        Some("upload") => UploadId::parse(text)
            .map(Picture::Upload)
            .ok_or_else(|| "is not the reference of an upload".to_owned()),
        Some(scheme) if is_web(scheme) => Url::parse(text)
            .map(Picture::Url)
            .map_err(|error| format!("is no URL: {error}")),
        _ => {
            let bytes_max = usize::try_from(INPUT_BYTES_MAX).unwrap_or(usize::MAX);
            let decoded = data_uri::decode(text, bytes_max);
            decoded
                .map(|bytes| Picture::Inline(bytes.into()))
                .map_err(|error| error.to_string())
        }
    }
}

fn is_web(scheme: &str) -> bool {
    ["http", "https"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web))
}

fn task_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text).map_err(|_| invalid("taskId", "must be a UUID"))
}

fn status_of(status: task::Status) -> Option<generation::Status> {
    match status {
        task::Status::Unspecified => None,
        task::Status::Pending => Some(generation::Status::Pending),
        task::Status::Processing => Some(generation::Status::Processing),
        task::Status::Success => Some(generation::Status::Success),
        task::Status::Failed => Some(generation::Status::Failed),
        task::Status::Canceled => Some(generation::Status::Canceled),
    }
}

fn status_message(status: generation::Status) -> task::Status {
    match status {
        generation::Status::Pending => task::Status::Pending,
        generation::Status::Processing => task::Status::Processing,
        generation::Status::Success => task::Status::Success,
        generation::Status::Failed => task::Status::Failed,
        generation::Status::Canceled => task::Status::Canceled,
    }
}

fn media_of(media: MediaTypeMessage) -> Option<MediaType> {
    match media {
        MediaTypeMessage::Unspecified => None,
        MediaTypeMessage::Image => Some(MediaType::Image),
        MediaTypeMessage::Video => Some(MediaType::Video),
    }
}

/// What a model makes, as messages say it.
pub(super) fn media_message(media: MediaType) -> MediaTypeMessage {
    match media {
        MediaType::Image => MediaTypeMessage::Image,
        MediaType::Video => MediaTypeMessage::Video,
    }
}

/// A task, as every face tells it, with links that work from now on.
pub(super) fn task_message(task: generation::Task, assets: &Assets) -> Task {
    let now = SystemTime::now();
    Task {
        task_id: task.id.to_string(),
        status: status_message(task.status).into(),
        progress: task.progress.into(),
        model: task.model,
        media_type: media_message(task.media).into(),
        outputs: output_messages(task.outputs, assets, now),
        late_outputs: output_messages(task.late_outputs, assets, now),
        error: task.failure.map(|failure| TaskError {
            reason: failure.reason.as_str().to_owned(),
            retryable: failure.reason.is_retryable(),
            message: failure.message,
        }),
        credits: Some(TaskCredits {
            quoted: task.credits.quoted,
            held: task.credits.held,
            charged: task.credits.charged,
        }),
        adjustments: task
            .adjustments
            .into_iter()
            .map(adjustment_message)
            .collect(),
        provider: task.provider,
        test: task.test,
        created_at: Some(timestamp(task.created_at)),
        started_at: task.started_at.map(timestamp),
        finished_at: task.finished_at.map(timestamp),
        request: None,
    }
}

/// What was asked, with links to the pictures that work from now on.
fn request_message(asked: Asked, media: MediaType, assets: &Assets) -> TaskRequest {
    let now = SystemTime::now();
    let references = asked.references.iter();
    TaskRequest {
        model: asked.model,
        prompt: asked.prompt,
        resolution: asked.resolution,
        aspect_ratio: asked.aspect_ratio,
        duration: asked.duration_seconds.map(|seconds| seconds.to_string()),
        count: int32(asked.count),
        audio: (media == MediaType::Video).then_some(asked.audio),
        seed: asked.seed.map(i64::from),
        negative_prompt: asked.negative_prompt,
        reference_images: references.map(|path| assets.link(path, now).url).collect(),
        provider: asked.provider,
    }
}

fn output_messages(
    outputs: Vec<generation::Output>,
    assets: &Assets,
    now: SystemTime,
) -> Vec<Output> {
    let message = |output| output_message(output, assets, now);
    outputs.into_iter().map(message).collect()
}

fn output_message(output: generation::Output, assets: &Assets, now: SystemTime) -> Output {
    let links = output.links(assets, now);
    Output {
        url: links.url,
        mime_type: output.mime_type,
        width: int32(output.width),
        height: int32(output.height),
        duration_seconds: output.duration_seconds,
        size_bytes: i64::try_from(output.size_bytes).unwrap_or(i64::MAX),
        thumbnail_url: links.thumbnail_url.unwrap_or_default(),
        expires_at: Some(timestamp(links.expires_at)),
    }
}

fn adjustment_message(adjustment: generation::Adjustment) -> Adjustment {
    let generation::Adjustment {
        field,
        asked,
        used,
        why,
    } = adjustment;
    Adjustment {
        field,
        asked,
        used,
        why,
    }
}
