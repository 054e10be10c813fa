//! What is owed is sent, again and again if need be, by whoever is there.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use piooy::generation::Request;
use piooy::webhooks::{
    DeliveryFilter, DeliveryStatus, Settings, WEBHOOKS_MAX, WebhookError, Webhooks, World,
};
use uuid::Uuid;

use super::receiver::{Receiver, yes};
use super::world::{Town, egress, quick};
use crate::generation::fixture::{PATIENCE, picture, until};

#[tokio::test]
async fn what_was_not_taken_is_sent_again() {
    let town = Town::new().await;
    let receiver = Receiver::start(|message| match message {
        1 => (StatusCode::INTERNAL_SERVER_ERROR, "not\0now").into_response(),
        2 => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        _ => (StatusCode::OK, "x".repeat(10_000)).into_response(),
    })
    .await;
    let (secret, _) = town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;

    let told = receiver.hears(3).await;
    assert_eq!(receiver.ids().len(), 1, "the id stays the same");
    assert!(told.iter().all(|told| told.is_signed_by(&secret)));
    assert!(told.iter().all(|told| told.path == "/"), "not redirected");
    let delivery = town.stands(DeliveryStatus::Delivered).await;
    assert_eq!((delivery.attempts, delivery.answer_status), (3, Some(200)));
    let answer = delivery.answer.expect("there was one");
    assert_eq!(answer, "x".repeat(1_000), "only its beginning is kept");
}

#[tokio::test]
async fn what_nobody_was_there_for_is_sent_again() {
    let town = Town::new().await;
    let gone = Receiver::start(yes).await.url;
    town.webhook(&gone).await;
    let patient = Settings {
        wait_min: Duration::from_millis(50),
        ..quick()
    };
    let _deliverer = town.deliverer(patient);
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;
    until("an attempt that failed", async || {
        let deliveries = town.deliveries().await;
        deliveries.iter().any(|one| one.error.is_some())
    })
    .await;
    let delivery = town.deliveries().await.remove(0);
    assert_eq!(
        (delivery.status, delivery.answer_status, delivery.answer),
        (DeliveryStatus::Pending, None, None)
    );

    let address = gone.strip_prefix("http://").expect("an address");
    let receiver = Receiver::at(address, yes).await;
    receiver.hears(1).await;
    let delivery = town.stands(DeliveryStatus::Delivered).await;
    assert!(delivery.attempts > 1 && delivery.error.is_none());
}

