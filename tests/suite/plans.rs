//! Plans as data, and the credits that they give each month: once, whoever gives them.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use piooy::accounts::{Account, Accounts, AccountsError, MONTHLY_CREDITS_MAX, Plan};
use piooy::cli::grant_monthly_credits;
use piooy::ledger::Ledger;

use crate::support::{self, TestDatabase};

/// 2030-12-15 00:00 UTC and the end of that month.
const MID_DECEMBER: u64 = 1_923_523_200;
const NEW_YEAR: u64 = 1_924_992_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn plan(name: &str, monthly_credits: i64) -> Plan {
    let number = |number| NonZeroU32::new(number).expect("is positive");
    Plan {
        name: name.to_owned(),
        submits_per_minute: number(1),
        reads_per_minute: number(1_000_000),
        concurrent_tasks: number(3),
        queued_tasks: 4,
        monthly_credits,
        free_tier_included: true,
    }
}

struct Fixture {
    accounts: Accounts,
    ledger: Ledger,
    database: TestDatabase,
}

impl Fixture {
    async fn new() -> Self {
        let database = support::database().await;
        Self {
            accounts: Accounts::new(database.store().clone()),
            ledger: Ledger::new(database.store().clone()),
            database,
        }
    }

    async fn account(&self, name: &str, plan: &str) -> Account {
        self.accounts.create(name, plan).await.unwrap()
    }

    /// How many accounts got credits.
    async fn grant(&self, now: u64) -> u64 {
        let granted = grant_monthly_credits(self.database.store(), at(now));
        granted.await.unwrap()
    }

    async fn available(&self, account: &Account) -> i64 {
        self.ledger.balance(account.id).await.unwrap().available
    }
}

#[tokio::test]
async fn the_plans_of_a_new_server_let_tasks_wait() {
    let fixture = Fixture::new().await;
    let plans = fixture.accounts.plans().await.unwrap();
    let found: Vec<_> = plans
        .iter()
        .map(|plan| (plan.name.as_str(), plan.queued_tasks, plan.monthly_credits))
        .collect();
    let expected = [("free", 0, 0), ("pro", 100, 0), ("unlimited", 50, 0)];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_plan_is_made_and_changed() {
    let Fixture { accounts, .. } = &Fixture::new().await;
    let made = plan("team", 500);
    assert_eq!(accounts.save_plan(&made).await.unwrap(), made);
    accounts.create("acme", "team").await.unwrap();
    let changed = Plan {
        queued_tasks: 0,
        free_tier_included: false,
        ..plan("team", 0)
    };
    assert_eq!(accounts.save_plan(&changed).await.unwrap(), changed);
    let (_, found) = accounts.account_with_plan("acme").await.unwrap().unwrap();
    assert_eq!(found, changed);
    assert_eq!(accounts.plans().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_refused() {
    let Fixture { accounts, .. } = &Fixture::new().await;
    let refused = accounts.save_plan(&plan("Team", 0)).await;
    assert!(matches!(refused, Err(AccountsError::PlanName)));
    let too_many = NonZeroU32::new(1_000_001).unwrap();
    let table = [
        plan("team", -1),
        plan("team", MONTHLY_CREDITS_MAX + 1),
        Plan {
            queued_tasks: 1_000_001,
            ..plan("team", 0)
        },
        Plan {
            submits_per_minute: too_many,
            ..plan("team", 0)
        },
        Plan {
            reads_per_minute: too_many,
            ..plan("team", 0)
        },
        Plan {
            concurrent_tasks: NonZeroU32::MAX,
            ..plan("team", 0)
        },
    ];
    for plan in table {
        let refused = accounts.save_plan(&plan).await;
        assert!(
            matches!(refused, Err(AccountsError::PlanNumbers)),
            "{plan:?}"
        );
    }
}

#[tokio::test]
async fn each_month_gives_its_credits_once() {
    let fixture = Fixture::new().await;
    fixture
        .accounts
        .save_plan(&plan("team", 500))
        .await
        .unwrap();
    let acme = fixture.account("acme", "team").await;
    let free = fixture.account("free", "free").await;

    let replicas = [(); 4].map(|()| fixture.grant(MID_DECEMBER));
    let granted = futures_util::future::join_all(replicas).await;
    assert_eq!(granted.iter().sum::<u64>(), 1, "{granted:?}");
    assert_eq!(fixture.available(&acme).await, 500);
    assert_eq!(fixture.available(&free).await, 0);

    // The last second of the month gives nothing more, whatever the plan is by then.
    fixture
        .accounts
        .save_plan(&plan("more", 900))
        .await
        .unwrap();
    fixture.accounts.set_plan("acme", "more").await.unwrap();
    fixture.accounts.set_plan("free", "team").await.unwrap();
    assert_eq!(fixture.grant(NEW_YEAR - 1).await, 1, "who had none");
    assert_eq!(fixture.available(&acme).await, 500);
    assert_eq!(fixture.grant(NEW_YEAR).await, 2);

    let page = fixture.ledger.entries(acme.id, None, 10).await.unwrap();
    let notes: Vec<&str> = page.iter().map(|entry| entry.note.as_str()).collect();
    let expected = ["monthly credits 2031-01", "monthly credits 2030-12"];
    assert_eq!(notes, expected);
}

#[tokio::test]
async fn what_is_due_ends_with_its_month() {
    let Fixture { accounts, .. } = &Fixture::new().await;
    accounts.save_plan(&plan("team", 500)).await.unwrap();
    let first = accounts.create("first", "team").await.unwrap();
    let second = accounts.create("second", "team").await.unwrap();
    let due = accounts
        .monthly_credits_due(at(MID_DECEMBER), None, 1)
        .await;
    let [due] = due.unwrap().try_into().unwrap();
    assert_eq!((due.account_id, due.credits), (first.id, 500));
    assert_eq!(
        (due.month.as_str(), due.expires_at),
        ("2030-12", at(NEW_YEAR))
    );
    let rest = accounts
        .monthly_credits_due(at(MID_DECEMBER), Some(first.id), 10)
        .await
        .unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].account_id, second.id);
}

#[tokio::test]
async fn an_account_that_is_full_does_not_keep_others_from_theirs() {
    let fixture = Fixture::new().await;
    fixture
        .accounts
        .save_plan(&plan("team", 500))
        .await
        .unwrap();
    let full = fixture.account("full", "team").await;
    let other = fixture.account("other", "team").await;
    let most = fixture.ledger.grant(full.id, i64::MAX, "", None).await;
    most.unwrap();
    assert_eq!(fixture.grant(MID_DECEMBER).await, 1);
    assert_eq!(fixture.available(&full).await, i64::MAX);
    assert_eq!(fixture.available(&other).await, 500);
    let due = fixture
        .accounts
        .monthly_credits_due(at(MID_DECEMBER), None, 10)
        .await
        .unwrap();
    assert_eq!(due.len(), 1, "it stays due");
}
