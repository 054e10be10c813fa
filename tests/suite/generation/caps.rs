//! What a key may spend is decided where the credits are held.

use futures_util::future::join_all;
use piooy::accounts::SpendingCaps;
use piooy::generation::{Status, SubmitError};

use super::fixture::{CREDITS, Fixture, PICTURE, ended, picture};

fn total(credits: i64) -> SpendingCaps {
    SpendingCaps {
        total: Some(credits),
        ..SpendingCaps::NONE
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_spends_no_more_than_its_cap_whatever_comes_at_once() {
    let fixture = Fixture::new().await;
    let nodes = [fixture.node().await, fixture.node().await];
    let caller = fixture
        .capped(fixture.account.id, false, total(7 * PICTURE + 1))
        .await;
    let submit = |index: usize| {
        let request = picture("[sandbox:delay=10m] a fox");
        nodes[index % 2].submit(&caller, request, None)
    };
    let answers = join_all((0..60).map(submit)).await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(accepted, 7);
    for answer in answers {
        assert!(matches!(
            answer,
            Ok(_)
                | Err(SubmitError::SpendingCapReached {
                    needed: PICTURE,
                    window: "total",
                    resets_at: None,
                    ..
                })
        ));
    }
    // The account itself has plenty, and its other keys may spend it.
    let other = fixture.live().await;
    nodes[0]
        .submit(&other, picture("[sandbox:delay=10m] a fox"), None)
        .await
        .unwrap();
    assert_eq!(fixture.balance().await.available, CREDITS - 8 * PICTURE);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn what_a_task_gives_back_may_be_spent_again() {
    let fixture = Fixture::new().await;
    let node = fixture.node().await;
    let caps = SpendingCaps {
        per_hour: Some(PICTURE),
        per_day: Some(PICTURE),
        total: Some(PICTURE),
    };
    let caller = fixture.capped(fixture.account.id, false, caps).await;
    for _ in 0..3 {
        let failing = picture("[sandbox:fail=content_policy] a fox");
        let task = node.submit(&caller, failing, None).await.unwrap();
        assert_eq!(ended(&node, &caller, task.id).await.status, Status::Failed);
    }
    let task = node.submit(&caller, picture("a fox"), None).await.unwrap();
    assert_eq!(ended(&node, &caller, task.id).await.status, Status::Success);
    let refused = node.submit(&caller, picture("a fox"), None).await;
    assert!(matches!(
        refused,
        Err(SubmitError::SpendingCapReached {
            cap: PICTURE,
            window: "hour",
            spent: PICTURE,
            resets_at: Some(_),
            ..
        })
    ));
    fixture.assert_sound().await;
}
