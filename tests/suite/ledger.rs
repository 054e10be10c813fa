//! The ledger: no account ever owes, no movement is lost or made twice, nothing is rewritten
//! unseen.

use piooy::ledger::{
    Balance, Entry, EntryFilter, Kind, Ledger, LedgerAccount, LedgerError, NOTE_CHARACTERS_MAX,
};
use piooy::store::{Store, StoreError};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::support;

/// A hold as asked of `ledger_hold`: account, task, amount.
type Hold = (Uuid, Uuid, i64);
/// A settlement as asked of `ledger_settle`: account, task, held, charged.
type Settlement = (Uuid, Uuid, i64, i64);

/// Holds in one statement; says for each whether it was accepted and what was available after it.
async fn hold(store: &Store, holds: &[Hold]) -> Result<Vec<(bool, i64)>, tokio_postgres::Error> {
    let accounts: Vec<Uuid> = holds.iter().map(|hold| hold.0).collect();
    let tasks: Vec<Uuid> = holds.iter().map(|hold| hold.1).collect();
    let amounts: Vec<i64> = holds.iter().map(|hold| hold.2).collect();
    let client = store.client().await.unwrap();
    let statement = client
        .prepare_cached("SELECT * FROM ledger_hold($1, $2, $3)")
        .await?;
    let rows = client
        .query(&statement, &[&accounts, &tasks, &amounts])
        .await?;
    let ordinals: Vec<i32> = rows.iter().map(|row| row.get("ordinal")).collect();
    assert!(
        ordinals.into_iter().eq((1..).take(holds.len())),
        "one verdict for each hold, in order"
    );
    Ok(rows
        .iter()
        .map(|row| (row.get("accepted"), row.get("available")))
        .collect())
}

async fn settle(store: &Store, settlements: &[Settlement]) -> Result<(), tokio_postgres::Error> {
    let accounts: Vec<Uuid> = settlements.iter().map(|settlement| settlement.0).collect();
    let tasks: Vec<Uuid> = settlements.iter().map(|settlement| settlement.1).collect();
    let held: Vec<i64> = settlements.iter().map(|settlement| settlement.2).collect();
    let charged: Vec<i64> = settlements.iter().map(|settlement| settlement.3).collect();
    let client = store.client().await.unwrap();
    let statement = client
        .prepare_cached("SELECT ledger_settle($1, $2, $3, $4)")
        .await?;
    client
        .execute(&statement, &[&accounts, &tasks, &held, &charged])
        .await?;
    Ok(())
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
        hold(database.store(), &[(account, Uuid::now_v7(), 1)])
            .await
            .unwrap(),
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
            tokio::spawn(async move {
                hold(&store, &[(account, Uuid::now_v7(), 7)]).await.unwrap()[0].0
            })
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
        hold(database.store(), &holds).await.unwrap(),
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
    .await
    .unwrap();
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
        hold(database.store(), &[(account, task, 0)]).await.unwrap(),
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

#[tokio::test]
async fn no_task_is_charged_more_than_it_holds() {
    let database = support::database().await;
    let ledger = Ledger::new(database.store().clone());
    let (account, task, other) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    ledger.grant(account, 100, "", None).await.unwrap();
    hold(
        database.store(),
        &[(account, task, 10), (account, other, 10)],
    )
    .await
    .unwrap();
    let before = ledger.balance(account).await.unwrap();
    let refused = settle(
        database.store(),
        &[(account, other, 10, 10), (account, task, 10, 11)],
    )
    .await
    .unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INVALID_PARAMETER_VALUE));
    // One that claims to hold more than the account has on hold fails by the constraint.
    let refused = settle(database.store(), &[(account, task, 21, 21)])
        .await
        .unwrap_err();
    assert_eq!(
        StoreError::from(refused).constraint(),
        Some("ledger_held_not_negative")
    );
    assert_eq!(ledger.balance(account).await.unwrap(), before);
}

#[tokio::test]
async fn malformed_movements_are_refused() {
    let database = support::database().await;
    let (account, task) = (
        "'01890000-0000-7000-8000-000000000001'::uuid",
        "'01890000-0000-7000-8000-000000000002'::uuid",
    );
    for call in [
        format!("ledger_hold(ARRAY[{account}], ARRAY[{task}], ARRAY[-1])"),
        format!("ledger_hold(ARRAY[{account}], ARRAY[{task}], ARRAY[1, 1])"),
        format!("ledger_hold(ARRAY[{account}], ARRAY[NULL::uuid], ARRAY[0])"),
        format!("ledger_settle(ARRAY[{account}], ARRAY[{task}], ARRAY[0], ARRAY[-1])"),
        format!("ledger_settle(ARRAY[{account}], ARRAY[{task}], ARRAY[0], ARRAY[NULL]::bigint[])"),
        format!("ledger_settle(ARRAY[NULL::uuid], ARRAY[{task}], ARRAY[0], ARRAY[0])"),
    ] {
        let refused = run(database.store(), &format!("SELECT {call}"))
            .await
            .unwrap_err();
        assert_eq!(
            refused.code(),
            Some(&SqlState::INVALID_PARAMETER_VALUE),
            "{call}"
        );
    }
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
    hold(database.store(), &[(account, Uuid::now_v7(), i64::MAX - 1)])
        .await
        .unwrap();
    assert!(matches!(
        ledger.grant(account, 2, "", None).await,
        Err(LedgerError::BalanceTooLarge)
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
    hold(database.store(), &[(account, task, 10)])
        .await
        .unwrap();
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
        hold(database.store(), &[(account, task, 10)])
            .await
            .unwrap();
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
    .await
    .unwrap();
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
        let verdicts = hold(&store, &holds).await.unwrap();
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
