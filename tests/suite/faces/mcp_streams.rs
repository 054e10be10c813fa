//! MCP: answers of several messages. Progress while a call is answered, and streams of news, which end
//! with their client, with its key and with the server.

use std::time::{Duration, SystemTime};

use piooy::accounts::{NewKey, Scopes, SpendingCaps};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::answers::Answer;
use super::echo::Echo;
use super::mcp_modern::{NOW, modern, request, with_tasks};
use super::server::{QUICK_MODEL, Server, with_key};

/// How long a message may take on a busy machine.
const MESSAGE_MAX: Duration = Duration::from_secs(60);

/// How soon a stream ends that has no more right to go on, on a busy machine.
const SOON: Duration = Duration::from_secs(3);

/// The most streams that an account may have open.
const STREAMS_OF_ACCOUNT_MAX: usize = 1_024;

const MARK: &str = "io.modelcontextprotocol/subscriptionId";

/// The messages of an answer that is a stream of events.
pub struct Events {
    response: Response,
    text: String,
}

impl Events {
    pub async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the server answers");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-cache, no-transform");
        assert_eq!(headers["x-accel-buffering"], "no");
        let text = String::new();
        Self { response, text }
    }

    /// The next message; none when the stream has ended.
    pub async fn next(&mut self) -> Option<Value> {
        let next = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    let message = data.map(|data| serde_json::from_str(data).expect("is JSON"));
                    self.text = rest.to_owned();
                    if message.is_some() {
                        return message;
                    }
                    continue;
                }
                let part = self.response.chunk().await.expect("no failure midway")?;
                self.text
                    .push_str(std::str::from_utf8(&part).expect("is text"));
            }
        };
        tokio::time::timeout(MESSAGE_MAX, next)
            .await
            .expect("a message comes in time")
    }
}

fn echo(times: u32, meta: Value) -> Value {
    let arguments = json!({"words": "hello", "timesSaid": times, "room": "attic"});
    let params = json!({"name": "echo", "arguments": arguments, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params})
}

#[tokio::test]
async fn progress_is_told_to_who_asks_for_it() {
    let echoes = Echo::start().await;
    let key = &echoes.read_key;
    let mut message = modern("tools/call", echo(3, json!({}))["params"].take(), NOW);
    message["params"]["_meta"]["progressToken"] = json!("p1");
    for message in [echo(3, json!({"progressToken": "p1"})), message] {
        let mut events = Events::open(request(&echoes.place, key, &message, &[])).await;
        let mut told = Vec::new();
        let last = loop {
            let next = events.next().await.expect("the answer comes");
            if next.get("result").is_some() {
                break next;
            }
            assert_eq!(next["method"], "notifications/progress");
            assert_eq!(next["params"]["progressToken"], "p1");
            assert_eq!(next["params"]["total"], 100);
            told.push(next["params"]["progress"].as_u64().expect("a number"));
        };
        assert!(
            !told.is_empty() && told.is_sorted_by(|a, b| a < b),
            "{told:?}"
        );
        assert_eq!(last["id"], message["id"]);
        let said = &last["result"]["structuredContent"]["data"]["echoes"];
        assert_eq!(said, &json!(["hello", "hello", "hello"]));
        assert!(
            events.next().await.is_none(),
            "the answer is the last message"
        );
    }
}

#[tokio::test]
async fn an_answer_is_plain_where_there_is_nobody_or_nothing_to_tell() {
    let echoes = Echo::start().await;
    let key = &echoes.read_key;
    let token = json!({"progressToken": 7});
    let plain = [
        request(&echoes.place, key, &echo(3, json!({})), &[]),
        request(&echoes.place, key, &echo(1, token.clone()), &[]),
        request(
            &echoes.place,
            key,
            &echo(3, json!({"progressToken": {}})),
            &[],
        ),
        request(&echoes.place, key, &echo(3, token), &[]).header("accept", "application/json"),
    ];
    for request in plain {
        let answer = Answer::read(request.send().await.expect("the server answers")).await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.of_tool()["code"], 0, "{}", answer.envelope);
    }
    let batch = json!([echo(3, json!({"progressToken": 1}))]);
    let answer = echoes.place.mcp(Some(key), &batch).await;
    assert_eq!(answer.envelope[0]["id"], 5, "a batch has answers alone");
    assert_eq!(answer.envelope.as_array().map(Vec::len), Some(1));
}

