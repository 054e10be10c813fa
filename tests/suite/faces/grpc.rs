//! gRPC as its tools use it: health, reflection, grpc-web, streams, bounds.

use futures_util::StreamExt;
use piooy::spec::v1::account_service_client::AccountServiceClient;
use piooy::spec::v1::catalog_service_client::CatalogServiceClient;
use piooy::spec::v1::generation_service_client::GenerationServiceClient;
use piooy::spec::v1::{
    CreateApiKeyRequest, GenerateImageRequest, GetModelRequest, Model, WatchTaskRequest,
    task::Status,
};
use prost::Message;
use prost_types::Timestamp;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_types::StatusExt;

use super::answers::{Answer, envelope, keyed, number, unary};
use super::server::{QUICK_MODEL, Server, with_key};

const GET_MODEL: &str = "/piooy.v1.CatalogService/GetModel";

fn which(slug: &str) -> GetModelRequest {
    let slug = slug.to_owned();
    GetModelRequest { slug }
}

#[tokio::test]
async fn health_and_reflection_need_no_key() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel().await);
    let health = health
        .check(HealthCheckRequest::default())
        .await
        .expect("answers");
    assert_eq!(health.get_ref().status().as_str_name(), "SERVING");

    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = reflection
        .server_reflection_info(futures_util::stream::iter([asked]))
        .await;
    let mut answers = answers.expect("answers").into_inner();
    let Some(Ok(ServerReflectionResponse {
        message_response: Some(MessageResponse::ListServicesResponse(services)),
        ..
    })) = answers.next().await
    else {
        panic!("no list of services");
    };
    let mut services: Vec<String> = services
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    services.sort();
    let of_piooy: Vec<&String> = services
        .iter()
        .filter(|name| name.starts_with("piooy."))
        .collect();
    let expected = [
        "AccountService",
        "AdminService",
        "CatalogService",
        "GenerationService",
        "PeopleService",
        "WebhookService",
    ];
    assert_eq!(
        of_piooy,
        expected
            .map(|name| format!("piooy.v1.{name}"))
            .iter()
            .collect::<Vec<_>>()
    );
    assert!(services.contains(&"grpc.health.v1.Health".to_owned()));
}

#[tokio::test]
async fn a_call_tells_its_request_id_and_what_is_left() {
    let server = Server::start().await;
    let mut client = CatalogServiceClient::new(server.channel().await);
    let mut request = keyed(which("veo-3-1"), Some(&server.test_key));
    request
        .metadata_mut()
        .insert("x-request-id", "abc-123".parse().expect("a value"));
    let answer = client.get_model(request).await.expect("answers");
    assert_eq!(
        answer.metadata().get("x-request-id").expect("is there"),
        "abc-123"
    );
    assert_eq!(number(answer.metadata(), "ratelimit-limit"), Some(6000));
    assert_eq!(answer.get_ref().slug, "veo-3-1");
}

#[tokio::test]
async fn a_stream_follows_a_task_to_its_end() {
    let server = Server::start().await;
    let key = Some(server.test_key.as_str());
    let mut client = GenerationServiceClient::new(server.channel().await);
    let request = GenerateImageRequest {
        model: QUICK_MODEL.to_owned(),
        prompt: "a pebble".to_owned(),
        ..GenerateImageRequest::default()
    };
    let task = client
        .generate_image(keyed(request, key))
        .await
        .expect("is taken")
        .into_inner();
    let task_id = task.task_id;
    let watch = client
        .watch_task(keyed(WatchTaskRequest { task_id }, key))
        .await;
    let tasks: Vec<_> = watch.expect("is there").into_inner().collect().await;
    let last = tasks
        .last()
        .expect("not empty")
        .as_ref()
        .expect("no failure");
    assert_eq!(
        (last.status(), last.progress, last.outputs.len()),
        (Status::Success, 100, 1)
    );
}

#[tokio::test]
async fn browsers_speak_grpc_web() {
    let server = Server::start().await;
    let frame = |message: Vec<u8>| {
        let length = u32::try_from(message.len())
            .expect("is short")
            .to_be_bytes();
        [&[0], length.as_slice(), &message].concat()
    };
    let ask = async |key: Option<&str>| {
        let request = with_key(server.http("POST", GET_MODEL), key)
            .header("content-type", "application/grpc-web+proto")
            .header("x-grpc-web", "1")
            .header("origin", "https://page.example")
            .body(frame(which("veo-3-1").encode_to_vec()));
        Answer::read(request.send().await.expect("the server answers")).await
    };
    let answer = ask(Some(&server.test_key)).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/grpc-web+proto")
    );
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let (head, rest) = answer.bytes.split_at(5);
    let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
    let (message, trailers) = rest.split_at(length);
    assert_eq!(
        (head[0], trailers[0]),
        (0, 0x80),
        "a message, then trailers"
    );
    assert_eq!(Model::decode(message).expect("a model").slug, "veo-3-1");
    let trailers = String::from_utf8_lossy(&trailers[5..]);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    let refused = ask(None).await;
    assert_eq!((refused.status, refused.header("grpc-status")), (200, "16"));
    assert!(
        refused
            .header("access-control-expose-headers")
            .contains("grpc-status")
    );
}

#[tokio::test]
async fn bounds_and_unknown_methods() {
    let server = Server::with(&[("PIOOY_BODY_MAX", "64KiB")]).await;
    let key = Some(server.test_key.as_str());
    let mut client = CatalogServiceClient::new(server.channel().await);
    let large = client
        .get_model(keyed(which(&"x".repeat(65 * 1024)), key))
        .await;
    let large = large.expect_err("too large");
    let reason = large.get_details_error_info().map(|info| info.reason);
    assert_eq!(reason.as_deref(), Some("BODY_TOO_LARGE"), "{large:?}");

    let channel = server.channel().await;
    let path = "/piooy.v1.CatalogService/PaintModel";
    let unknown = unary::<(), ()>(channel.clone(), key, path, ())
        .await
        .expect_err("is not there");
    assert_eq!(unknown.code(), Code::Unimplemented);
    // The connection goes on.
    let wrong = unary::<_, Model>(channel, key, GET_MODEL, which("nobody")).await;
    assert_eq!(
        envelope(&wrong.expect_err("is not there"))["reason"],
        "MODEL_NOT_FOUND"
    );
}

#[tokio::test]
async fn times_beyond_the_calendar_are_refused() {
    let server = Server::start().await;
    let mut client = AccountServiceClient::new(server.channel().await);
    // Protobuf's Timestamp goes to the end of the year 9999.
    for seconds in [
        253_402_300_800,
        10_000_000_000_000,
        100_000_000_000_000,
        i64::MAX,
        i64::MIN,
    ] {
        let request = CreateApiKeyRequest {
            name: "for ever".to_owned(),
            test: true,
            expires_at: Some(Timestamp { seconds, nanos: 0 }),
            ..CreateApiKeyRequest::default()
        };
        let refused = client
            .create_api_key(keyed(request, Some(&server.test_key)))
            .await;
        let refused = envelope(&refused.expect_err("beyond"));
        assert_eq!(
            refused["reason"], "INVALID_ARGUMENT",
            "{seconds}: {refused}"
        );
        assert_eq!(
            refused["details"]["fieldViolations"][0]["field"],
            "expiresAt"
        );
    }
}
