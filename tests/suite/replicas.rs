//! An account spent down to zero by hundreds of callers at once, again and again, through one node and
//! through three that share nothing but the database: exactly what can be paid is accepted, and what is
//! left is exactly nothing.

use futures_util::future::join_all;
use piooy::generation::{Generation, SubmitError};
use piooy::store::{Store, StoreOptions};

use crate::generation::fixture::{Fixture, PICTURE, picture, sandbox, settings};

/// Callers that come at the same moment.
const CALLERS: usize = 200;
/// How often the account is filled and spent.
const ROUNDS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_spent_to_zero_and_no_further() {
    let fixture = Fixture::new().await;
    let nodes = [idle_node(&fixture).await];
    spend_to_zero(&fixture, &nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_three_replicas_an_account_is_spent_to_zero_and_no_further() {
    let fixture = Fixture::new().await;
    let nodes = [
        idle_node(&fixture).await,
        idle_node(&fixture).await,
        idle_node(&fixture).await,
    ];
    spend_to_zero(&fixture, &nodes).await;
}

/// A node with a pool of its own that runs nothing: what is held stays held.
async fn idle_node(fixture: &Fixture) -> Generation {
    let connections = StoreOptions { connections_max: 8 };
    let store = Store::connect(fixture.database.url(), connections)
        .await
        .unwrap();
    let mut settings = settings();
    settings.running_tasks_max = 0;
    settings.open_tasks_max = CALLERS * ROUNDS;
    fixture.node_of(store, sandbox(), settings).await
}

async fn spend_to_zero(fixture: &Fixture, nodes: &[Generation]) {
    let caller = fixture.stranger().await;
    let mut spent = 0;
    for round in 0..ROUNDS {
        // From 0 to 147 of the two hundred can pay.
        let payable = (round * 3) as i64;
        if payable > 0 {
            fixture.grant(caller.account_id(), payable * PICTURE).await;
        }
        let submissions = (0..CALLERS)
            .map(|number| nodes[number % nodes.len()].submit(&caller, picture("a fox"), None));
        let mut accepted = 0;
        for answer in join_all(submissions).await {
            match answer {
                Ok(task) => {
                    assert_eq!(task.credits.held, PICTURE);
                    accepted += 1;
                }
                Err(SubmitError::InsufficientCredits { needed, available }) => {
                    assert_eq!((needed, available), (PICTURE, 0));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(accepted, payable, "round {round}");
        spent += payable * PICTURE;
        let balance = fixture.ledger.balance(caller.account_id()).await.unwrap();
        assert_eq!((balance.available, balance.held), (0, spent));
    }
    fixture.assert_sound().await;
}
