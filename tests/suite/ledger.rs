//! The ledger: no account ever owes, no movement is lost or made twice, nothing is rewritten
//! unseen.

use std::time::{Duration, SystemTime};

use piooy::ledger::{
    Balance, Chains, Entry, EntryFilter, Kind, Ledger, LedgerAccount, LedgerError, MovementError,
    NOTE_CHARACTERS_MAX,
};
use piooy::store::{Store, StoreError};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::generation::fixture::until;
use crate::support;

/// A hold as asked for: account, task, amount.
type Hold = (Uuid, Uuid, i64);
/// A settlement as asked for: account, task, held, charged.
type Settlement = (Uuid, Uuid, i64, i64);

/// Adds to the chains of accounts in one transaction.
async fn append<T>(store: &Store, accounts: &[Uuid], add: impl FnOnce(&mut Chains) -> T) -> T {
    let mut client = store.client().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let mut chains = Chains::lock(&transaction, accounts).await.unwrap();
    let added = add(&mut chains);
    chains.append(&transaction).await.unwrap();
    transaction.commit().await.unwrap();
    added
}

/// Holds in one transaction; says for each whether it was accepted and what was available after it.
async fn hold(store: &Store, holds: &[Hold]) -> Vec<(bool, i64)> {
    let accounts: Vec<Uuid> = holds.iter().map(|hold| hold.0).collect();
    let verdict = |chains: &mut Chains, (account, task, amount)| {
        let accepted = chains.hold(account, task, amount).is_ok();
        (accepted, chains.balance(account).unwrap().available)
    };
    append(store, &accounts, |chains| {
        holds.iter().map(|&hold| verdict(chains, hold)).collect()
    })
    .await
}

/// Settles in one transaction, as far as that can be.
async fn settle(store: &Store, settlements: &[Settlement]) -> Result<(), MovementError> {
    let accounts: Vec<Uuid> = settlements.iter().map(|settlement| settlement.0).collect();
    append(store, &accounts, |chains| {
        settlements
            .iter()
            .try_for_each(|&(account, task, held, charged)| {
                chains.settle(account, task, held, charged)
            })
    })
    .await
}

async fn run(store: &Store, statements: &str) -> Result<(), tokio_postgres::Error> {
    store
        .client()
        .await
        .unwrap()
        .batch_execute(statements)
        .await
}

async fn assert_sound(ledger: &Ledger) {
    assert_eq!(ledger.verify().await.unwrap().differences, []);
}

/// A page of all entries of an account, newest first.
async fn entries_of(
    ledger: &Ledger,
    account: Uuid,
    before: Option<i64>,
    limit: usize,
) -> Vec<Entry> {
    let page = ledger
        .entries(account, &EntryFilter::default(), before, limit)
        .await;
    page.unwrap().entries
}

/// Kind, amount and balances of an account's entries, oldest first.
async fn chain(ledger: &Ledger, account: Uuid) -> Vec<(Kind, i64, i64, i64)> {
    let mut entries = entries_of(ledger, account, None, 100).await;
    entries.reverse();
    entries
        .iter()
        .map(|entry| (entry.kind, entry.amount, entry.available, entry.held))
        .collect()
}

#[tokio::test]
async fn an_account_without_entries_has_nothing() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let account = Uuid::now_v7();
    assert_eq!(
        ledger.balance(account).await.unwrap(),
        Balance {
            available: 0,
            held: 0
        }
    );
    assert_eq!(entries_of(&ledger, account, None, 10).await, []);
    assert_eq!(
        hold(database.store(), &[(account, Uuid::now_v7(), 1)]).await,
        [(false, 0)]
    );
    assert_eq!(ledger.verify().await.unwrap().entries, 0);
}

