//! The gate with API keys: who gets in, how soon a change holds, and what happens to those who guess.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use governor::clock::FakeRelativeClock;
use piooy::accounts::{
    Account, Accounts, ApiKey, KeyFault, NewKey, Scope, Scopes, Secret, SpendingCaps,
};
use piooy::gate::{Allowance, Caller, CredentialFault, Gate, Refusal, TokenFault};
use piooy::spec::method::Budget;

use crate::support::{self, TestDatabase};

mod tokens;

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
/// Within this time a change made on one replica must hold on all.
const SECOND: Duration = Duration::from_secs(1);

/// A gate of one replica, before an account on the plan `free`.
struct Fixture {
    gate: Gate<FakeRelativeClock>,
    clock: FakeRelativeClock,
    accounts: Accounts,
    account: Account,
    database: TestDatabase,
}

impl Fixture {
    async fn new() -> Fixture {
        let database = support::database().await;
        let accounts = Accounts::new(database.store().clone());
        let account = accounts.create("acme", "free").await.unwrap();
        let clock = FakeRelativeClock::default();
        let gate = Gate::with_clock(accounts.clone(), None, clock.clone()).unwrap();
        Fixture {
            gate,
            clock,
            accounts,
            account,
            database,
        }
    }

    async fn key(&self, change: impl FnOnce(&mut NewKey)) -> (Secret, ApiKey) {
        let mut new = NewKey {
            name: "a key".to_owned(),
            test: false,
            scopes: Scopes::DEFAULT,
            expires_at: None,
            caps: SpendingCaps::NONE,
        };
        change(&mut new);
        self.accounts
            .create_key(self.account.id, new)
            .await
            .unwrap()
    }

    async fn show_from(&self, from: IpAddr, credential: &str) -> Result<Caller, Refusal> {
        self.gate
            .authenticate(Some(credential), from, SystemTime::now())
            .await
    }

    async fn show(&self, key: &Secret) -> Result<Caller, Refusal> {
        self.show_from(HOME, key.expose()).await
    }