#[tokio::test]
async fn what_nobody_ever_takes_is_given_up() {
    let town = Town::new().await;
    let receiver = Receiver::start(|_| StatusCode::BAD_GATEWAY.into_response()).await;
    let (_, webhook) = town.webhook(&receiver.url).await;
    let impatient = Settings {
        wait_min: Duration::ZERO,
        ..quick()
    };
    let _deliverer = town.deliverer(impatient);
    let caller = town.fixture.live().await;
    let task = town.paint(&caller, "a fox").await;
    let delivery = town.stands(DeliveryStatus::Failed).await;
    assert_eq!((delivery.attempts, delivery.due_at), (12, None));
    assert_eq!(receiver.told().len(), 12);

    // Asked for by hand, it is tried as often again.
    let again = town.webhooks.redeliver(town.live(), delivery.id).await;
    assert_eq!(again.unwrap().status, DeliveryStatus::Pending);
    receiver.hears(24).await;
    town.stands(DeliveryStatus::Failed).await;
    assert_eq!(receiver.ids().len(), 1);

    let filtered = async |filter| town.listed(town.live(), filter).await.len();
    let all = DeliveryFilter::default();
    for (filter, found) in [
        (
            DeliveryFilter {
                status: Some(DeliveryStatus::Failed),
                ..all
            },
            1,
        ),
        (
            DeliveryFilter {
                status: Some(DeliveryStatus::Delivered),
                ..all
            },
            0,
        ),
        (
            DeliveryFilter {
                task_id: Some(task.id),
                ..all
            },
            1,
        ),
        (
            DeliveryFilter {
                task_id: Some(Uuid::nil()),
                ..all
            },
            0,
        ),
        (
            DeliveryFilter {
                webhook_id: Some(webhook),
                task_id: Some(task.id),
                ..all
            },
            1,
        ),
        (
            DeliveryFilter {
                webhook_id: Some(Uuid::nil()),
                ..all
            },
            0,
        ),
    ] {
        assert_eq!(filtered(filter).await, found, "{filter:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone() {
    let town = Town::new().await;
    let receiver = Receiver::start(|_| StatusCode::GONE.into_response()).await;
    let (_, webhook) = town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;
    let delivery = town.stands(DeliveryStatus::Failed).await;
    assert_eq!((delivery.attempts, delivery.answer_status), (1, Some(410)));

    let webhooks = town.webhooks.list(town.live()).await.unwrap();
    assert_eq!(webhooks.len(), 1);
    assert!(webhooks[0].id == webhook && webhooks[0].disabled_at.is_some());
    let again = town.webhooks.redeliver(town.live(), delivery.id).await;
    assert!(matches!(again, Err(WebhookError::Gone)));
    assert!(!town.fixture.live().await.has_webhooks());
    town.paint(&caller, "another fox").await;
    assert_eq!(town.deliveries().await.len(), 1);
}

#[tokio::test]
async fn what_a_deleted_webhook_was_owed_is_canceled() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    let (_, webhook) = town.webhook(&receiver.url).await;
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;
    town.webhooks.delete(town.live(), webhook).await.unwrap();
    let _deliverer = town.deliverer(quick());
    let delivery = town.stands(DeliveryStatus::Canceled).await;
    assert!(delivery.ended_at.is_some());
    assert_eq!(receiver.told().len(), 0);
}

/// The server ends between a task's end and its delivery.
#[tokio::test]
async fn what_is_owed_outlives_the_server() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    town.webhook(&receiver.url).await;
    let caller = town.fixture.live().await;
    let task = town.paint(&caller, "a fox").await;
    assert_eq!(town.deliveries().await[0].attempts, 0);
    town.node.stop().await;

    let _deliverer = town.deliverer(quick());
    assert_eq!(receiver.hears(1).await[0].task_id(), task.id.to_string());
}

/// A server dies while it sends: whoever is there sends it again, when the lease is over.
#[tokio::test]
async fn what_a_dead_server_was_sending_is_sent_again() {
    let town = Town::new().await;
    // Nobody accepts the connections that its queue takes.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    town.webhook(&format!("http://{address}")).await;
    let settings = Settings {
        lease: Duration::from_millis(500),
        ..quick()
    };
    let dying = town.deliverer(settings.clone());
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;
    until("an attempt", async || {
        town.deliveries().await[0].attempts == 1
    })
    .await;
    drop(dying);
    drop(silent);

    let receiver = Receiver::at(&address, yes).await;
    let _deliverer = town.deliverer(settings);
    receiver.hears(1).await;
    assert_eq!(town.stands(DeliveryStatus::Delivered).await.attempts, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_send_everything_once() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    town.webhook(&receiver.url).await;
    let _deliverers = [town.deliverer(quick()), town.deliverer(quick())];
    let caller = town.fixture.live().await;
    let mut tasks = BTreeSet::new();
    for number in 0..40 {
        let request = picture(&format!("fox {number}"));
        let task = town.node.submit(&caller, request, None).await.unwrap();
        tasks.insert(task.id.to_string());
    }
    until("everything to be delivered", async || {
        let deliveries = town.deliveries().await;
        let delivered = |status| status == DeliveryStatus::Delivered;
        deliveries.len() == 40 && deliveries.iter().all(|one| delivered(one.status))
    })
    .await;
    let told = receiver.hears(40).await;
    let told: BTreeSet<String> = told.iter().map(|told| told.task_id()).collect();
    assert_eq!(told, tasks);
    assert!(town.deliveries().await.iter().all(|one| one.attempts == 1));
}

/// The receiver lets the first message wait until somebody has asked for it again.
#[tokio::test]
async fn what_is_asked_for_while_it_is_sent_is_sent_again() {
    let town = Town::new().await;
    let receiver = Receiver::slow(yes, Duration::from_millis(500)).await;
    town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;
    receiver.hears(1).await;
    let delivery = town.deliveries().await.remove(0);
    assert_eq!(delivery.status, DeliveryStatus::Pending);
    let again = town.webhooks.redeliver(town.live(), delivery.id).await;
    again.unwrap();
    receiver.hears(2).await;
    let delivery = town.stands(DeliveryStatus::Delivered).await;
    assert_eq!(delivery.attempts, 2);
}

/// Nothing but word of an end makes this deliverer look.
#[tokio::test]
async fn an_end_is_told_at_once() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    town.webhook(&receiver.url).await;
    let never = Settings {
        poll: PATIENCE * 10,
        ..Settings::default()
    };
    let _deliverer = town.deliverer(never);
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;
    receiver.hears(1).await;
    // One that gives credits back goes to the database in another way.
    town.paint(&caller, "[sandbox:fail=content_policy] a fox")
        .await;
    receiver.hears(2).await;

    let delivery = town.deliveries().await.remove(0);
    let again = town.webhooks.redeliver(town.live(), delivery.id).await;
    again.unwrap();
    let told = receiver.hears(3).await;
    assert_eq!(told[2].header("webhook-id"), delivery.id.to_string());
}

