//! Every end is told, to whom it concerns and to nobody else.

use piooy::generation::{Request, Settings, SubmitError};
use piooy::webhooks::DeliveryStatus;
use serde_json::Value;
use uuid::Uuid;

use super::receiver::{Receiver, Told, yes};
use super::world::{Town, quick};
use crate::generation::fixture::{self, picture, short_lived};

/// Fails unless that is a sound message about a task.
fn assert_tells(told: &Told, secret: &str, kind: &str, task: Uuid) -> Value {
    assert!(told.is_signed_by(secret), "{told:?}");
    assert_eq!(told.header("content-type"), "application/json");
    let json = told.json();
    let names: Vec<&String> = json.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["type", "timestamp", "data"]);
    assert_eq!(json["type"], kind);
    assert_eq!(json["timestamp"], json["data"]["finishedAt"]);
    assert_eq!(json["data"]["taskId"], task.to_string());
    json
}

#[tokio::test]
async fn a_picture_that_was_delivered_is_told_of() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    let (secret, _) = town.webhook(&format!("{}/hook?a=b", receiver.url)).await;
    let deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;

    let task = town.paint(&caller, "a fox").await;

    let told = receiver.hears(1).await.remove(0);
    assert_eq!(told.path, "/hook");
    let json = assert_tells(&told, &secret, "task.succeeded", task.id);
    assert_eq!(json["data"]["status"], "SUCCESS");
    assert_eq!(json["data"]["credits"]["charged"], fixture::PICTURE);
    let link = json["data"]["outputs"][0]["url"].as_str().expect("a link");
    assert!(link.starts_with("https://piooy.test/files/"), "{link}");

    let delivery = town.stands(DeliveryStatus::Delivered).await;
    assert_eq!(delivery.id.to_string(), told.header("webhook-id"));
    assert_eq!((delivery.task_id, delivery.attempts), (task.id, 1));
    assert_eq!(
        (delivery.answer_status, delivery.error, delivery.due_at),
        (Some(204), None, None)
    );
    assert_eq!(Some(delivery.created_at), task.finished_at);
    deliverer.stop().await;
}

#[tokio::test]
async fn a_picture_that_failed_is_told_of() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    let (secret, _) = town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;

    let task = town
        .paint(&caller, "[sandbox:fail=content_policy] a fox")
        .await;

    let told = receiver.hears(1).await.remove(0);
    let json = assert_tells(&told, &secret, "task.failed", task.id);
    assert_eq!(json["data"]["error"]["reason"], "CONTENT_POLICY");
}

#[tokio::test]
async fn a_picture_that_was_canceled_is_told_of() {
    let idle = Settings {
        running_tasks_max: 0,
        ..fixture::settings()
    };
    let town = Town::with(idle).await;
    let receiver = Receiver::start(yes).await;
    let (secret, _) = town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;

    let task = town.node.submit(&caller, picture("a fox"), None).await;
    let task = town.node.cancel(&caller, task.unwrap().id).await.unwrap();

    let told = receiver.hears(1).await.remove(0);
    assert_tells(&told, &secret, "task.canceled", task.id);
}

#[tokio::test]
async fn a_picture_whose_time_was_up_is_told_of() {
    let town = Town::with(short_lived()).await;
    let receiver = Receiver::start(yes).await;
    let (secret, _) = town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;

    let task = town.paint(&caller, "[sandbox:hang] a fox").await;

    let told = receiver.hears(1).await.remove(0);
    let json = assert_tells(&told, &secret, "task.failed", task.id);
    assert_eq!(json["data"]["error"]["reason"], "DEADLINE_EXCEEDED");
}

/// The node that accepted it is gone; another one takes it over and ends it.
#[tokio::test]
async fn a_picture_that_another_node_ends_is_told_of() {
    let idle = Settings {
        running_tasks_max: 0,
        ..fixture::settings()
    };
    let town = Town::with(idle).await;
    let receiver = Receiver::start(yes).await;
    let (secret, _) = town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;
    let task = town.node.submit(&caller, picture("a fox"), None).await;
    let task = task.unwrap();

    town.node.stop().await;
    let _other = town.fixture.node().await;

    let told = receiver.hears(1).await.remove(0);
    assert_tells(&told, &secret, "task.succeeded", task.id);
}

