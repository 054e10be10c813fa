//! Every method of the spec on every face it is offered on: refused alike without the right key, answered alike with it.
//!
//! A method that is in the spec and not in [`plays`] makes these tests fail.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use piooy::accounts::Scope;
use piooy::spec::method::MethodInfo;
use piooy::spec::v1::{self, METHODS};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::answers::{self, as_grpc_says, envelope, unary};
use super::server::{QUICK_MODEL, Server};
use crate::webhooks::receiver::{Receiver, yes};

type Envelopes = Pin<Box<dyn Future<Output = Vec<Value>> + Send>>;

/// Asks a method over gRPC; a stream is all its messages.
type OverGrpc = fn(Channel, String, &'static str, Value) -> Envelopes;

/// How one method is played.
struct Play {
    method: &'static str,
    /// A list holds one for each face.
    request: Value,
    /// Fields of the answer that no two calls share.
    own: &'static [&'static str],
    over_grpc: OverGrpc,
}

macro_rules! plays {
    ($($method:literal $how:ident $asks:ident -> $answers:ident, $request:expr, $own:expr;)*) => {
        vec![$(Play {
            method: $method,
            request: $request,
            own: $own,
            over_grpc: |channel, key, path, request| Box::pin(async move {
                plays!(@$how $asks $answers channel key path request)
            }),
        }),*]
    };
    (@unary $asks:ident $answers:ident $channel:ident $key:ident $path:ident $request:ident) => {
        vec![
            answers::over_grpc::<v1::$asks, v1::$answers>($channel, Some(&$key), $path, &$request).await
        ]
    };
    (@file $asks:ident $answers:ident $channel:ident $key:ident $path:ident $request:ident) => {
        vec![answers::file_over_grpc::<v1::$asks>($channel, Some(&$key), $path, &$request).await]
    };
    (@stream $asks:ident $answers:ident $channel:ident $key:ident $path:ident $request:ident) => {
        answers::stream_over_grpc::<v1::$asks, v1::$answers>($channel, Some(&$key), $path, &$request)
            .await
    };
}

impl Play {
    fn request(&self, face: usize) -> &Value {
        match &self.request {
            Value::Array(requests) => &requests[face],
            request => request,
        }
    }
}

const NEW_TASK: &[&str] = &["taskId", "createdAt"];

/// The task of a submission that was settled before.
const SETTLED: &str = "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a";

/// What there is to be played with.
#[derive(Default)]
struct Things {
    /// A task that has ended.
    task: String,
    api_key: String,
    /// A delivery about the task.
    delivery: String,
    /// One for each face to delete.
    webhooks: [String; 2],
    /// One to change, and one for each face to remove.
    invitations: [String; 3],
}

