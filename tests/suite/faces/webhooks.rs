//! Webhooks as callers have them: made, told, listed, sent again and deleted over REST.

use serde_json::{Value, json};

use super::server::{QUICK_MODEL, Server};
use crate::generation::fixture::until;
use crate::webhooks::receiver::{Receiver, yes};

const WEBHOOKS: &str = "/api/v1/webhooks";

impl Server {
    /// The id of the only delivery about a task of the test key, once it was taken.
    pub async fn delivered(&self, task: &Value) -> String {
        let id = task["taskId"].as_str().expect("a taskId");
        let path = format!("{WEBHOOKS}/deliveries?taskId={id}");
        let look = async || {
            let key = Some(self.test_key.as_str());
            let listed = self.rest(key, "GET", &path, &Value::Null).await;
            listed.envelope["data"]["deliveries"][0].clone()
        };
        until("a delivery", async || look().await["status"] == "DELIVERED").await;
        look().await["id"].as_str().expect("an id").to_owned()
    }

    async fn webhooks(&self, key: &str, method: &str, below: &str, body: &Value) -> Value {
        let path = format!("{WEBHOOKS}{below}");
        self.rest(Some(key), method, &path, body).await.envelope
    }
}

/// Local receivers are allowed.
async fn server() -> Server {
    Server::with(&[("PIOOY_EGRESS_PRIVATE", "yes")]).await
}

#[tokio::test]
async fn a_webhook_from_its_making_to_its_end() {
    let server = server().await;
    let receiver = Receiver::start(yes).await;
    let key = server.test_key.as_str();
    let asked = json!({"url": receiver.url});
    let made = server.webhooks(key, "POST", "", &asked).await["data"].clone();
    let secret = made["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_"), "{secret}");
    let webhook = made["webhook"].clone();
    assert_eq!(
        (&webhook["url"], &webhook["test"]),
        (&json!(format!("{}/", receiver.url)), &json!(true))
    );
    let listed = server.webhooks(key, "GET", "", &Value::Null).await;
    assert_eq!(listed["data"], json!({"webhooks": [webhook]}));
    let all_that_is_told = listed.to_string();
    assert!(!all_that_is_told.contains(&secret["whsec_".len()..]));

    // It is known at once that there is one now.
    let task = server.picture().await;
    let told = receiver.hears(1).await.remove(0);
    assert!(told.is_signed_by(secret));
    let mut said = told.json()["data"].clone();
    let mut asked = task.clone();
    // Links are made anew each time.
    for task in [&mut said, &mut asked] {
        for name in ["url", "thumbnailUrl", "expiresAt"] {
            let taken = task["outputs"][0].as_object_mut().expect("an output");
            assert!(taken.remove(name).is_some(), "{name}");
        }
    }
    assert_eq!(said, asked, "the task as every face answers it");

    let delivery = server.delivered(&task).await;
    assert_eq!(delivery, told.header("webhook-id"));
    let again = format!("/deliveries/{delivery}/redeliver");
    let sent = server.webhooks(key, "POST", &again, &Value::Null).await;
    assert_eq!(sent["data"]["status"], "PENDING", "{sent}");
    let told = receiver.hears(2).await.remove(1);
    assert_eq!(told.header("webhook-id"), delivery);

    let below = format!("/{}", webhook["id"].as_str().expect("an id"));
    let deleted = server.webhooks(key, "DELETE", &below, &Value::Null).await;
    assert_eq!(deleted["data"], webhook);
    for (method, below, reason) in [
        ("DELETE", below.as_str(), "WEBHOOK_NOT_FOUND"),
        ("POST", again.as_str(), "WEBHOOK_GONE"),
        (
            "POST",
            "/deliveries/0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a/redeliver",
            "DELIVERY_NOT_FOUND",
        ),
    ] {
        let refused = server.webhooks(key, method, below, &Value::Null).await;
        assert_eq!(refused["reason"], reason, "{refused}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_signing_secret_can_be_read_and_renewed() {
    let server = server().await;
    let secret = async |key: &str, method: &str, below: &str| {
        let told = server.webhooks(key, method, below, &Value::Null).await;
        told["data"]["secret"]
            .as_str()
            .expect("a secret")
            .to_owned()
    };
    let (test, live) = (&server.test_key, &server.live_key);
    let first = secret(test, "GET", "/secret").await;
    assert_eq!(secret(test, "GET", "/secret").await, first);
    assert_ne!(secret(live, "GET", "/secret").await, first);
    let second = secret(test, "POST", "/secret/rotate").await;
    assert_ne!(second, first);
    assert_eq!(secret(test, "GET", "/secret").await, second);
}

#[tokio::test]
async fn addresses_that_may_not_be_told_are_refused() {
    let server = Server::start().await;
    let key = server.test_key.as_str();
    for url in [
        "http://127.0.0.1:9000/hook",
        "http://localhost/hook",
        "http://[::1]/hook",
        "http://169.254.169.254/latest/meta-data",
        "https://user:password@example.com/",
        "ftp://example.com/",
        "example.com/hook",
    ] {
        let picture = json!({"model": QUICK_MODEL, "prompt": "a pebble", "webhook_url": url});
        for (path, field, body) in [
            (WEBHOOKS, "url", &json!({"url": url})),
            ("/api/v1/generate/image", "webhook_url", &picture),
            ("/api/v1/generate", "webhook_url", &picture),
        ] {
            let refused = server.rest(Some(key), "POST", path, body).await;
            assert_eq!(refused.status, 422, "{url}: {}", refused.envelope);
            let violation = &refused.envelope["details"]["fieldViolations"][0];
            assert_eq!(violation["field"], field, "{url}");
        }
    }
    let listed = server.webhooks(key, "GET", "", &Value::Null).await;
    assert_eq!(listed["data"]["webhooks"], json!([]));
}

#[tokio::test]
async fn other_accounts_see_nothing() {
    let server = server().await;
    let receiver = Receiver::start(yes).await;
    let asked = json!({"url": receiver.url});
    let key = server.live_key.as_str();
    let made = server.webhooks(key, "POST", "", &asked).await["data"]["webhook"].clone();
    let other = server.account("other", "free", 0).await;
    // A test key of the same account is another world, too.
    for key in [other.as_str(), &server.test_key] {
        let listed = server.webhooks(key, "GET", "", &Value::Null).await;
        assert_eq!(listed["data"]["webhooks"], json!([]));
        let below = format!("/{}", made["id"].as_str().expect("an id"));
        let refused = server.webhooks(key, "DELETE", &below, &Value::Null).await;
        assert_eq!(refused["reason"], "WEBHOOK_NOT_FOUND");
    }
    let listed = server.webhooks(key, "GET", "", &Value::Null).await;
    assert_eq!(listed["data"]["webhooks"], json!([made]));
}