#[tokio::test]
async fn concurrent_holds_never_overdraw() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let account = Uuid::now_v7();
    ledger.grant(account, 1000, "", None).await.unwrap();
    let holds: Vec<_> = (0..200)
        .map(|_| {
            let store = database.store().clone();
            tokio::spawn(async move { hold(&store, &[(account, Uuid::now_v7(), 7)]).await[0].0 })
        })
        .collect();
    let mut accepted = 0;
    for hold in holds {
        accepted += i64::from(hold.await.unwrap());
    }
    assert_eq!(accepted, 1000 / 7);
    let left = Balance {
        available: 1000 - 7 * accepted,
        held: 7 * accepted,
    };
    assert_eq!(ledger.balance(account).await.unwrap(), left);
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_hold_too_large_is_refused_alone() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let (rich, poor) = (Uuid::now_v7(), Uuid::now_v7());
    ledger.grant(rich, 100, "", None).await.unwrap();
    ledger.grant(poor, 10, "", None).await.unwrap();
    let asked = [
        (rich, 60),
        (poor, 11),
        (rich, 70),
        (rich, i64::MAX),
        (poor, 10),
        (rich, 40),
        (rich, 1),
        (poor, 0),
    ];
    let holds: Vec<Hold> = asked
        .iter()
        .map(|&(account, amount)| (account, Uuid::now_v7(), amount))
        .collect();
    assert_eq!(
        hold(database.store(), &holds).await,
        [
            (true, 40),
            (false, 10),
            (false, 40),
            (false, 40),
            (true, 0),
            (true, 0),
            (false, 0),
            (true, 0)
        ]
    );
    assert_eq!(
        chain(&ledger, rich).await,
        [
            (Kind::Grant, 100, 100, 0),
            (Kind::Hold, 60, 40, 60),
            (Kind::Hold, 40, 0, 100)
        ]
    );
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn settling_captures_the_charge_and_releases_the_rest() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let account = Uuid::now_v7();
    let [partly, wholly, not_at_all] = [0; 3].map(|_| Uuid::now_v7());
    ledger.grant(account, 100, "", None).await.unwrap();
    hold(
        database.store(),
        &[
            (account, partly, 10),
            (account, wholly, 20),
            (account, not_at_all, 30),
        ],
    )
    .await;
    let settlements = [
        (account, wholly, 20, 20),
        (account, not_at_all, 30, 0),
        (account, partly, 10, 4),
    ];
    settle(database.store(), &settlements).await.unwrap();
    assert_eq!(
        chain(&ledger, account).await[4..],
        [
            (Kind::Capture, 20, 40, 40),
            (Kind::Release, 30, 70, 10),
            (Kind::Capture, 4, 70, 6),
            (Kind::Release, 6, 76, 0),
        ]
    );
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn nothing_held_and_nothing_charged_is_recorded() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let (account, task) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(
        hold(database.store(), &[(account, task, 0)]).await,
        [(true, 0)]
    );
    settle(database.store(), &[(account, task, 0, 0)])
        .await
        .unwrap();
    assert_eq!(
        chain(&ledger, account).await,
        [(Kind::Hold, 0, 0, 0), (Kind::Capture, 0, 0, 0)]
    );
    assert_sound(&ledger).await;
}

/// What the code works out is checked once more by the database.
#[tokio::test]
async fn the_database_refuses_entries_that_cannot_be() {
    let database = support::database().await;
    let values = |kind: &str, amount: i64, available: i64, held: i64, open: i32, task: &str| {
        format!(
            "INSERT INTO ledger_entries (seq, amount, available, held, at, kind, account_id, task_id, open)
             VALUES (1, {amount}, {available}, {held}, now(), '{kind}', gen_random_uuid(), {task}, {open})"
        )
    };
    for (constraint, statement) in [
        (
            "ledger_available_not_negative",
            values("HOLD", 1, -1, 1, 1, "gen_random_uuid()"),
        ),
        (
            "ledger_held_not_negative",
            values("CAPTURE", 1, 1, -1, 0, "gen_random_uuid()"),
        ),
        (
            "ledger_open_not_negative",
            values("CAPTURE", 1, 1, 0, -1, "gen_random_uuid()"),
        ),
        (
            "ledger_entries_amount_check",
            values("GRANT", -1, 0, 0, 0, "NULL"),
        ),
        (
            "ledger_tasks_hold_and_settle",
            values("HOLD", 1, 1, 1, 1, "NULL"),
        ),
        (
            "ledger_tasks_hold_and_settle",
            values("EXPIRE", 1, 1, 1, 0, "gen_random_uuid()"),
        ),
    ] {
        let refused = run(database.store(), &statement).await.unwrap_err();
        assert_eq!(
            StoreError::from(refused).constraint(),
            Some(constraint),
            "{statement}"
        );
    }
}