/// A play of every method. Those that read come first, since the others leave things to be read.
fn plays(things: &Things) -> Vec<Play> {
    let Things {
        task,
        api_key,
        delivery,
        webhooks,
        invitations,
    } = things;
    let picture =
        json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble", "aspect_ratio": "16:9"});
    let video = json!({"model": "gemini-omni-1-2", "prompt": "[sandbox:hang] waves", "resolution": "360p", "duration": "4"});
    plays! {
        "GetTaskStatus" unary GetTaskStatusRequest -> Task, json!({"taskId": task}), &[];
        "ListTasks" unary ListTasksRequest -> ListTasksResponse, json!({"pageSize": 5, "status": "SUCCESS"}), &[];
        "WatchTask" stream WatchTaskRequest -> Task, json!({"taskId": task}), &[];
        "Quote" unary GenerateRequest -> QuoteResponse, picture.clone(), &["quoteId", "expiresAt"];
        "ListModels" unary ListModelsRequest -> ListModelsResponse, json!({"mediaType": "VIDEO"}), &[];
        "GetModel" unary GetModelRequest -> Model, json!({"slug": "veo-3.1"}), &[];
        "GetBalance" unary GetBalanceRequest -> Balance, json!({}), &[];
        "ListTransactions" unary ListTransactionsRequest -> ListTransactionsResponse,
            json!({"kinds": ["GRANT"], "from": "2020-01-01T00:00:00Z"}), &[];
        "ExportTransactions" file ExportTransactionsRequest -> HttpBody, json!({"kinds": ["GRANT", "HOLD"]}), &[];
        "GetSpending" unary GetSpendingRequest -> Spending, json!({"from": "2026-01-01", "to": "2026-01-31"}), &[];
        "ListApiKeys" unary ListApiKeysRequest -> ListApiKeysResponse, json!({}), &["lastUsedAt"];
        "ListMembers" unary ListMembersRequest -> ListMembersResponse, json!({}), &[];
        "ListWebhooks" unary ListWebhooksRequest -> ListWebhooksResponse, json!({}), &[];
        "ListDeliveries" unary ListDeliveriesRequest -> ListDeliveriesResponse,
            json!({"taskId": task, "status": "DELIVERED", "pageSize": 5}), &[];
        "GetSigningSecret" unary GetSigningSecretRequest -> SigningSecret, json!({}), &[];
        "GenerateImage" unary GenerateImageRequest -> Task, picture.clone(), NEW_TASK;
        "GenerateVideo" unary GenerateVideoRequest -> Task, video, NEW_TASK;
        "Generate" unary GenerateRequest -> Task, picture, NEW_TASK;
        "CreateUpload" unary CreateUploadRequest -> Upload, json!({}),
            &["reference", "uploadUrl", "uploadUrlExpiresAt", "expiresAt"];
        "CancelTask" unary CancelTaskRequest -> Task, json!({"taskId": task}), &[];
        "CreateApiKey" unary CreateApiKeyRequest -> CreateApiKeyResponse,
            json!({"name": "booth", "test": true, "scopes": ["read"]}), &["key", "id", "prefix", "createdAt"];
        "RevokeApiKey" unary RevokeApiKeyRequest -> ApiKey, json!({"id": api_key}), &[];
        "CreateWebhook" unary CreateWebhookRequest -> CreateWebhookResponse,
            json!({"url": "https://example.com/piooy"}), &["secret", "id", "createdAt"];
        "DeleteWebhook" unary DeleteWebhookRequest -> Webhook,
            json!([{"id": webhooks[0]}, {"id": webhooks[1]}]), &["id", "createdAt"];
        "RedeliverWebhook" unary RedeliverWebhookRequest -> Delivery, json!({"id": delivery}),
            &["attempts", "attemptedAt", "nextAttemptAt"];
        "RotateSigningSecret" unary RotateSigningSecretRequest -> SigningSecret, json!({}),
            &["secret", "createdAt"];
        "SetUpstreamKey" unary SetUpstreamKeyRequest -> UpstreamKey,
            json!({"upstream": "fal", "key": "a-key-that-nobody-gave-away"}), &["createdAt"];
        "ListUpstreamKeys" unary ListUpstreamKeysRequest -> ListUpstreamKeysResponse, json!({}), &[];
        "DeleteUpstreamKey" unary DeleteUpstreamKeyRequest -> UpstreamKey,
            json!([{"upstream": "fal"}, {"upstream": "kie"}]), &["upstream", "createdAt"];
        "InviteMember" unary InviteMemberRequest -> InviteMemberResponse,
            json!([{"email": "ann@example.org", "role": "MEMBER"}, {"email": "bea@example.org", "role": "MEMBER"}]),
            &["link", "id", "email", "invitedUntil"];
        "SetMemberRole" unary SetMemberRoleRequest -> Member,
            json!({"id": invitations[0], "role": "VIEWER"}), &[];
        "RemoveMember" unary RemoveMemberRequest -> Member,
            json!([{"id": invitations[1]}, {"id": invitations[2]}]), &["id", "email", "invitedUntil"];
        "CreateAccount" unary CreateAccountRequest -> Account, json!({"name": "acme", "plan": "pro"}), &[];
        "ListAccounts" unary ListAccountsRequest -> ListAccountsResponse, json!({}), &[];
        "GetAccount" unary GetAccountRequest -> AccountDetails, json!({"name": "dev"}), &[];
        "SetPlan" unary SetPlanRequest -> Account, json!({"account": "acme", "plan": "free"}), &[];
        "ListPlans" unary ListPlansRequest -> ListPlansResponse, json!({}), &[];
        "SavePlan" unary SavePlanRequest -> Plan,
            json!({"plan": {"name": "team", "submitsPerMinute": 1, "readsPerMinute": 2, "concurrentTasks": 3,
                "queuedTasks": 4, "monthlyCredits": 5, "freeTierIncluded": true}}), &[];
        "ListUnknownSubmissions" unary ListUnknownSubmissionsRequest -> ListUnknownSubmissionsResponse,
            json!({"pageSize": 5}), &[];
        "SettleSubmission" unary SettleSubmissionRequest -> SettledSubmission,
            json!({"taskId": SETTLED, "attempt": 1, "verdict": "GIVE_UP"}), &["settledAt"];
        "GrantCredits" unary GrantCreditsRequest -> Balance, json!({"account": "acme", "credits": 5}), &[];
        "GetServerStatus" unary GetServerStatusRequest -> ServerStatus, json!({}), &["at"];
        "ListAuditLog" unary ListAuditLogRequest -> ListAuditLogResponse,
            json!({"account": "acme", "method": "GrantCredits", "from": "2020-01-01T00:00:00Z"}), &["number"];
        "ExportAuditLog" file ExportAuditLogRequest -> HttpBody, json!({"account": "acme"}), &[];
    }
}