#[tokio::test]
async fn a_slow_receiver_holds_up_nobody_else() {
    let town = Town::new().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    town.webhook(&format!("http://{}", silent.local_addr().unwrap()))
        .await;
    let caller = town.fixture.live().await;
    for number in 0..10 {
        town.paint(&caller, &format!("fox {number}")).await;
    }
    let receiver = Receiver::start(yes).await;
    let request = Request {
        webhook_url: Some(receiver.url.clone()),
        ..picture("a hare")
    };
    town.run(&caller, request).await;

    let narrow = Settings {
        places: 4,
        places_of_origin: 2,
        ..quick()
    };
    let _deliverer = town.deliverer(narrow);
    receiver.hears(1).await;
    let deliveries = town.deliveries().await;
    let tried = deliveries
        .iter()
        .filter(|one| one.webhook_id.is_some() && one.attempts > 0);
    assert_eq!(
        tried.count(),
        2,
        "and no more are under way to the slow one"
    );
}

/// More of them than are looked at together.
#[tokio::test]
async fn among_very_many_addresses_each_has_its_turn() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    town.webhook(&receiver.url).await;
    let caller = town.fixture.live().await;
    let client = town.fixture.database.store().client().await.unwrap();
    let others = "INSERT INTO webhook_deliveries (account_id, id, test, task_id, url, due_at)
        SELECT $1, gen_random_uuid(), true, gen_random_uuid(), 'http://' || number || '.example/', now() + '1 h'
        FROM generate_series(10001, 12500) AS number";
    client
        .execute(others, &[&town.test().account_id])
        .await
        .unwrap();
    let first = "SELECT min(origin) < $1 AND count(DISTINCT origin) = 2500 FROM webhook_deliveries";
    let row = client.query_one(first, &[&receiver.url]).await.unwrap();
    assert!(row.get::<_, bool>(0), "they come first");
    let _deliverer = town.deliverer(quick());
    town.paint(&caller, "a fox").await;
    receiver.hears(1).await;
    // And once more, from the beginning.
    town.paint(&caller, "a hare").await;
    receiver.hears(2).await;
}

#[tokio::test]
async fn for_a_while_the_old_secret_signs_too() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;
    let request = || Request {
        webhook_url: Some(receiver.url.clone()),
        ..picture("a fox")
    };
    let world = town.live();
    let (old, _) = town.webhooks.signing_secret(world).await.unwrap();
    assert_eq!(town.webhooks.signing_secret(world).await.unwrap().0, old);
    let (new, _) = town.webhooks.rotate_signing_secret(world).await.unwrap();
    assert_ne!(new, old);
    assert_eq!(town.webhooks.signing_secret(world).await.unwrap().0, new);
    let (of_tests, _) = town.webhooks.signing_secret(town.test()).await.unwrap();

    town.run(&caller, request()).await;
    let told = receiver.hears(1).await.remove(0);
    assert!(told.is_signed_by(&new.expose()) && told.is_signed_by(&old.expose()));
    assert!(!told.is_signed_by(&of_tests.expose()));

    let client = town.fixture.database.store().client().await.unwrap();
    let age = "UPDATE webhook_secrets SET created_at = created_at - interval '25 hours'";
    client.execute(age, &[]).await.unwrap();
    town.run(&caller, request()).await;
    let told = receiver.hears(2).await.remove(1);
    assert!(told.is_signed_by(&new.expose()) && !told.is_signed_by(&old.expose()));
}

