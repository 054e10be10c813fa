//! Accounts' own keys for upstreams: whose key a task runs with, what it costs then, and what becomes of it
//! when the key is refused, replaced or deleted.

use std::sync::Arc;

use piooy::accounts::{SealingSecrets, UpstreamSecret};
use piooy::catalog::Model;
use piooy::gate::Caller;
use piooy::generation::{
    Generation, OwnKeyError, QuoteError, Request, Settings, Status, SubmitError,
};
use piooy::providers::{FailureReason, Provider, Providers};
use uuid::Uuid;

use super::fixture::{
    CREDITS, Fixture, PICTURE, ended, patient, picture, refused, routed, run, sandbox, settings,
    until,
};
use super::upstream::{Reply, Upstream, Verdict, providers};

/// What a picture costs with an own key: a tenth.
const SERVICE: i64 = PICTURE / 10;

/// Settings of a server that takes keys, sealed with the first of these.
fn sealing(secrets: &[u8], settings: Settings) -> Settings {
    Settings {
        upstream_keys_secrets: SealingSecrets::new(
            secrets.iter().map(|byte| [*byte; 32]).collect(),
        ),
        ..settings
    }
}

/// With an upstream that is asked with one key and no other.
fn taking(
    providers: Providers,
    name: &str,
    key: &'static str,
    with_key: &Arc<Upstream>,
) -> Providers {
    let with_key: Arc<dyn Provider> = Arc::clone(with_key) as _;
    let make = move |given: &str| (given == key).then(|| Arc::clone(&with_key));
    providers.taking_keys(name, Arc::new(make))
}

async fn set(node: &Generation, account: Uuid, upstream: &str, key: &str) {
    let secret = UpstreamSecret::new(key.to_owned());
    node.set_upstream_key(account, upstream, secret)
        .await
        .unwrap();
}

/// An account whose key for `fal` is "key-of-acme", on a server whose operator has one too.
struct Scene {
    fixture: Fixture,
    operators: Arc<Upstream>,
    own: Arc<Upstream>,
    node: Generation,
}

impl Scene {
    async fn new(own: Arc<Upstream>) -> Self {
        let fixture = Fixture::new().await;
        let operators = Upstream::new("fal");
        let upstreams = taking(providers(&[&operators]), "fal", "key-of-acme", &own);
        let node = fixture
            .node_with(upstreams, sealing(&[1], settings()))
            .await;
        set(&node, fixture.account.id, "fal", "key-of-acme").await;
        Self {
            fixture,
            operators,
            own,
            node,
        }
    }

    /// Another node over the same upstreams.
    async fn another(&self, settings: Settings) -> Generation {
        let upstreams = taking(
            providers(&[&self.operators]),
            "fal",
            "key-of-acme",
            &self.own,
        );
        self.fixture
            .node_with(upstreams, sealing(&[1], settings))
            .await
    }
}

/// The upstreams that would run a model now.
async fn ready(node: &Generation, caller: &Caller, model: &Model) -> Vec<String> {
    let all = node.upstreams_of(caller).await.unwrap().availability(model);
    let ready = all
        .into_iter()
        .filter(piooy::generation::Availability::is_ready);
    ready.map(|upstream| upstream.provider).collect()
}

#[tokio::test]
async fn a_task_runs_with_the_accounts_own_key_for_a_part_of_the_price() {
    let scene = Scene::new(Upstream::new("fal")).await;
    let (fixture, node) = (&scene.fixture, &scene.node);
    let caller = fixture.live().await;
    let quote = node.quote(&caller, &routed("a fox")).await.unwrap();
    assert_eq!(
        (quote.credits, quote.own_key.as_deref()),
        (SERVICE, Some("fal"))
    );
    let quoted = Request {
        quote: Some(quote.id),
        ..routed("a fox")
    };
    for request in [routed("a fox"), quoted] {
        let task = node.submit(&caller, request, None).await.unwrap();
        assert_eq!(task.credits.held, SERVICE);
        let task = ended(node, &caller, task.id).await;
        assert_eq!(
            (task.status, task.credits.charged),
            (Status::Success, SERVICE)
        );
        assert_eq!(fixture.movements(task.id).await, ["HOLD 1", "CAPTURE 1"]);
    }
    assert_eq!(
        (scene.own.submissions(), scene.operators.submissions()),
        (2, 0)
    );
    assert!(
        scene
            .own
            .asked()
            .iter()
            .all(|job| job.webhook_url.is_none())
    );

    // Everybody else goes on as before.
    let stranger = fixture.stranger().await;
    fixture.grant(stranger.account_id(), PICTURE).await;
    let task = run(node, &stranger, routed("a dog")).await;
    assert_eq!(
        (task.status, task.credits.charged),
        (Status::Success, PICTURE)
    );
    assert_eq!(
        (scene.own.submissions(), scene.operators.submissions()),
        (2, 1)
    );
    // So does a test key, which reaches no upstream.
    let task = run(node, &fixture.test().await, picture("a cat")).await;
    assert_eq!((task.status, task.credits.charged), (Status::Success, 0));
    assert_eq!(
        (scene.own.submissions(), scene.operators.submissions()),
        (2, 1)
    );
    fixture.assert_sound().await;
}