fn info(method: &str) -> &'static MethodInfo {
    let found = METHODS.iter().find(|info| info.name == method);
    found.unwrap_or_else(|| panic!("{method} is not in the spec"))
}

/// Takes out, anywhere in an answer, what is its own; it must have been there.
fn without_own(mut answer: Value, own: &[&str]) -> Value {
    fn take(value: &mut Value, name: &str) -> usize {
        match value {
            Value::Object(fields) => {
                let here = usize::from(fields.remove(name).is_some());
                here + fields
                    .values_mut()
                    .map(|inner| take(inner, name))
                    .sum::<usize>()
            }
            Value::Array(items) => items.iter_mut().map(|inner| take(inner, name)).sum(),
            _ => 0,
        }
    }
    for name in own {
        assert!(take(&mut answer, name) > 0, "no {name} in {answer}");
    }
    answer
}

/// The same call over REST, built from its binding; a stream of events is all its messages.
async fn over_rest(
    server: &Server,
    key: Option<&str>,
    info: &MethodInfo,
    request: &Value,
) -> Option<Vec<Value>> {
    let binding = info.http.as_ref()?;
    let mut rest = request.as_object().expect("an object").clone();
    let mut path = binding.path.to_owned();
    for name in request.as_object().expect("an object").keys() {
        let parameter = format!("{{{name}}}");
        if path.contains(&parameter) {
            let value = rest.remove(name).expect("is there");
            path = path.replace(&parameter, value.as_str().expect("a text"));
        }
    }
    if !binding.body {
        let mut query = form_urlencoded::Serializer::new(path + "?");
        for (name, value) in &rest {
            // A list is its name several times.
            let lone = std::slice::from_ref(value);
            for value in value.as_array().map_or(lone, Vec::as_slice) {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                query.append_pair(name, &text);
            }
        }
        path = query.finish();
    }
    let mut call = super::server::with_key(server.http(binding.verb, &path), key);
    if binding.body {
        call = call.json(&rest);
    }
    let response = call.send().await.expect("the server answers");
    let answer = answers::Answer::read(response).await;
    let content_type = answer.header("content-type");
    if content_type.starts_with("text/csv") {
        let content_type = content_type.to_owned();
        return Some(vec![answers::file(&content_type, answer.bytes)]);
    }
    if !content_type.starts_with("text/event-stream") {
        return Some(vec![answer.envelope]);
    }
    let text = String::from_utf8(answer.bytes).expect("is text");
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    Some(
        events
            .map(|data| serde_json::from_str(data).expect("is JSON"))
            .collect(),
    )
}

async fn over_mcp(
    server: &Server,
    key: Option<&str>,
    info: &MethodInfo,
    request: &Value,
) -> Option<Vec<Value>> {
    let tool = info.tool.as_ref()?;
    Some(vec![server.tool(key, tool.name, request).await.of_tool()])
}

#[test]
fn every_method_is_played() {
    let played: BTreeSet<&str> = plays(&Things::default())
        .iter()
        .map(|play| play.method)
        .collect();
    let all: BTreeSet<&str> = METHODS.iter().map(|info| info.name).collect();
    assert_eq!(played, all);
}