/// Two transactions that did not lock both take the same number; one of them loses.
#[tokio::test]
async fn two_entries_never_share_a_place_in_the_chain() {
    let database = support::database().await;
    let insert =
        "INSERT INTO ledger_entries (seq, amount, available, held, at, kind, account_id, open)
        VALUES (1, 5, 5, 0, now(), 'GRANT', '01890000-0000-7000-8000-000000000001', 0)";
    run(database.store(), insert).await.unwrap();
    let refused = run(database.store(), insert).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::UNIQUE_VIOLATION));
}

#[tokio::test]
async fn grants_are_checked() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let account = Uuid::now_v7();
    for credits in [0, -1, i64::MIN] {
        assert!(matches!(
            ledger.grant(account, credits, "", None).await,
            Err(LedgerError::GrantNotPositive)
        ));
    }
    let longest = "é".repeat(NOTE_CHARACTERS_MAX);
    assert!(matches!(
        ledger
            .grant(account, 1, &(longest.clone() + "é"), None)
            .await,
        Err(LedgerError::NoteTooLong)
    ));
    ledger
        .grant(account, i64::MAX - 1, &longest, None)
        .await
        .unwrap();
    // Held credits count too: released, they would be available again.
    hold(database.store(), &[(account, Uuid::now_v7(), i64::MAX - 1)]).await;
    assert!(matches!(
        ledger.grant(account, 2, "", None).await,
        Err(LedgerError::Movement(MovementError::TooLarge))
    ));
    let balance = ledger.grant(account, 1, "", None).await.unwrap();
    assert_eq!(
        balance,
        Balance {
            available: 1,
            held: i64::MAX - 1
        }
    );
    assert_eq!(ledger.balance(account).await.unwrap(), balance);
    assert_sound(&ledger).await;
}

/// In so many days.
fn days(count: u64) -> Option<SystemTime> {
    Some(SystemTime::now() + Duration::from_secs(count * 24 * 60 * 60))
}

/// Makes the lots of the account that expire within so many days expire now.
async fn let_days_pass(store: &Store, count: u64) {
    let statement = format!(
        "UPDATE ledger_lots SET expires_at = expires_at - interval '{count} days' WHERE expires_at <> 'infinity'"
    );
    run(store, &statement).await.unwrap();
}

/// Waits until so many wait for a lock.
async fn until_waiting(store: &Store, count: i64) {
    let client = store.client().await.unwrap();
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database
        WHERE datname = current_database() AND NOT granted";
    until("they wait for their turn", async || {
        let row = client.query_one(waiting, &[]).await.unwrap();
        row.get::<_, i64>(0) == count
    })
    .await;
}

async fn lots(ledger: &Ledger, account: Uuid) -> Vec<i64> {
    let lots = ledger.lots(account).await.unwrap();
    lots.iter().map(|lot| lot.remaining).collect()
}