#[tokio::test]
async fn a_request_names_an_address_of_its_own() {
    let town = Town::new().await;
    let (general, own) = (Receiver::start(yes).await, Receiver::start(yes).await);
    let (secret, webhook) = town.webhook(&general.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;

    let request = Request {
        webhook_url: Some(own.url.clone()),
        ..picture("a fox")
    };
    let task = town.run(&caller, request).await;

    let told = general.hears(1).await.remove(0);
    assert_tells(&told, &secret, "task.succeeded", task.id);
    let told = own.hears(1).await.remove(0);
    let (account_secret, _) = town.webhooks.signing_secret(town.live()).await.unwrap();
    assert_tells(&told, &account_secret.expose(), "task.succeeded", task.id);

    let webhooks = town.deliveries().await;
    let mut webhooks: Vec<_> = webhooks.iter().map(|one| one.webhook_id).collect();
    webhooks.sort();
    assert_eq!(webhooks, [None, Some(webhook)]);
}

/// The address is part of what was asked: another one under the same key is another request.
#[tokio::test]
async fn an_idempotency_key_stands_for_the_address_too() {
    let town = Town::new().await;
    let caller = town.fixture.live().await;
    let with = |url: &str| Request {
        webhook_url: Some(url.to_owned()),
        ..picture("a fox")
    };
    let submit = async |request| town.node.submit(&caller, request, Some("key")).await;
    let first = submit(with("https://a.example/")).await.unwrap();
    let again = submit(with("https://a.example/")).await.unwrap();
    assert_eq!(first.id, again.id);
    let other = submit(with("https://b.example/")).await;
    assert!(matches!(other, Err(SubmitError::IdempotencyKeyReused)));
    let none = submit(picture("a fox")).await;
    assert!(matches!(none, Err(SubmitError::IdempotencyKeyReused)));
}

/// Not of tasks of other accounts, of the other kind of keys, from before it was made or after it was deleted.
#[tokio::test]
async fn a_webhook_hears_of_nothing_else() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    let (live, test, stranger) = (
        town.fixture.live().await,
        town.fixture.test().await,
        town.fixture.stranger().await,
    );
    town.fixture.grant(stranger.account_id(), 100).await;
    let early = town.fixture.live().await;
    let slow = picture("[sandbox:delay=1s] a fox");
    let before = town.node.submit(&early, slow, None).await.unwrap();

    let (_, webhook) = town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    town.paint(&stranger, "of another account").await;
    town.paint(&live, "known to have no webhook").await;
    let (live, test_again) = (town.fixture.live().await, town.fixture.test().await);
    town.paint(&test, "of a test key").await;
    town.paint(&test_again, "of another test key").await;
    fixture::ended(&town.node, &early, before.id).await;
    let heard_of = town.paint(&live, "of its own").await;

    let told = receiver.hears(1).await.remove(0);
    assert_eq!(told.task_id(), heard_of.id.to_string());
    assert_eq!(town.deliveries().await.len(), 1);

    town.webhooks.delete(town.live(), webhook).await.unwrap();
    town.paint(&live, "after it was deleted").await;
    assert_eq!(town.deliveries().await.len(), 1, "and nothing is owed");
}

#[tokio::test]
async fn a_webhook_of_a_test_key_hears_of_test_tasks() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    let made = town.webhooks.create(town.test(), &receiver.url).await;
    let (secret, _) = made.unwrap();
    let _deliverer = town.deliverer(quick());
    town.paint(&town.fixture.live().await, "a live fox").await;
    let task = town.paint(&town.fixture.test().await, "a test fox").await;

    let told = receiver.hears(1).await.remove(0);
    let json = assert_tells(&told, &secret.expose(), "task.succeeded", task.id);
    assert_eq!(json["data"]["test"], true);
    assert_eq!(town.deliveries().await, []);
}