    /// From here on, asking the database about keys fails.
    async fn cut_off(&self) {
        let client = self.database.store().client().await.unwrap();
        client
            .batch_execute("ALTER TABLE api_keys RENAME TO api_keys_gone")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_key_lets_its_account_in() {
    let fixture = Fixture::new().await;
    for test in [false, true] {
        let (secret, key) = fixture.key(|new| new.test = test).await;
        let caller = fixture.show(&secret).await.unwrap();
        assert_eq!(caller.account_id(), fixture.account.id);
        assert_eq!(caller.account_name(), "acme");
        assert_eq!(caller.key_id(), Some(key.id));
        assert_eq!(caller.is_test(), test);
        assert_eq!(caller.scopes(), Scopes::DEFAULT);
        assert!(caller.spending_caps().is_none());
        assert_eq!(caller.plan().name, "free");
    }
}

#[tokio::test]
async fn each_refusal_says_what_is_wrong() {
    let fixture = Fixture::new().await;
    let missing = fixture.gate.authenticate(None, HOME, SystemTime::now());
    assert!(matches!(missing.await, Err(Refusal::KeyMissing)));

    let stranger = Secret::generate(false).unwrap();
    let unknown = fixture.show(&stranger).await;
    assert!(matches!(unknown, Err(Refusal::KeyUnknown)));

    let token = fixture.show_from(HOME, "eyJhbGciOiJFZERTQSJ9.e30.AA").await;
    let why = TokenFault::NotAccepted;
    assert!(matches!(token, Err(Refusal::TokenInvalid { why: found }) if found == why));
}

#[tokio::test]
async fn what_cannot_be_a_key_never_reaches_the_database() {
    let fixture = Fixture::new().await;
    let (secret, _) = fixture.key(|_| ()).await;
    fixture.cut_off().await;
    let mut typo = secret.expose().to_owned();
    let last = if typo.ends_with('0') { '1' } else { '0' };
    typo.pop();
    typo.push(last);
    for (text, fault) in [
        (typo.as_str(), KeyFault::Checksum),
        ("sk-0123", KeyFault::Foreign),
        ("", KeyFault::Empty),
    ] {
        let refused = fixture.show_from(HOME, text).await;
        let why = CredentialFault::Key(fault);
        assert!(matches!(refused, Err(Refusal::KeyMalformed { why: found }) if found == why));
    }
    let refused = fixture.show(&secret).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
}

#[tokio::test]
async fn a_key_in_use_asks_the_database_once_in_its_life() {
    let fixture = Fixture::new().await;
    let (secret, _) = fixture.key(|_| ()).await;
    fixture.show(&secret).await.unwrap();
    fixture.cut_off().await;
    fixture.show(&secret).await.unwrap();
    fixture.clock.advance(SECOND);
    let refused = fixture.show(&secret).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_show_one_key_at_once() {
    let fixture = Fixture::new().await;
    let (secret, key) = fixture.key(|_| ()).await;
    let gate = Arc::new(fixture.gate);
    let show = || {
        let (gate, text) = (Arc::clone(&gate), secret.expose().to_owned());
        tokio::spawn(async move {
            gate.authenticate(Some(&text), HOME, SystemTime::now())
                .await
        })
    };
    let shown: Vec<_> = (0..50).map(|_| show()).collect();
    for caller in shown {
        assert_eq!(caller.await.unwrap().unwrap().key_id(), Some(key.id));
    }
}

#[tokio::test]
async fn a_revocation_holds_here_at_once_and_elsewhere_within_a_second() {
    let fixture = Fixture::new().await;
    let clock = FakeRelativeClock::default();
    let replica = Gate::with_clock(fixture.accounts.clone(), None, clock.clone()).unwrap();
    let (secret, key) = fixture.key(|_| ()).await;
    let now = SystemTime::now();
    let on_replica = || replica.authenticate(Some(secret.expose()), HOME, now);
    fixture.show(&secret).await.unwrap();
    on_replica().await.unwrap();

    let revoke = fixture.accounts.revoke_key(fixture.account.id, key.id);
    revoke.await.unwrap();
    fixture.gate.forget();
    let here = fixture.show(&secret).await;
    assert!(matches!(here, Err(Refusal::KeyRevoked)));
    clock.advance(SECOND);
    assert!(matches!(on_replica().await, Err(Refusal::KeyRevoked)));
}

#[tokio::test]
async fn an_expiry_holds_to_the_moment() {
    let fixture = Fixture::new().await;
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let (secret, _) = fixture.key(|new| new.expires_at = Some(end)).await;
    let at = |now| fixture.gate.authenticate(Some(secret.expose()), HOME, now);
    at(end - Duration::from_millis(1)).await.unwrap();
    assert!(matches!(at(end).await, Err(Refusal::KeyExpired)));
}

#[tokio::test]
async fn a_change_of_plan_is_seen_within_a_second() {
    let fixture = Fixture::new().await;
    let (secret, _) = fixture.key(|_| ()).await;
    let free = fixture.show(&secret).await.unwrap();
    let before = spend(&fixture, &free).unwrap();
    fixture.accounts.set_plan("acme", "pro").await.unwrap();
    fixture.clock.advance(SECOND);
    let pro = fixture.show(&secret).await.unwrap();
    assert_eq!(pro.plan().name, "pro");
    let after = spend(&fixture, &pro).unwrap();
    assert!(after.limit > before.limit && after.remaining == after.limit - 1);
}

fn spend(fixture: &Fixture, caller: &Caller) -> Result<Allowance, Refusal> {
    fixture.gate.admit(caller, Scope::Generate, Budget::Submit)
}

#[tokio::test]
async fn one_account_has_one_budget_whatever_the_key() {
    let fixture = Fixture::new().await;
    let (live, _) = fixture.key(|_| ()).await;
    let (test, _) = fixture.key(|new| new.test = true).await;
    let live = fixture.show(&live).await.unwrap();
    let test = fixture.show(&test).await.unwrap();
    let limit = live.plan().submits_per_minute.get();
    for spent in 1..=limit {
        let caller = if spent % 2 == 0 { &live } else { &test };
        let allowance = spend(&fixture, caller).unwrap();
        assert_eq!(
            (allowance.limit, allowance.remaining),
            (limit, limit - spent)
        );
    }
    for caller in [&live, &test] {
        let Err(Refusal::RateLimited {
            allowance,
            retry_after,
        }) = spend(&fixture, caller)
        else {
            panic!("one call too many passed");
        };
        assert_eq!((allowance.remaining, allowance.reset_seconds), (0, 60));
        assert_eq!(retry_after, Duration::from_secs(60) / limit);
    }
    let read = fixture.gate.admit(&live, Scope::Read, Budget::Read);
    assert!(read.is_ok(), "reading has a budget of its own");

    let other = fixture.accounts.create("other", "free").await.unwrap();
    let key = NewKey {
        name: "other".to_owned(),
        test: false,
        scopes: Scopes::DEFAULT,
        expires_at: None,
        caps: SpendingCaps::NONE,
    };
    let (other, _) = fixture.accounts.create_key(other.id, key).await.unwrap();
    let other = fixture.show(&other).await.unwrap();
    assert!(
        spend(&fixture, &other).is_ok(),
        "so has every other account"
    );

    fixture.clock.advance(Duration::from_secs(60) / limit);
    assert!(spend(&fixture, &live).is_ok());
    assert!(spend(&fixture, &test).is_err());
}

#[tokio::test]
async fn a_call_without_its_scope_costs_nothing() {
    let fixture = Fixture::new().await;
    let (secret, _) = fixture
        .key(|new| new.scopes = Scopes::NONE.with(Scope::Read))
        .await;
    let caller = fixture.show(&secret).await.unwrap();
    for needed in [Scope::Generate, Scope::Keys, Scope::Admin] {
        let refused = fixture.gate.admit(&caller, needed, Budget::Read);
        assert!(
            matches!(refused, Err(Refusal::InsufficientScope { needed: named }) if named == needed)
        );
    }
    let allowance = fixture
        .gate
        .admit(&caller, Scope::Read, Budget::Read)
        .unwrap();
    assert_eq!(allowance.remaining, allowance.limit - 1);
}

#[tokio::test]
async fn a_key_makes_no_key_that_may_do_more() {
    let fixture = Fixture::new().await;
    let scopes = Scopes::DEFAULT.with(Scope::Keys);
    let (secret, _) = fixture
        .key(|new| (new.test, new.scopes) = (true, scopes))
        .await;
    let caller = fixture.show(&secret).await.unwrap();
    let new = |test, scopes| NewKey {
        name: "child".to_owned(),
        test,
        scopes,
        expires_at: None,
        caps: SpendingCaps::NONE,
    };
    assert!(caller.may_issue(&new(true, scopes)).is_ok());
    let live = caller.may_issue(&new(false, Scopes::DEFAULT));
    assert!(matches!(live, Err(Refusal::LiveKeyNeeded)));
    let admin = caller.may_issue(&new(true, Scopes::NONE.with(Scope::Admin)));
    let needed = Scope::Admin;
    assert!(matches!(admin, Err(Refusal::InsufficientScope { needed: named }) if named == needed));
}

#[tokio::test]
async fn a_capped_key_makes_no_key_that_spends_beside_it() {
    let fixture = Fixture::new().await;
    let caps = SpendingCaps {
        per_day: Some(10),
        total: Some(500),
        ..SpendingCaps::NONE
    };
    let (secret, _) = fixture.key(|new| new.caps = caps).await;
    let caller = fixture.show(&secret).await.unwrap();
    assert_eq!(caller.spending_caps(), caps);
    let issue = |test, caps| {
        caller.may_issue(&NewKey {
            name: "child".to_owned(),
            test,
            scopes: Scopes::DEFAULT,
            expires_at: None,
            caps,
        })
    };
    // With whatever caps: they would be caps of its own.
    let nothing = SpendingCaps {
        total: Some(0),
        ..caps
    };
    for child in [SpendingCaps::NONE, caps, nothing] {
        let refused = issue(false, child).unwrap_err();
        assert!(
            matches!(refused, Refusal::UncappedKeyNeeded),
            "{child:?}: {refused}"
        );
        issue(true, child).unwrap();
    }
}

#[tokio::test]
async fn a_test_key_revokes_no_live_key() {
    let fixture = Fixture::new().await;
    let (test_secret, test) = fixture.key(|new| new.test = true).await;
    let (live_secret, live) = fixture.key(|_| ()).await;
    let caller = fixture.show(&test_secret).await.unwrap();
    assert!(caller.may_revoke(&test).is_ok());
    let refused = caller.may_revoke(&live);
    assert!(matches!(refused, Err(Refusal::LiveKeyNeeded)));
    let caller = fixture.show(&live_secret).await.unwrap();
    assert!(caller.may_revoke(&test).is_ok() && caller.may_revoke(&live).is_ok());
}

/// Shows wrong keys from [`HOME`] until they are no longer looked at, and returns for how long.
async fn guess_until_closed(fixture: &Fixture) -> Duration {
    for _ in 0..1000 {
        let stranger = Secret::generate(false).unwrap();
        match fixture.show(&stranger).await {
            Err(Refusal::KeyUnknown) => continue,
            Err(Refusal::TooManyFailures { retry_after }) => return retry_after,
            other => panic!("{other:?}"),
        }
    }
    panic!("a thousand guesses were answered");
}

#[tokio::test]
async fn guessing_ends_soon_and_then_leaves_the_database_alone() {
    let fixture = Fixture::new().await;
    let retry_after = guess_until_closed(&fixture).await;
    fixture.cut_off().await;
    let stranger = Secret::generate(false).unwrap();
    for text in [stranger.expose(), "no key at all"] {
        let refused = fixture.show_from(HOME, text).await;
        assert!(matches!(refused, Err(Refusal::TooManyFailures { .. })));
    }
    let refused = fixture.show_from(ELSEWHERE, stranger.expose()).await;
    assert!(
        matches!(refused, Err(Refusal::Unavailable(_))),
        "others are still looked up"
    );
    fixture.clock.advance(retry_after);
    let refused = fixture.show(&stranger).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
}

#[tokio::test]
async fn a_key_in_use_passes_whatever_its_neighbours_do() {
    let fixture = Fixture::new().await;
    let (secret, _) = fixture.key(|_| ()).await;
    fixture.show(&secret).await.unwrap();
    fixture.clock.advance(SECOND);
    guess_until_closed(&fixture).await;
    fixture.show(&secret).await.unwrap();
    fixture.gate.forget();
    fixture.show(&secret).await.unwrap();
}

#[tokio::test]
async fn a_revoked_key_is_told_so_however_often_it_is_shown() {
    let fixture = Fixture::new().await;
    let (secret, key) = fixture.key(|_| ()).await;
    let revoke = fixture.accounts.revoke_key(fixture.account.id, key.id);
    revoke.await.unwrap();
    for _ in 0..100 {
        let refused = fixture.show(&secret).await;
        assert!(matches!(refused, Err(Refusal::KeyRevoked)));
    }
}