#[tokio::test]
async fn what_expires_first_is_spent_first() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let (account, task) = (Uuid::now_v7(), Uuid::now_v7());
    ledger.grant(account, 100, "bought", None).await.unwrap();
    assert_eq!(lots(&ledger, account).await, [0_i64; 0]);
    ledger.grant(account, 30, "later", days(20)).await.unwrap();
    ledger.grant(account, 50, "sooner", days(10)).await.unwrap();
    assert_eq!(lots(&ledger, account).await, [50, 30]);
    hold(database.store(), &[(account, task, 60)]).await;
    assert_eq!(lots(&ledger, account).await, [20]);
    // What is given back goes where it came from.
    settle(database.store(), &[(account, task, 60, 15)])
        .await
        .unwrap();
    assert_eq!(lots(&ledger, account).await, [35, 30]);
    assert_eq!(ledger.expire_due().await.unwrap(), 0);
    let_days_pass(database.store(), 10).await;
    assert_eq!(ledger.expire_due().await.unwrap(), 35);
    assert_eq!(ledger.expire_due().await.unwrap(), 0);
    assert_eq!(lots(&ledger, account).await, [30]);
    let_days_pass(database.store(), 10).await;
    assert_eq!(ledger.expire_due().await.unwrap(), 30);
    let balance = ledger.balance(account).await.unwrap();
    assert_eq!((balance.available, balance.held), (100, 0));
    let last = chain(&ledger, account).await;
    assert_eq!(
        last[last.len() - 2..],
        [(Kind::Expire, 35, 130, 0), (Kind::Expire, 30, 100, 0)]
    );
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn held_credits_do_not_expire() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let (account, task) = (Uuid::now_v7(), Uuid::now_v7());
    ledger.grant(account, 50, "", days(1)).await.unwrap();
    hold(database.store(), &[(account, task, 40)]).await;
    let_days_pass(database.store(), 1).await;
    assert_eq!(ledger.expire_due().await.unwrap(), 10);
    settle(database.store(), &[(account, task, 40, 25)])
        .await
        .unwrap();
    assert_eq!(ledger.balance(account).await.unwrap().available, 15);
    assert_eq!(ledger.expire_due().await.unwrap(), 0);
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn credits_spent_before_a_lot_came_are_not_its_own() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let account = Uuid::now_v7();
    ledger.grant(account, 100, "", None).await.unwrap();
    hold(database.store(), &[(account, Uuid::now_v7(), 60)]).await;
    ledger.grant(account, 50, "", days(1)).await.unwrap();
    assert_eq!(lots(&ledger, account).await, [50]);
    let_days_pass(database.store(), 1).await;
    // Whoever finds it at the same time finds it once.
    let expiries = (0..8).map(|_| ledger.expire_due());
    let taken = futures_util::future::try_join_all(expiries).await.unwrap();
    assert_eq!(taken.iter().sum::<i64>(), 50);
    assert_eq!(ledger.balance(account).await.unwrap().available, 40);
    assert_sound(&ledger).await;
}

/// Held when the lot came, they were none of it; they must not become part of it by coming back and
/// being spent next.
#[tokio::test]
async fn credits_that_come_back_after_a_lot_came_are_not_its_own() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let account = Uuid::now_v7();
    let tasks = [Uuid::now_v7(), Uuid::now_v7()];
    ledger.grant(account, 100, "bought", None).await.unwrap();
    hold(database.store(), &[(account, tasks[0], 60)]).await;
    ledger.grant(account, 50, "month", days(1)).await.unwrap();
    settle(database.store(), &[(account, tasks[0], 60, 0)])
        .await
        .unwrap();
    hold(database.store(), &[(account, tasks[1], 45)]).await;
    assert_eq!(lots(&ledger, account).await, [5]);
    let_days_pass(database.store(), 1).await;
    assert_eq!(ledger.expire_due().await.unwrap(), 5);
    assert_eq!(ledger.balance(account).await.unwrap().available, 100);
    assert_sound(&ledger).await;
}

/// As many replicas look for what is due as there are.
#[tokio::test]
async fn whoever_finds_nothing_due_any_more_changes_nothing() {
    let database = support::database().await;
    let (store, ledger) = (database.store(), Ledger::new(database.store().clone()));
    let (account, task) = (Uuid::now_v7(), Uuid::now_v7());
    ledger.grant(account, 10, "", days(1)).await.unwrap();
    ledger.grant(account, 50, "", days(2)).await.unwrap();
    let_days_pass(store, 1).await;
    // Two find it due, and something is held between their turns.
    let mut client = store.client().await.unwrap();
    let busy = client.transaction().await.unwrap();
    Chains::lock(&busy, &[account]).await.unwrap();
    let sweep = || {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.expire_due().await.unwrap() })
    };
    let first = sweep();
    until_waiting(store, 1).await;
    let held = {
        let store = store.clone();
        tokio::spawn(async move { hold(&store, &[(account, task, 30)]).await })
    };
    until_waiting(store, 2).await;
    let second = sweep();
    until_waiting(store, 3).await;
    busy.rollback().await.unwrap();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (10, 0));
    assert_eq!(held.await.unwrap(), [(true, 20)]);
    settle(store, &[(account, task, 30, 0)]).await.unwrap();
    assert_eq!(lots(&ledger, account).await, [50]);
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn nothing_is_granted_that_has_expired() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let past = Some(SystemTime::now() - Duration::from_secs(60));
    let refused = ledger.grant(Uuid::now_v7(), 1, "", past).await;
    assert!(matches!(refused, Err(LedgerError::GrantExpired)));
}

