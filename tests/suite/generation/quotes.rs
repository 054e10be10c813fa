//! A quote's price holds: for its request, its account and its mode, whatever has changed since.

use std::time::{Duration, SystemTime};

use piooy::catalog::MediaType;
use piooy::gate::Caller;
use piooy::generation::{Generation, QUOTE_LIFE, QuoteError, Request, Scene, SubmitError};

use super::fixture::{CREDITS, Fixture, PICTURE, QUOTE_SECRET, aged, ended, picture, refused, run};

fn free(prompt: &str) -> Request {
    Request {
        model: "tiny-free".to_owned(),
        ..picture(prompt)
    }
}

async fn quoted(node: &Generation, caller: &Caller, request: &Request) -> Request {
    let quote = node.quote(caller, request).await.unwrap();
    Request {
        quote: Some(quote.id),
        ..request.clone()
    }
}

async fn fault(node: &Generation, caller: &Caller, request: Request) -> QuoteError {
    match refused(node, caller, request).await {
        SubmitError::Quote(fault) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_price_of_a_quote_holds_when_prices_change() {
    let fixture = Fixture::with_plan(10, true).await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let cheap = quoted(&node, &caller, &free("a fox")).await;

    let client = fixture.database.store().client().await.unwrap();
    let dearer = "UPDATE plans SET free_tier_included = false WHERE name = 'mine'";
    client.execute(dearer, &[]).await.unwrap();
    // Another replica, and another key of the account, which both know the new price.
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let dear = quoted(&node, &caller, &free("a fox")).await;
    for (request, price) in [
        (cheap.clone(), 0),
        (dear, 3),
        (free("a fox"), 3),
        (cheap, 0),
    ] {
        let task = run(&node, &caller, request).await;
        assert_eq!((task.credits.quoted, task.credits.charged), (price, price));
    }
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_quote_is_for_what_was_quoted_and_for_who_asked() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let request = quoted(&node, &caller, &picture("a fox")).await;
    let with = |change: fn(&mut Request)| {
        let mut changed = request.clone();
        change(&mut changed);
        changed
    };
    for other in [
        with(|request| request.prompt = "a wolf".to_owned()),
        with(|request| request.count = Some(2)),
        with(|request| request.seed = Some(1)),
        with(|request| request.resolution = Some("0.2K".to_owned())),
        with(|request| request.model = "tiny-clip".to_owned()),
    ] {
        assert_eq!(fault(&node, &caller, other).await, QuoteError::OtherRequest);
    }
    let stranger = fixture.stranger().await;
    assert_eq!(
        fault(&node, &stranger, request.clone()).await,
        QuoteError::OtherAccount
    );
    let test = fixture.test().await;
    assert_eq!(
        fault(&node, &test, request.clone()).await,
        QuoteError::OtherMode
    );
    let nonsense = with(|request| request.quote = Some("quote_me".to_owned()));
    assert_eq!(
        fault(&node, &caller, nonsense).await,
        QuoteError::Unreadable
    );
    // What the caller expects is no part of what was quoted.
    let expected = with(|request| {
        request.expects = Some(MediaType::Image);
        request.scene = Some(Scene::TextToImage);
    });
    let task = run(&node, &caller, expected).await;
    assert_eq!(task.credits.charged, PICTURE);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_quote_does_not_change_what_an_idempotency_key_stands_for() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let request = quoted(&node, &caller, &picture("a fox")).await;
    let first = node.submit(&caller, request.clone(), Some("key")).await;
    let first = first.unwrap().id;
    for again in [request.clone(), picture("a fox")] {
        let task = node.submit(&caller, again, Some("key")).await.unwrap();
        assert_eq!(task.id, first);
    }
}

/// Whoever heard no answer repeats the call as it was, and does not know how long ago the first one
/// came through.
#[tokio::test]
async fn a_call_repeated_after_its_quote_expired_is_the_task_it_was() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let fresh = quoted(&node, &caller, &picture("a fox")).await;
    let over = Request {
        quote: fresh
            .quote
            .as_ref()
            .map(|quote| aged(quote, &QUOTE_SECRET, QUOTE_LIFE)),
        ..fresh.clone()
    };
    let first = node.submit(&caller, fresh, Some("key")).await.unwrap();
    // While it runs and when it has ended; also another process and another key of the account.
    let again = node.submit(&caller, over.clone(), Some("key")).await;
    assert_eq!(again.unwrap().id, first.id);
    let done = ended(&node, &caller, first.id).await;
    for (node, caller) in [
        (&node, &caller),
        (&fixture.node().await, &fixture.live().await),
    ] {
        let again = node.submit(caller, over.clone(), Some("key")).await;
        assert_eq!(again.unwrap(), done);
    }
    assert_eq!(fixture.balance().await.available, CREDITS - PICTURE);

    // It is the key that stands for the task: without it, or with another, the quote has expired.
    for key in [None, Some("another key")] {
        let refused = node.submit(&caller, over.clone(), key).await;
        assert!(
            matches!(refused, Err(SubmitError::Quote(QuoteError::Expired))),
            "{key:?}: {refused:?}"
        );
    }
    // Nor does the key give anything to a request that it does not stand for, or to someone else.
    let other = Request {
        prompt: "a wolf".to_owned(),
        ..over.clone()
    };
    let refused = node.submit(&caller, other, Some("key")).await;
    assert!(matches!(
        refused,
        Err(SubmitError::Quote(QuoteError::OtherRequest))
    ));
    let stranger = fixture.stranger().await;
    let refused = node.submit(&stranger, over, Some("key")).await;
    assert!(matches!(
        refused,
        Err(SubmitError::Quote(QuoteError::OtherAccount))
    ));
    assert_eq!(fixture.balance().await.available, CREDITS - PICTURE);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_quote_tells_how_long_it_holds_and_what_it_cannot_know() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let before = SystemTime::now();
    let quote = node.quote(&caller, &picture("a fox")).await.unwrap();
    // Whole seconds.
    assert!(quote.expires_at > before + QUOTE_LIFE - Duration::from_secs(1));
    assert!(quote.expires_at <= SystemTime::now() + QUOTE_LIFE);
    let said = quote.unknowns.join(" ");
    for part in [
        "1 to 2 seconds",
        "accepts the prompt",
        "still has the credits",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let several = Request {
        count: Some(3),
        ..picture("a fox")
    };
    let quote = node.quote(&fixture.test().await, &several).await.unwrap();
    let said = quote.unknowns.join(" ");
    assert!(said.contains("all 3 files"), "{said}");
    assert!(!said.contains("credits"), "a test key moves none: {said}");
    // A quote asked for with a quote is a new one.
    let again = quoted(&node, &caller, &several).await;
    let nonsense = Request {
        quote: Some("x".to_owned()),
        ..several
    };
    let fresh = node.quote(&caller, &nonsense).await.unwrap();
    assert_eq!(fresh.credits, 3 * PICTURE);
    let task = run(&node, &caller, again).await;
    assert_eq!(task.credits.charged, 3 * PICTURE);
}