#[tokio::test]
async fn every_method_answers_alike() {
    let secret = "5".repeat(64);
    let environment = [
        ("PIOOY_EGRESS_PRIVATE", "yes"),
        ("PIOOY_UPSTREAM_KEYS_SECRET", &secret),
    ];
    let server = Server::with(&environment).await;
    let receiver = Receiver::start(yes).await;
    let asked = json!({"model": QUICK_MODEL, "prompt": "a pebble", "webhook_url": receiver.url});
    let task = server.picture_of(&asked).await;
    let delivery = server.delivered(&task).await;
    let all = [Scope::Generate, Scope::Read, Scope::Keys];
    let key = server.key("dev", &all, true).await;
    let webhook = async || {
        let asked = json!({"url": receiver.url});
        let path = "/api/v1/webhooks";
        let made = server.rest(Some(&key), "POST", path, &asked).await.envelope;
        made["data"]["webhook"]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let webhooks = [webhook().await, webhook().await];
    let admin = server.key("dev", &Scope::ALL, false).await;
    // What says with which keys live tasks run takes no test key.
    let live = server.key("dev", &all, false).await;
    let path = "/api/v1/upstreamkeys/kie";
    let own_key = json!({"key": "a-key-that-nobody-gave-away"});
    server.rest(Some(&live), "PUT", path, &own_key).await;
    let invitation = async |name: &str| {
        let asked = json!({"email": format!("{name}@example.com"), "role": "MEMBER"});
        let made = server
            .rest(Some(&admin), "POST", "/api/v1/members", &asked)
            .await;
        let id = made.envelope["data"]["member"]["id"].as_str();
        id.expect("an id").to_owned()
    };
    let invitations = [
        invitation("x").await,
        invitation("y").await,
        invitation("z").await,
    ];
    let listed = server
        .rest(Some(&key), "GET", "/api/v1/apikeys", &Value::Null)
        .await;
    let first_key = listed.envelope["data"]["apiKeys"]
        .as_array()
        .expect("a list")
        .last();
    let first_key = first_key.expect("not empty")["id"]
        .as_str()
        .expect("a text");

    settled_before(&server).await;
    let channel = server.channel().await;
    let things = Things {
        task: task["taskId"].as_str().expect("a text").to_owned(),
        api_key: first_key.to_owned(),
        delivery,
        webhooks,
        invitations,
    };
    for play in plays(&things) {
        let (info, own) = (info(play.method), play.own);
        // Who may sign in and what says with which keys live tasks run is said with live keys alone.
        let key = match info.name {
            _ if info.scope == "admin" || info.grpc_path.contains("PeopleService") => &admin,
            "SetUpstreamKey" | "DeleteUpstreamKey" => &live,
            _ => &key,
        };
        let asked = play.request(0).clone();
        let grpc = (play.over_grpc)(channel.clone(), key.clone(), info.grpc_path, asked).await;
        assert!(
            grpc.iter().all(|said| said["code"] == 0),
            "{}: {grpc:?}",
            info.name
        );
        let grpc: Vec<Value> = grpc
            .into_iter()
            .map(|said| without_own(said, own))
            .collect();
        for (face, said) in [
            (
                "REST",
                over_rest(&server, Some(key), info, play.request(1)).await,
            ),
            (
                "MCP",
                over_mcp(&server, Some(key), info, play.request(1)).await,
            ),
        ] {
            let Some(said) = said else { continue };
            let said: Vec<Value> = said
                .into_iter()
                .map(|said| without_own(said, own))
                .collect();
            assert_eq!(said, grpc, "{} over {face}", info.name);
        }
    }
}

/// An operator settled a submission; the same word is answered again.
async fn settled_before(server: &Server) {
    let statement = "INSERT INTO lost_submissions
            (account_id, task_id, attempt, provider, verdict, settled_at, settled_by)
        SELECT id, $1::text::uuid, 1, 'fal', 'GIVE_UP', now(), 'somebody' FROM accounts";
    let client = server.database.store().client().await.expect("is there");
    let written = client.execute(statement, &[&SETTLED]).await;
    assert_eq!(written.expect("can be written"), 1);
}

#[tokio::test]
async fn every_method_wants_a_key_with_its_scope() {
    let server = Server::start().await;
    let channel = server.channel().await;
    for info in &METHODS {
        let others = Scope::ALL
            .into_iter()
            .filter(|scope| scope.name() != info.scope);
        let others: Vec<Scope> = others.collect();
        let key = server.key("dev", &others, false).await;
        let refusals = [
            (None, "KEY_MISSING"),
            (Some(key.as_str()), "INSUFFICIENT_SCOPE"),
        ];
        for (key, reason) in refusals {
            let refused = unary::<(), ()>(channel.clone(), key, info.grpc_path, ()).await;
            let grpc = envelope(&refused.expect_err(info.name));
            assert_eq!(grpc["reason"], reason, "{}", info.name);
            for (face, said) in [
                ("REST", over_rest(&server, key, info, &json!({})).await),
                ("MCP", over_mcp(&server, key, info, &json!({})).await),
            ] {
                let said = said.into_iter().flatten().map(as_grpc_says);
                for said in said {
                    assert_eq!(said, grpc, "{} over {face}", info.name);
                }
            }
        }
    }
}

#[test]
fn administration_is_for_grpc_alone() {
    for info in &METHODS {
        let elsewhere = info.http.is_some() || info.tool.is_some();
        assert_eq!(elsewhere, info.scope != "admin", "{}", info.name);
    }
}