#[tokio::test]
async fn histories_are_paged_newest_first() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let account = Uuid::now_v7();
    for credits in 1..=5 {
        ledger
            .grant(account, credits, &format!("gift {credits}"), None)
            .await
            .unwrap();
    }
    ledger
        .grant(Uuid::now_v7(), 9, "someone else's", None)
        .await
        .unwrap();
    let sequences = |entries: Vec<Entry>| {
        entries
            .iter()
            .map(|entry| entry.sequence)
            .collect::<Vec<_>>()
    };
    let newest = entries_of(&ledger, account, None, 2).await;
    assert_eq!(
        (newest[0].note.as_str(), newest[0].available),
        ("gift 5", 15)
    );
    assert_eq!(sequences(newest), [5, 4]);
    assert_eq!(
        sequences(entries_of(&ledger, account, Some(4), 2).await),
        [3, 2]
    );
    assert_eq!(
        sequences(entries_of(&ledger, account, Some(2), 2).await),
        [1]
    );
    assert_eq!(entries_of(&ledger, account, Some(1), 2).await, []);
    assert_eq!(
        entries_of(&ledger, account, None, usize::MAX).await.len(),
        5
    );
}

/// The names of both legs are known twice, to the code and to the view; they must agree.
#[tokio::test]
async fn every_entry_debits_one_account_and_credits_another() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let (account, task) = (Uuid::now_v7(), Uuid::now_v7());
    ledger.grant(account, 10, "", None).await.unwrap();
    hold(database.store(), &[(account, task, 10)]).await;
    settle(database.store(), &[(account, task, 10, 3)])
        .await
        .unwrap();
    let client = database.store().client().await.unwrap();
    let legs = client
        .query(
            "SELECT seq, side, ledger_account, amount FROM ledger_legs \
             ORDER BY seq DESC, side DESC",
            &[],
        )
        .await
        .unwrap();
    let legs: Vec<(i64, String, String, i64)> = legs
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let entries = entries_of(&ledger, account, None, 10).await;
    let leg = |entry: &Entry, side: &str, account: LedgerAccount| {
        (
            entry.sequence,
            side.to_owned(),
            account.name().to_owned(),
            entry.amount,
        )
    };
    let expected: Vec<_> = entries
        .iter()
        .flat_map(|entry| {
            [
                leg(entry, "DEBIT", entry.debit()),
                leg(entry, "CREDIT", entry.credit()),
            ]
        })
        .collect();
    assert_eq!(entries.len(), 4);
    assert_eq!(legs, expected);
}

#[tokio::test]
async fn entries_are_never_changed_or_removed() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let account = Uuid::now_v7();
    ledger.grant(account, 10, "", None).await.unwrap();
    let client = database.store().client().await.unwrap();
    for statement in [
        "UPDATE ledger_entries SET available = 1000",
        "UPDATE ledger_entries SET note = '' WHERE false",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM ledger_entries",
    ] {
        let refused = client.batch_execute(statement).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Some(&SqlState::RESTRICT_VIOLATION),
            "{statement}"
        );
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    assert_eq!(chain(&ledger, account).await, [(Kind::Grant, 10, 10, 0)]);
}

/// Whoever can switch the triggers off can rewrite the journal, but not unseen.
#[tokio::test]
async fn verification_finds_what_was_tampered_with() {
    for tampering in [
        "UPDATE ledger_entries SET amount = amount + 1 WHERE kind = 'CAPTURE'",
        "UPDATE ledger_entries SET available = available + 1 WHERE seq = 1",
        "UPDATE ledger_entries SET available = available + 1 WHERE seq = 4",
        "UPDATE ledger_entries SET held = held + 1 WHERE seq = 2",
        "UPDATE ledger_entries SET open = open + 1 WHERE seq = 2",
        "UPDATE ledger_entries SET open = open + 1 WHERE seq = 4",
        "UPDATE ledger_entries SET kind = 'RELEASE' WHERE kind = 'CAPTURE'",
        "UPDATE ledger_entries SET task_id = gen_random_uuid() WHERE kind = 'CAPTURE'",
        "UPDATE ledger_entries SET account_id = gen_random_uuid() WHERE seq = 4",
        "DELETE FROM ledger_entries WHERE seq = 1",
        "DELETE FROM ledger_entries WHERE seq = 2",
    ] {
        let database = support::database().await;
        let ledger = Ledger::new(database.store().clone());
        let (account, task) = (Uuid::now_v7(), Uuid::now_v7());
        ledger.grant(account, 100, "", None).await.unwrap();
        hold(database.store(), &[(account, task, 10)]).await;
        settle(database.store(), &[(account, task, 10, 4)])
            .await
            .unwrap();
        assert_sound(&ledger).await;
        let switch =
            |what| format!("ALTER TABLE ledger_entries {what} TRIGGER ledger_entries_are_final");
        let rewrite = format!(
            "{}; {tampering}; {}",
            switch("DISABLE"),
            switch("ENABLE ALWAYS")
        );
        run(database.store(), &rewrite).await.unwrap();
        assert_ne!(
            ledger.verify().await.unwrap().differences,
            [],
            "{tampering}"
        );
    }
}