#[tokio::test]
async fn addresses_within_are_refused_when_given_and_when_used() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    let store = town.fixture.database.store().clone();
    let guarded = Webhooks::new(store, egress(false), town.node.owed());
    let refused = guarded.create(town.live(), &receiver.url).await;
    assert!(matches!(refused, Err(WebhookError::Address(_))));

    // Made when it was allowed.
    town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer_of(guarded, quick());
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;
    until("an attempt that failed", async || {
        let deliveries = town.deliveries().await;
        deliveries.iter().any(|one| one.error.is_some())
    })
    .await;
    assert_eq!(receiver.told().len(), 0);
}

#[tokio::test]
async fn nobody_sees_what_is_of_others() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    let (_, webhook) = town.webhook(&receiver.url).await;
    let _deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;
    let task = town.paint(&caller, "a fox").await;
    let delivery = town.stands(DeliveryStatus::Delivered).await;
    let stranger = World {
        account_id: town.fixture.stranger().await.account_id(),
        test: false,
    };
    for world in [stranger, town.test()] {
        assert_eq!(town.webhooks.list(world).await.unwrap(), []);
        let deleted = town.webhooks.delete(world, webhook).await;
        assert!(matches!(deleted, Err(WebhookError::Unknown)));
        let of_task = DeliveryFilter {
            task_id: Some(task.id),
            ..DeliveryFilter::default()
        };
        assert_eq!(town.listed(world, of_task).await, []);
        assert_eq!(town.listed(world, DeliveryFilter::default()).await, []);
        let again = town.webhooks.redeliver(world, delivery.id).await;
        assert!(matches!(again, Err(WebhookError::DeliveryUnknown)));
    }
}

#[tokio::test]
async fn pages_of_deliveries_follow_each_other() {
    let town = Town::new().await;
    town.webhook("http://127.0.0.1:9999/").await;
    let caller = town.fixture.live().await;
    for number in 0..5 {
        town.paint(&caller, &format!("fox {number}")).await;
    }
    let all: Vec<Uuid> = town.deliveries().await.iter().map(|one| one.id).collect();
    assert!(all.len() == 5 && all.is_sorted_by(|newer, older| newer > older));
    let (mut seen, mut before) = (Vec::new(), None);
    for size in [2, 2, 1] {
        let filter = DeliveryFilter::default();
        let page = town
            .webhooks
            .deliveries(town.live(), filter, before, 2)
            .await;
        let page = page.unwrap();
        assert_eq!(page.deliveries.len(), size);
        seen.extend(page.deliveries.iter().map(|one| one.id));
        before = page.next;
    }
    assert_eq!((seen, before), (all, None));
}

#[tokio::test]
async fn webhooks_are_few_and_the_log_is_not_kept_for_ever() {
    let town = Town::new().await;
    let receiver = Receiver::start(yes).await;
    for number in 0..WEBHOOKS_MAX {
        let url = format!("{}/{number}", receiver.url);
        town.webhook(&url).await;
    }
    let refused = town.webhooks.create(town.live(), &receiver.url).await;
    assert!(matches!(refused, Err(WebhookError::TooMany)));

    let deliverer = town.deliverer(quick());
    let caller = town.fixture.live().await;
    town.paint(&caller, "a fox").await;
    receiver.hears(WEBHOOKS_MAX as usize).await;
    deliverer.stop().await;
    let client = town.fixture.database.store().client().await.unwrap();
    let age = "UPDATE webhook_deliveries SET ended_at = ended_at - interval '31 days'
        WHERE id <> (SELECT id FROM webhook_deliveries LIMIT 1)";
    client.execute(age, &[]).await.unwrap();
    let _deliverer = town.deliverer(quick());
    until("old deliveries to be forgotten", async || {
        town.deliveries().await.len() == 1
    })
    .await;
}
