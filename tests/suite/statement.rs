//! Statements: what a filter lets pass, and that looking for little in much stays bounded.

use std::time::{Duration, SystemTime};

use piooy::ledger::{EXAMINED_MAX, EntryFilter, Kind, Ledger};
use uuid::Uuid;

use crate::support::{self, TestDatabase};

/// Entries of the account: a hold and its capture first, all others grants of 1 credit, a second apart.
const ENTRIES: i64 = 25_000;
const BEGIN: u64 = 1_700_000_000;

struct Fixture {
    ledger: Ledger,
    account: Uuid,
    task: Uuid,
    _database: TestDatabase,
}

/// The time of an entry.
fn at(sequence: i64) -> SystemTime {
    let seconds = u64::try_from(sequence).expect("is positive");
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + seconds)
}

impl Fixture {
    async fn new() -> Self {
        let database = support::database().await;
        let ledger = Ledger::new(database.store().clone());
        let (account, task, template) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        // Rows are made from one that the ledger wrote, so that they have all that rows have.
        ledger.grant(template, 1, "", None).await.unwrap();
        ledger.grant(Uuid::now_v7(), 9, "", None).await.unwrap();
        let entries = "INSERT INTO ledger_entries
            SELECT (jsonb_populate_record(
                entry,
                jsonb_build_object(
                    'account_id', $2::uuid,
                    'seq', number,
                    'at', to_timestamp($4::bigint + number),
                    'available', number,
                    'held', CASE number WHEN 2 THEN 1 ELSE 0 END,
                    'kind', CASE number WHEN 2 THEN 'HOLD' WHEN 3 THEN 'CAPTURE' ELSE 'GRANT' END,
                    'task_id', CASE WHEN number IN (2, 3) THEN $3::uuid END
                )
            )).*
            FROM ledger_entries AS entry, generate_series(1, $5::bigint) AS number
            WHERE entry.account_id = $1";
        let client = database.store().client().await.unwrap();
        let begin = i64::try_from(BEGIN).unwrap();
        client
            .execute(entries, &[&template, &account, &task, &begin, &ENTRIES])
            .await
            .unwrap();
        Self {
            ledger,
            account,
            task,
            _database: database,
        }
    }

    /// The numbers of the entries of each page, to the last.
    async fn pages(&self, filter: &EntryFilter, limit: usize) -> Vec<Vec<i64>> {
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let page = self
                .ledger
                .entries(self.account, filter, before, limit)
                .await
                .unwrap();
            let numbers = page.entries.iter().map(|entry| entry.sequence);
            pages.push(numbers.collect());
            before = page.next;
            if before.is_none() {
                return pages;
            }
        }
    }
}

#[tokio::test]
async fn little_is_found_in_much_a_bounded_page_at_a_time() {
    let fixture = Fixture::new().await;
    let rare = EntryFilter {
        kinds: vec![Kind::Hold, Kind::Capture],
        ..EntryFilter::default()
    };
    let none: Vec<i64> = Vec::new();
    let pages = fixture.pages(&rare, 10).await;
    assert_eq!(pages, [none.clone(), none.clone(), vec![3, 2]]);
    assert_eq!(EXAMINED_MAX, 10_000, "so it takes three pages");

    let of_task = EntryFilter {
        task_id: Some(fixture.task),
        ..EntryFilter::default()
    };
    assert_eq!(fixture.pages(&of_task, 10).await, pages);
    // A full page ends where it is full.
    let pages = fixture.pages(&rare, 1).await;
    assert_eq!(pages[2..], [vec![3], vec![2], none]);
    let other = EntryFilter {
        task_id: Some(Uuid::now_v7()),
        ..EntryFilter::default()
    };
    let pages = fixture.pages(&other, 10).await;
    assert!(pages.len() == 3 && pages.iter().all(Vec::is_empty));
}

#[tokio::test]
async fn times_are_found_without_a_walk() {
    let fixture = Fixture::new().await;
    let between = |from, to| EntryFilter {
        from,
        to,
        ..EntryFilter::default()
    };
    let half = Duration::from_millis(500);
    let table: [(_, _, &[&[i64]]); 8] = [
        (Some(at(5)), Some(at(9)), &[&[8, 7, 6], &[5]]),
        (Some(at(5) - half), Some(at(9) - half), &[&[8, 7, 6], &[5]]),
        (Some(at(5) + half), Some(at(9) + half), &[&[9, 8, 7], &[6]]),
        (None, Some(at(3)), &[&[2, 1]]),
        (Some(at(ENTRIES)), None, &[&[ENTRIES]]),
        (Some(at(ENTRIES + 1)), None, &[&[]]),
        (None, Some(at(1)), &[&[]]),
        (Some(at(9)), Some(at(5)), &[&[]]),
    ];
    for (from, to, expected) in table {
        let found = fixture.pages(&between(from, to), 3).await;
        assert_eq!(found, expected, "{from:?} to {to:?}");
    }
    let held = EntryFilter {
        kinds: vec![Kind::Hold],
        ..between(None, Some(at(100)))
    };
    assert_eq!(fixture.pages(&held, 3).await, [[2]], "in one page");
}

#[tokio::test]
async fn without_a_filter_every_entry_is_told_once() {
    let fixture = Fixture::new().await;
    let all: Vec<i64> = fixture.pages(&EntryFilter::default(), 1000).await.concat();
    assert!(all.into_iter().eq((1..=ENTRIES).rev()));
    let stranger = Uuid::now_v7();
    let nothing = fixture
        .ledger
        .entries(stranger, &EntryFilter::default(), None, 10)
        .await
        .unwrap();
    assert!(nothing.entries.is_empty() && nothing.next.is_none());
    for odd in [i64::MIN, -1, 0, 1] {
        let page = fixture
            .ledger
            .entries(fixture.account, &EntryFilter::default(), Some(odd), 10)
            .await
            .unwrap();
        assert!(page.entries.is_empty() && page.next.is_none(), "{odd}");
    }
}