#[tokio::test]
async fn verification_finds_a_task_settled_twice() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let (account, once, twice) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    ledger.grant(account, 100, "", None).await.unwrap();
    hold(
        database.store(),
        &[(account, once, 10), (account, twice, 10)],
    )
    .await;
    settle(database.store(), &[(account, twice, 10, 5)])
        .await
        .unwrap();
    assert_sound(&ledger).await;
    // The other task's hold pays for it, so that no balance shows it.
    settle(database.store(), &[(account, twice, 10, 5)])
        .await
        .unwrap();
    let verification = ledger.verify().await.unwrap();
    let [difference] = &verification.differences[..] else {
        panic!("{verification:?}");
    };
    assert_eq!(
        (difference.account_id, difference.task_id),
        (account, Some(twice))
    );
    assert_eq!((verification.accounts, verification.entries), (1, 7));
}

/// Many writers, each with batches over many accounts in any order: none waits for another for
/// ever, and every chain stays whole.
#[tokio::test]
async fn concurrent_writers_keep_every_chain_whole() {
    const WRITERS: u64 = 12;
    const ROUNDS: u64 = 25;
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let accounts: Vec<Uuid> = (0..8).map(|_| Uuid::now_v7()).collect();
    let writers: Vec<_> = (1..=WRITERS)
        .map(|seed| {
            tokio::spawn(write(
                database.store().clone(),
                accounts.clone(),
                seed,
                ROUNDS,
            ))
        })
        .collect();
    let (mut granted, mut charged) = (0, 0);
    for writer in writers {
        let sums = writer.await.unwrap();
        granted += sums.0;
        charged += sums.1;
    }
    let mut remaining = 0;
    for account in accounts {
        let balance = ledger.balance(account).await.unwrap();
        assert_eq!(balance.held, 0);
        remaining += balance.available;
    }
    assert!(charged > 0);
    assert_eq!(granted, charged + remaining);
    assert_sound(&ledger).await;
}

/// Rounds of one grant, some holds, and their settlement, drawn from `seed`. Returns what was
/// granted and what was charged.
async fn write(store: Store, accounts: Vec<Uuid>, seed: u64, rounds: u64) -> (i64, i64) {
    let ledger = Ledger::new(store.clone());
    let mut random = Random(seed);
    let (mut granted, mut charged) = (0, 0);
    for _ in 0..rounds {
        let credits = 1 + random.below(50);
        ledger
            .grant(random.one_of(&accounts), credits, "", None)
            .await
            .unwrap();
        granted += credits;
        let holds: Vec<Hold> = (0..1 + random.below(6))
            .map(|_| (random.one_of(&accounts), Uuid::now_v7(), random.below(40)))
            .collect();
        let verdicts = hold(&store, &holds).await;
        let settlements: Vec<Settlement> = holds
            .into_iter()
            .zip(verdicts)
            .filter(|(_, (accepted, _))| *accepted)
            .map(|((account, task, held), _)| (account, task, held, random.below(held + 1)))
            .collect();
        charged += settlements
            .iter()
            .map(|settlement| settlement.3)
            .sum::<i64>();
        settle(&store, &settlements).await.unwrap();
    }
    (granted, charged)
}

/// Numbers that depend on a seed alone (the constants are Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one_of(&mut self, accounts: &[Uuid]) -> Uuid {
        accounts[usize::try_from(self.below(i64::try_from(accounts.len()).unwrap())).unwrap()]
    }
}