#[tokio::test]
async fn what_costs_nothing_costs_nothing() {
    let own = Upstream::new("fal");
    let fixture = Fixture::with_plan(100, true).await;
    let upstreams = taking(sandbox(), "fal", "key-of-acme", &own);
    let node = fixture
        .node_with(upstreams, sealing(&[1], settings()))
        .await;
    set(&node, fixture.account.id, "fal", "key-of-acme").await;
    let request = Request {
        model: "tiny-free".to_owned(),
        ..routed("a fox")
    };
    let task = run(&node, &fixture.live().await, request).await;
    assert_eq!((task.status, task.credits.quoted), (Status::Success, 0));
    fixture.assert_sound().await;
}

#[tokio::test]
async fn an_upstream_that_only_the_account_has_a_key_for_is_there_for_the_account() {
    let own = Upstream::new("kie");
    let fixture = Fixture::new().await;
    let upstreams = taking(sandbox(), "kie", "key-of-acme", &own);
    let node = fixture
        .node_with(upstreams, sealing(&[1], settings()))
        .await;
    let catalog = piooy::catalog::Catalog::load(super::fixture::MODELS).unwrap();
    let model = catalog.get("tiny").unwrap();
    let before = fixture.live().await;
    let error = refused(&node, &before, routed("a fox")).await;
    assert!(
        matches!(error, SubmitError::ModelUnavailable { .. }),
        "{error}"
    );
    assert_eq!(ready(&node, &before, model).await, ["sandbox"]);

    set(&node, fixture.account.id, "kie", "key-of-acme").await;
    let caller = fixture.live().await;
    assert_eq!(ready(&node, &caller, model).await, ["kie", "sandbox"]);
    let task = run(&node, &caller, routed("a fox")).await;
    assert_eq!(
        (task.status, task.credits.charged),
        (Status::Success, SERVICE)
    );
    assert_eq!(own.submissions(), 1);
    let error = refused(&node, &fixture.stranger().await, routed("a fox")).await;
    assert!(
        matches!(error, SubmitError::ModelUnavailable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn routes_are_taken_in_their_order_and_with_one_kind_of_key() {
    let fixture = Fixture::new().await;
    let (fal, kie) = (Upstream::new("fal"), Upstream::new("kie"));
    let (own_fal, own_kie) = (Upstream::new("fal"), Upstream::new("kie"));
    let upstreams = taking(providers(&[&fal, &kie]), "fal", "fal-of-acme", &own_fal);
    let upstreams = taking(upstreams, "kie", "kie-of-acme", &own_kie);
    let node = fixture
        .node_with(upstreams, sealing(&[1], settings()))
        .await;
    let asked = || [&fal, &kie, &own_fal, &own_kie].map(|upstream| upstream.submissions());
    set(&node, fixture.account.id, "kie", "kie-of-acme").await;
    let caller = fixture.live().await;
    // fal is first, and the account has no key for it.
    let task = run(&node, &caller, routed("a fox")).await;
    assert_eq!((task.credits.charged, asked()), (PICTURE, [1, 0, 0, 0]));
    let pinned = Request {
        provider: Some("kie".to_owned()),
        ..routed("a fox")
    };
    let task = run(&node, &caller, pinned).await;
    assert_eq!((task.credits.charged, asked()), (SERVICE, [1, 0, 0, 1]));
    // From one kind to the other there is no way, whichever was first.
    fal.clone()
        .replies(&[Reply::Refuse(FailureReason::ProviderRateLimited)]);
    let task = run(&node, &caller, routed("a dog")).await;
    assert_eq!(
        (task.provider.as_str(), task.credits.charged),
        ("kie", PICTURE)
    );
    assert_eq!(asked(), [2, 1, 0, 1]);

    set(&node, fixture.account.id, "fal", "fal-of-acme").await;
    own_fal
        .clone()
        .replies(&[Reply::Refuse(FailureReason::ProviderRateLimited)]);
    let task = run(&node, &caller, routed("a cat")).await;
    assert_eq!(
        (task.provider.as_str(), task.credits.charged),
        ("kie", SERVICE)
    );
    assert_eq!(asked(), [2, 1, 1, 2]);
    node.delete_upstream_key(fixture.account.id, "kie")
        .await
        .unwrap();
    own_fal
        .clone()
        .replies(&[Reply::Refuse(FailureReason::ProviderRateLimited); 2]);
    let task = run(&node, &caller, routed("a cow")).await;
    assert_eq!((task.status, task.credits.charged), (Status::Failed, 0));
    assert_eq!(asked(), [2, 1, 3, 2], "the operator's kie was not asked");
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_key_that_is_refused_is_the_accounts_own_trouble() {
    let own = Upstream::new("fal").replies(&[Reply::RefuseKey; 9]);
    let scene = Scene::new(own).await;
    let (fixture, node) = (&scene.fixture, &scene.node);
    let task = run(node, &fixture.live().await, routed("a fox")).await;
    let failure = task.failure.expect("it failed");
    assert_eq!(failure.reason, FailureReason::UpstreamKey);
    assert!(failure.message.contains("own key"), "{}", failure.message);
    assert_eq!(fixture.movements(task.id).await, ["HOLD 1", "RELEASE 1"]);
    let stranger = fixture.stranger().await;
    fixture.grant(stranger.account_id(), PICTURE).await;
    let task = run(node, &stranger, routed("a dog")).await;
    assert_eq!(
        task.status,
        Status::Success,
        "the operator's upstream does not rest"
    );
    assert_eq!(
        (scene.own.submissions(), scene.operators.submissions()),
        (1, 1)
    );
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_key_that_is_deleted_fails_its_tasks_and_no_other_is_used() {
    let scene = Scene::new(Upstream::new("fal").decides(Verdict::Running)).await;
    let (fixture, node) = (&scene.fixture, &scene.node);
    let account = fixture.account.id;
    let caller = fixture.live().await;
    let running = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it runs", async || !scene.own.polled().is_empty()).await;
    // This one waits at another node, which then goes.
    let mut idle = patient();
    idle.running_tasks_max = 0;
    let idle = scene.another(idle).await;
    let waiting = idle.submit(&caller, routed("a dog"), None).await.unwrap();
    node.delete_upstream_key(account, "fal").await.unwrap();
    idle.stop().await;

    for task in [running, waiting] {
        let task = ended(node, &caller, task.id).await;
        let failure = task.failure.expect("it failed");
        assert_eq!(
            failure.reason,
            FailureReason::UpstreamKey,
            "{}",
            failure.message
        );
        assert_eq!(fixture.movements(task.id).await, ["HOLD 1", "RELEASE 1"]);
    }
    assert_eq!(
        (scene.own.submissions(), scene.operators.submissions()),
        (1, 0)
    );
    assert_eq!(fixture.balance().await.available, CREDITS);
    let again = node.delete_upstream_key(account, "fal").await;
    assert!(matches!(again, Err(OwnKeyError::Unknown)), "{again:?}");
    // What comes now runs with the operator's, for its price, whatever the gate remembers of the key.
    let task = run(node, &caller, routed("a cat")).await;
    assert_eq!(
        (task.status, task.credits.charged),
        (Status::Success, PICTURE)
    );
    fixture.assert_sound().await;
}

/// Whether it arrived can be asked with that key or not at all.
#[tokio::test]
async fn a_lost_submission_fails_with_its_key() {
    let scene = Scene::new(Upstream::new("fal").replies(&[Reply::AcceptAndLose])).await;
    let (fixture, node) = (&scene.fixture, &scene.node);
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is submitted", async || scene.own.submissions() == 1).await;
    node.delete_upstream_key(fixture.account.id, "fal")
        .await
        .unwrap();
    let task = ended(node, &caller, task.id).await;
    let failure = task.failure.expect("it failed");
    assert_eq!(failure.reason, FailureReason::UpstreamKey);
    assert_eq!(fixture.movements(task.id).await, ["HOLD 1", "RELEASE 1"]);
    assert_eq!(scene.operators.submissions(), 0);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_key_that_is_replaced_ends_what_it_began() {
    let fixture = Fixture::new().await;
    let (old, new) = (Upstream::new("fal"), Upstream::new("fal"));
    old.decide(Verdict::Running);
    let both: [(&str, Arc<dyn Provider>); 2] = [("old-key", old.clone()), ("new-key", new.clone())];
    let make = move |given: &str| {
        let found = both.iter().find(|(key, _)| *key == given)?;
        Some(Arc::clone(&found.1))
    };
    let upstreams = sandbox().taking_keys("fal", Arc::new(make));
    let dying = fixture
        .node_with(upstreams.clone(), sealing(&[1], settings()))
        .await;
    set(&dying, fixture.account.id, "fal", "old-key").await;
    let caller = fixture.live().await;
    let begun = dying.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it runs", async || !old.polled().is_empty()).await;
    set(&dying, fixture.account.id, "fal", "new-key").await;
    let task = run(&dying, &caller, routed("a dog")).await;
    assert_eq!((task.status, new.submissions()), (Status::Success, 1));
    // Also after a restart, which begins a new secret.
    dying.stop().await;
    let heir = fixture
        .node_with(upstreams, sealing(&[2, 1], settings()))
        .await;
    old.decide(Verdict::Deliver(1));
    assert_eq!(
        ended(&heir, &caller, begun.id).await.status,
        Status::Success
    );
    assert_eq!((old.submissions(), new.submissions()), (1, 1));
    let keys = heir.upstream_keys(fixture.account.id).await.unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_quote_holds_for_the_kind_of_key_that_it_was_made_for() {
    let scene = Scene::new(Upstream::new("fal")).await;
    let (fixture, node) = (&scene.fixture, &scene.node);
    let quoted = async || {
        let caller = fixture.live().await;
        let quote = node.quote(&caller, &routed("a fox")).await.unwrap();
        Request {
            quote: Some(quote.id),
            ..routed("a fox")
        }
    };
    let with_own_key = quoted().await;
    node.delete_upstream_key(fixture.account.id, "fal")
        .await
        .unwrap();
    let without = quoted().await;
    let error = refused(node, &fixture.live().await, with_own_key).await;
    assert!(
        matches!(error, SubmitError::Quote(QuoteError::OtherKey)),
        "{error}"
    );
    set(node, fixture.account.id, "fal", "key-of-acme").await;
    let error = refused(node, &fixture.live().await, without).await;
    assert!(
        matches!(error, SubmitError::Quote(QuoteError::OtherKey)),
        "{error}"
    );
    assert_eq!(fixture.balance().await.available, CREDITS);
}

#[tokio::test]
async fn keys_are_sealed_each_for_its_own_account() {
    let scene = Scene::new(Upstream::new("fal")).await;
    let (fixture, node) = (&scene.fixture, &scene.node);
    let client = fixture.database.store().client().await.unwrap();
    let rows = client
        .query("SELECT sealed, tail FROM upstream_keys", &[])
        .await;
    let [row] = &rows.unwrap()[..] else {
        panic!("one key")
    };
    let sealed: Vec<u8> = row.get(0);
    assert!(!sealed.windows(4).any(|part| part == b"acme"));
    assert_eq!(row.get::<_, &str>(1), "", "too short to show its end");
    // Somebody who can write to the database gives the key to another account.
    let stranger = fixture.stranger().await;
    let steal = "UPDATE upstream_keys SET account_id = $1, id = gen_random_uuid()";
    client
        .execute(steal, &[&stranger.account_id()])
        .await
        .unwrap();
    fixture.grant(stranger.account_id(), PICTURE).await;
    let task = run(node, &stranger, routed("a fox")).await;
    assert_eq!(
        (task.status, task.credits.charged),
        (Status::Success, PICTURE)
    );
    assert_eq!(
        (scene.own.submissions(), scene.operators.submissions()),
        (0, 1)
    );
}

#[tokio::test]
async fn what_is_no_key_is_not_taken() {
    let own = Upstream::new("fal");
    let fixture = Fixture::new().await;
    let upstreams = taking(sandbox(), "fal", "key-of-acme", &own);
    let set = async |node: &Generation, upstream: &str, key: &str| {
        let secret = UpstreamSecret::new(key.to_owned());
        node.set_upstream_key(fixture.account.id, upstream, secret)
            .await
    };
    let without = fixture.node_with(upstreams.clone(), settings()).await;
    let refused = set(&without, "fal", "key-of-acme").await;
    assert!(
        matches!(refused, Err(OwnKeyError::NotOffered)),
        "{refused:?}"
    );
    let refused = without.upstream_keys(fixture.account.id).await;
    assert!(
        matches!(refused, Err(OwnKeyError::NotOffered)),
        "{refused:?}"
    );

    let node = fixture
        .node_with(upstreams, sealing(&[1], settings()))
        .await;
    let refused = set(&node, "sandbox", "key-of-acme").await;
    assert!(
        matches!(&refused, Err(OwnKeyError::Upstream { known }) if known == &["fal"]),
        "{refused:?}"
    );
    for key in ["another", "key of acme", "key-of\nacme", "ключ"] {
        let refused = set(&node, "fal", key).await;
        assert!(
            matches!(refused, Err(OwnKeyError::Key)),
            "{key}: {refused:?}"
        );
    }
    assert!(set(&node, "fal", "key-of-acme").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_keys_that_are_set_at_once_one_stays() {
    let scene = Scene::new(Upstream::new("fal")).await;
    let (node, account) = (&scene.node, scene.fixture.account.id);
    let sets = (0..16).map(|_| set(node, account, "fal", "key-of-acme"));
    futures_util::future::join_all(sets).await;
    assert_eq!(node.upstream_keys(account).await.unwrap().len(), 1);
}