fn listen(notifications: Value) -> Value {
    with_tasks(
        "subscriptions/listen",
        json!({"notifications": notifications}),
    )
}

#[tokio::test]
async fn a_task_is_followed_to_its_end() {
    let server = Server::start().await;
    let wish = json!({"model": QUICK_MODEL, "prompt": "[sandbox:delay=1s] a pebble"});
    let path = "/api/v1/generate/image";
    let asked = server
        .rest(Some(&server.test_key), "POST", path, &wish)
        .await;
    let id = asked.envelope["data"]["taskId"].clone();
    let uri = format!("piooy://tasks/{}", id.as_str().expect("an id"));
    let message = listen(json!({
        "toolsListChanged": true,
        "taskIds": [id, "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a", "nonsense"],
        "resourceSubscriptions": [uri, "piooy://models/nano-banana-pro", "file:///x"],
    }));
    let mut events = Events::open(request(&server, &server.test_key, &message, &[])).await;
    let first = events.next().await.expect("an acknowledgement");
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let accepted = json!({
        "taskIds": [id],
        "resourceSubscriptions": [uri, "piooy://models/nano-banana-pro"],
    });
    assert_eq!(
        first["params"]["notifications"], accepted,
        "what there is news of"
    );
    assert_eq!(first["params"]["_meta"][MARK], message["id"]);

    let (mut task, mut updates) = (Value::Null, 0);
    while task["status"] != "completed" || updates < 2 {
        let next = events.next().await.expect("news");
        assert_eq!(next["params"]["_meta"][MARK], message["id"]);
        match next["method"].as_str() {
            Some("notifications/tasks") => task = next["params"].clone(),
            Some("notifications/resources/updated") => {
                assert_eq!(next["params"]["uri"], uri);
                updates += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let got = with_tasks("tasks/get", json!({"taskId": id}));
    let got = super::mcp_modern::post(&server, &got, &[]).await.envelope;
    let outputs = |result: &Value| result["structuredContent"]["data"]["outputs"].clone();
    assert_eq!(task["status"], got["result"]["status"]);
    assert_eq!(task["lastUpdatedAt"], got["result"]["lastUpdatedAt"]);
    assert_eq!(
        outputs(&task["result"])[0]["sizeBytes"],
        outputs(&got["result"]["result"])[0]["sizeBytes"],
        "what tasks/get says"
    );
}

#[tokio::test]
async fn a_stream_has_bounds() {
    let server = Server::start().await;
    let many = vec!["piooy://models/nano-banana-pro"; 65];
    let without = modern(
        "subscriptions/listen",
        json!({"notifications": {"taskIds": ["x"]}}),
        NOW,
    );
    let table = [
        (listen(json!({"resourceSubscriptions": many})), 200, -32602),
        (listen(json!({"resourceSubscriptions": 7})), 200, -32602),
        (without, 400, -32021),
    ];
    for (message, status, code) in table {
        let answer = request(&server, &server.test_key, &message, &[])
            .send()
            .await;
        let answer = Answer::read(answer.expect("the server answers")).await;
        let error = &answer.envelope["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (status, &json!(code)),
            "{error}"
        );
    }
}

/// Checks that a stream ends now, and as the protocol has it.
async fn ends(mut events: Events, message: &Value) {
    let last = timeout(SOON, events.next()).await.expect("it ends soon");
    let last = last.expect("a last message");
    assert_eq!(last["id"], message["id"], "it ends in good order");
    assert_eq!(last["result"]["resultType"], "complete");
    assert_eq!(last["result"]["_meta"][MARK], message["id"]);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let server = Server::start().await;
    let key = server.account("visitor", "pro", 0).await;
    let message = listen(json!({}));
    let mut events = Events::open(request(&server, &key, &message, &[])).await;
    events.next().await.expect("an acknowledgement");
    let mut other = Events::open(request(&server, &server.test_key, &message, &[])).await;
    other.next().await.expect("an acknowledgement");
    let keys = server
        .rest(Some(&key), "GET", "/api/v1/apikeys", &Value::Null)
        .await;
    let id = keys.envelope["data"]["apiKeys"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let revoked = server
        .rest(
            Some(&key),
            "DELETE",
            &format!("/api/v1/apikeys/{id}"),
            &Value::Null,
        )
        .await;
    assert_eq!(revoked.status, 200, "{}", revoked.envelope);
    ends(events, &message).await;
    let goes_on = timeout(SOON, other.next()).await;
    assert!(goes_on.is_err(), "another key's stream: {goes_on:?}");
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked_elsewhere_or_expires() {
    let server = Server::start().await;
    let account = server.accounts.by_name("dev").await.expect("is there").id;
    let message = listen(json!({}));
    let key = async |expires_at| {
        let new = NewKey {
            name: "for a test".to_owned(),
            test: true,
            scopes: Scopes::DEFAULT,
            expires_at,
            caps: SpendingCaps::NONE,
        };
        let (secret, key) = server
            .accounts
            .create_key(account, new)
            .await
            .expect("a key");
        let mut events = Events::open(request(&server, secret.expose(), &message, &[])).await;
        events.next().await.expect("an acknowledgement");
        (events, key.id)
    };
    // As another replica does it: past the server's own gate.
    let (events, id) = key(None).await;
    let revoked = server.accounts.revoke_key(account, id).await;
    revoked.expect("it is there");
    ends(events, &message).await;

    let (events, _) = key(Some(SystemTime::now() + SOON / 2)).await;
    ends(events, &message).await;
}

#[tokio::test]
async fn a_stopping_server_ends_its_streams_in_good_order() {
    let server = Server::start().await;
    let message = listen(json!({}));
    let mut events = Events::open(request(&server, &server.test_key, &message, &[])).await;
    events.next().await.expect("an acknowledgement");
    tokio::join!(ends(events, &message), server.stop());
}

#[tokio::test]
async fn an_account_has_so_many_streams_and_no_more() {
    let server = Server::start().await;
    let key = server.account("listener", "unlimited", 0).await;
    let message = listen(json!({}));
    let mut open = Vec::new();
    // Those of both transports count.
    for number in 0..STREAMS_OF_ACCOUNT_MAX {
        let request = match number % 2 {
            0 => request(&server, &key, &message, &[]),
            _ => with_key(server.http("GET", "/api/mcp/sse"), Some(&key)),
        };
        open.push(Events::open(request).await);
    }
    let refused = request(&server, &key, &message, &[]).send().await;
    let refused = Answer::read(refused.expect("the server answers")).await;
    assert_eq!(
        (refused.status, refused.reason()),
        (200, "TOO_MANY_STREAMS")
    );
    let refused = server
        .rest(Some(&key), "GET", "/api/mcp/sse", &Value::Null)
        .await;
    assert_eq!(
        (refused.status, refused.reason()),
        (429, "TOO_MANY_STREAMS")
    );
    assert_eq!(refused.envelope["details"]["limit"], STREAMS_OF_ACCOUNT_MAX);
    let told = refused.envelope["message"].as_str().expect("a text");
    assert!(told.contains("1024 streams"), "{told}");

    let others = request(&server, &server.test_key, &message, &[]);
    Events::open(others).await;
    open.pop();
    let room = async {
        loop {
            let again = request(&server, &key, &message, &[]).send().await;
            let again = again.expect("the server answers");
            if again.headers()["content-type"] == "text/event-stream" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(MESSAGE_MAX, room).await.expect("room for one more");
}

#[tokio::test]
async fn no_stream_outlives_its_client() {
    let server = Server::start().await;
    let alive = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let wish = json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble"});
    let path = "/api/v1/generate/image";
    let asked = server
        .rest(Some(&server.test_key), "POST", path, &wish)
        .await;
    let message = listen(json!({"taskIds": [asked.envelope["data"]["taskId"]]}));
    let before = alive();
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut events = Events::open(request(&server, &server.test_key, &message, &[])).await;
        events.next().await.expect("an acknowledgement");
        open.push(events);
    }
    assert!(alive() >= before + 50, "each has a connection");
    drop(open);
    let gone = async {
        // What keeps idle connections in the client's pool is not the server's.
        while alive() > before + 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(MESSAGE_MAX, gone)
        .await
        .expect("the server lets go of them");
}
