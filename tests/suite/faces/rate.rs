//! One budget for all faces: what is spent over one is missing on the others, and each says when to come back.

use std::time::Duration;

use piooy::spec::v1::account_service_client::AccountServiceClient;
use piooy::spec::v1::{Balance, GetBalanceRequest};
use serde_json::{Value, json};
use tonic::{Response, Status};
use tonic_types::StatusExt;

use super::answers::{Answer, envelope, keyed, number};
use super::server::Server;

const TASK: &str = "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a";

async fn balance_over_rest(server: &Server, key: &str) -> Answer {
    server
        .rest(Some(key), "GET", "/api/v1/credits", &Value::Null)
        .await
}

async fn balance_over_grpc(server: &Server, key: &str) -> Result<Response<Balance>, Status> {
    let mut client = AccountServiceClient::new(server.channel().await);
    client
        .get_balance(keyed(GetBalanceRequest {}, Some(key)))
        .await
}

/// The headers `RateLimit-*`: limit, remaining, reset.
fn allowance(answer: &Answer) -> [Option<u64>; 3] {
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]
        .map(|name| answer.header(name).parse().ok())
}

/// A server whose plan `tiny` lets three calls of each kind through in a minute, and a key on that plan.
async fn tiny() -> (Server, String) {
    let server = Server::start().await;
    let client = server
        .database
        .store()
        .client()
        .await
        .expect("a connection");
    let plan = "INSERT INTO plans VALUES ('tiny', 3, 3, 4, false)";
    client.batch_execute(plan).await.expect("a plan");
    let key = server.account("small", "tiny", 0).await;
    (server, key)
}

#[tokio::test]
async fn one_budget_is_spent_over_all_faces() {
    let (server, key) = tiny().await;
    let first = balance_over_rest(&server, &key).await;
    assert_eq!(
        (first.status, allowance(&first)),
        (200, [Some(3), Some(2), Some(20)])
    );
    let tool = server
        .tool(Some(&key), "get_task_status", &json!({"taskId": TASK}))
        .await;
    assert_eq!(
        tool.of_tool()["reason"],
        "TASK_NOT_FOUND",
        "a failed call is a call"
    );
    assert_eq!(allowance(&tool), [Some(3), Some(1), Some(40)]);
    let last = balance_over_grpc(&server, &key).await.expect("passes");
    assert_eq!(number(last.metadata(), "ratelimit-remaining"), Some(0));

    let rest = balance_over_rest(&server, &key).await;
    assert_eq!((rest.status, rest.reason()), (429, "RATE_LIMITED"));
    let pause: u64 = rest.header("retry-after").parse().expect("a number");
    assert!((1..=20).contains(&pause), "{pause} s");
    assert_eq!(rest.envelope["details"]["retryAfterSeconds"], pause);
    assert_eq!(allowance(&rest), [Some(3), Some(0), Some(60)]);

    let mcp = server
        .tool(Some(&key), "get_task_status", &json!({"taskId": TASK}))
        .await;
    let said = mcp.of_tool();
    assert_eq!((mcp.status, &said["reason"]), (200, &json!("RATE_LIMITED")));
    let pause: u64 = mcp.header("retry-after").parse().expect("a number");
    assert!((1..=20).contains(&pause), "{pause} s");
    assert_eq!(said["details"]["retryAfterSeconds"], pause);
    assert_eq!(allowance(&mcp), [Some(3), Some(0), Some(60)]);
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let list = server.mcp(Some(&key), &list).await;
    assert_eq!(allowance(&list), [None; 3], "it spends nothing");

    let grpc = balance_over_grpc(&server, &key).await.expect_err("refused");
    assert_eq!(grpc.code(), tonic::Code::ResourceExhausted);
    assert_eq!(envelope(&grpc)["reason"], "RATE_LIMITED");
    let pause = grpc
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    assert!(pause.is_some_and(|pause| pause > Duration::ZERO && pause <= Duration::from_secs(20)));
    assert_eq!(number(grpc.metadata(), "ratelimit-remaining"), Some(0));
}

#[tokio::test]
async fn submitting_has_a_budget_of_its_own() {
    let (server, key) = tiny().await;
    let request = json!({"model": "nobody", "prompt": "a pebble"});
    for reason in [
        "MODEL_NOT_FOUND",
        "MODEL_NOT_FOUND",
        "MODEL_NOT_FOUND",
        "RATE_LIMITED",
    ] {
        let answer = server
            .rest(Some(&key), "POST", "/api/v1/generate/image", &request)
            .await;
        assert_eq!(answer.reason(), reason);
    }
    assert_eq!(balance_over_rest(&server, &key).await.status, 200);
}

#[tokio::test]
async fn wrong_keys_close_an_address_on_all_faces() {
    let server = Server::start().await;
    assert_eq!(
        balance_over_rest(&server, &server.test_key).await.status,
        200
    );
    let wrong = |number: usize| format!("piooy_live_{number:030}");
    let mut reasons = Vec::new();
    for number in 0..21 {
        let answer = balance_over_rest(&server, &wrong(number)).await;
        reasons.push((answer.status, answer.reason().to_owned()));
    }
    let (closed, open) = reasons.split_last().expect("not empty");
    assert!(open.iter().all(|(status, _)| *status == 401), "{open:?}");
    assert_eq!(*closed, (429, "TOO_MANY_FAILURES".to_owned()));

    let rest = balance_over_rest(&server, &wrong(22)).await;
    assert_eq!(rest.header("retry-after"), "3");
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let mcp = server.mcp(Some(&wrong(23)), &list).await;
    assert_eq!((mcp.status, mcp.reason()), (429, "TOO_MANY_FAILURES"));
    assert_eq!(mcp.header("retry-after"), "3");
    let grpc = balance_over_grpc(&server, &wrong(24))
        .await
        .expect_err("refused");
    assert_eq!(envelope(&grpc)["reason"], "TOO_MANY_FAILURES");
    // Those who were known before are not shut out by their neighbours.
    assert_eq!(
        balance_over_rest(&server, &server.test_key).await.status,
        200
    );
}

#[tokio::test]
async fn behind_a_proxy_its_word_is_the_address() {
    for (trusted, third) in [("yes", "KEY_MALFORMED"), ("no", "TOO_MANY_FAILURES")] {
        let server = Server::with(&[("PIOOY_TRUST_FORWARDED", trusted)]).await;
        let ask = async |forwarded: &str| {
            let request = server
                .http("GET", "/api/v1/credits")
                .header("x-forwarded-for", forwarded)
                .bearer_auth("piooy_live_wrong");
            let answer = request.send().await.expect("the server answers");
            Answer::read(answer).await.reason().to_owned()
        };
        // What the client wrote in front of the proxy's word changes nothing.
        for number in 0..20 {
            ask(&format!("192.0.2.{number}, 198.51.100.1")).await;
        }
        assert_eq!(ask("198.51.100.1").await, "TOO_MANY_FAILURES");
        assert_eq!(ask("198.51.100.1, 198.51.100.2").await, third, "{trusted}");
    }
}
