//! Accounts, plans and keys: what may exist, what is kept of a key, and the first start.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use piooy::accounts::{
    Account, Accounts, AccountsError, KEYS_MAX, KeyHash, NewKey, Scope, Scopes, SpendingCaps,
    secrets,
};
use uuid::Uuid;

use crate::support::{self, TestDatabase};

async fn accounts() -> (Accounts, TestDatabase) {
    let database = support::database().await;
    (Accounts::new(database.store().clone()), database)
}

fn new_key(name: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        test: false,
        scopes: Scopes::DEFAULT,
        expires_at: None,
        caps: SpendingCaps::NONE,
    }
}

/// The error's name and nothing else, so that tables can be compared.
fn name_of<T>(result: Result<T, AccountsError>) -> String {
    let error = format!("{:?}", result.err().expect("an error"));
    let end = error.find(|letter: char| !letter.is_alphanumeric());
    error[..end.unwrap_or(error.len())].to_owned()
}

#[tokio::test]
async fn an_account_has_a_name_of_its_own_and_a_plan_that_exists() {
    let (accounts, _database) = accounts().await;
    let made = accounts.create("acme.eu", "pro").await.unwrap();
    assert_eq!((made.name.as_str(), made.plan.as_str()), ("acme.eu", "pro"));
    assert_eq!(made.id.get_version_num(), 7);
    assert_eq!(accounts.by_name("acme.eu").await.unwrap(), made);

    assert_eq!(
        name_of(accounts.create("acme.eu", "free").await),
        "AccountExists"
    );
    assert_eq!(
        name_of(accounts.create("Acme", "free").await),
        "AccountName"
    );
    assert_eq!(name_of(accounts.by_name("nobody").await), "AccountUnknown");
    for plan in ["gold", "Gold\0"] {
        let error = accounts.create("other", plan).await.unwrap_err();
        assert!(
            error.to_string().ends_with("free, pro, unlimited"),
            "{error}"
        );
    }
    assert_eq!(name_of(accounts.by_name("other").await), "AccountUnknown");
}

#[tokio::test]
async fn an_account_moves_to_another_plan() {
    let (accounts, _database) = accounts().await;
    let made = accounts.create("acme", "free").await.unwrap();
    let moved = accounts.set_plan("acme", "unlimited").await.unwrap();
    let expected = Account {
        plan: "unlimited".to_owned(),
        ..made
    };
    assert_eq!(moved, expected);
    let (account, plan) = accounts.account_with_plan("acme").await.unwrap().unwrap();
    assert_eq!(account, expected);
    assert_eq!(plan.name, "unlimited");
    assert!(plan.free_tier_included);

    assert_eq!(
        name_of(accounts.set_plan("acme", "gold").await),
        "PlanUnknown"
    );
    assert_eq!(
        name_of(accounts.set_plan("nobody", "free").await),
        "AccountUnknown"
    );
    assert_eq!(accounts.account_with_plan("nobody").await.unwrap(), None);
    assert_eq!(accounts.account_with_plan("a\0").await.unwrap(), None);
}

#[tokio::test]
async fn accounts_are_listed_page_by_page() {
    let (accounts, _database) = accounts().await;
    for name in ["delta", "alpha", "charlie", "bravo"] {
        accounts.create(name, "free").await.unwrap();
    }
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().map(String::as_str);
        let page = accounts.list(after, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|account| account.name));
    }
    assert_eq!(seen, ["alpha", "bravo", "charlie", "delta"]);
    let all = accounts.list(None, u32::MAX).await.unwrap();
    assert_eq!(all.len(), 4);
}

#[tokio::test]
async fn a_key_is_found_by_its_hash_and_kept_nowhere() {
    let (accounts, database) = accounts().await;
    let account = accounts.create("acme", "pro").await.unwrap();
    let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let new = NewKey {
        test: true,
        scopes: Scopes::NONE.with(Scope::Keys).with(Scope::Read),
        expires_at: Some(expires_at),
        caps: SpendingCaps {
            per_hour: Some(0),
            per_day: None,
            total: Some(i64::MAX),
        },
        ..new_key("photo booth")
    };
    let (secret, key) = accounts.create_key(account.id, new.clone()).await.unwrap();
    assert_eq!(
        (key.account_id, key.name.as_str()),
        (account.id, "photo booth")
    );
    assert_eq!((key.test, key.scopes), (true, new.scopes));
    assert_eq!(key.caps, new.caps);
    assert_eq!(accounts.key(account.id, key.id).await.unwrap(), key);
    assert_eq!(
        (key.expires_at, key.revoked_at),
        (Some(expires_at), None),
        "to the microsecond"
    );
    assert!(secret.expose().starts_with(&key.prefix) && key.prefix.len() == 15);

    let hash = KeyHash::parse(secret.expose()).unwrap();
    let (found, of, plan) = accounts.find_key(&hash).await.unwrap().unwrap();
    assert_eq!((found, of), (key, account));
    assert_eq!(plan.name, "pro");

    let client = database.store().client().await.unwrap();
    let rows = client
        .query("SELECT to_jsonb(api_keys)::text FROM api_keys", &[])
        .await
        .unwrap();
    let kept: String = rows[0].get(0);
    assert!(!kept.contains(&secret.expose()[15..]), "{kept}");
}

#[tokio::test]
async fn keys_are_listed_newest_first_and_revoked_once() {
    let (accounts, _database) = accounts().await;
    let account = accounts.create("acme", "free").await.unwrap();
    let other = accounts.create("other", "free").await.unwrap();
    let (_, first) = accounts
        .create_key(account.id, new_key("first"))
        .await
        .unwrap();
    let (_, second) = accounts
        .create_key(account.id, new_key("second"))
        .await
        .unwrap();

    assert_eq!(
        name_of(accounts.revoke_key(other.id, first.id).await),
        "KeyUnknown"
    );
    assert_eq!(
        name_of(accounts.revoke_key(account.id, Uuid::nil()).await),
        "KeyUnknown"
    );
    assert_eq!(
        name_of(accounts.key(other.id, first.id).await),
        "KeyUnknown"
    );
    let revoked = accounts.revoke_key(account.id, first.id).await.unwrap();
    assert!(revoked.revoked_at.is_some());
    let again = accounts.revoke_key(account.id, first.id).await.unwrap();
    assert_eq!(again, revoked);

    let listed = accounts.list_keys(account.id).await.unwrap();
    assert_eq!(listed, [second, revoked]);
    assert_eq!(accounts.list_keys(other.id).await.unwrap(), []);
}

#[tokio::test]
async fn a_key_that_makes_no_sense_is_refused() {
    let (accounts, _database) = accounts().await;
    let account = accounts.create("acme", "free").await.unwrap();
    let past = NewKey {
        expires_at: Some(SystemTime::UNIX_EPOCH),
        ..new_key("past")
    };
    let idle = NewKey {
        scopes: Scopes::NONE,
        ..new_key("idle")
    };
    let indebted = NewKey {
        caps: SpendingCaps {
            per_day: Some(-1),
            ..SpendingCaps::NONE
        },
        ..new_key("indebted")
    };
    let administrator = NewKey {
        test: true,
        scopes: Scopes::NONE.with(Scope::Admin),
        ..new_key("administrator")
    };
    let table = [
        (account.id, administrator, "KeyTestAdmin"),
        (account.id, past, "KeyExpiry"),
        (account.id, indebted, "KeyCaps"),
        (account.id, idle, "KeyScopes"),
        (account.id, new_key(""), "KeyName"),
        (account.id, new_key("two\nlines"), "KeyName"),
        (account.id, new_key(&"ä".repeat(101)), "KeyName"),
        (Uuid::now_v7(), new_key("lost"), "AccountUnknown"),
    ];
    for (account_id, new, expected) in table {
        assert_eq!(
            name_of(accounts.create_key(account_id, new).await),
            expected
        );
    }
    accounts
        .create_key(account.id, new_key(&"ä".repeat(100)))
        .await
        .unwrap();
}

#[tokio::test]
async fn revoking_makes_room_for_another_key() {
    let (accounts, _database) = accounts().await;
    let account = accounts.create("acme", "free").await.unwrap();
    let mut last = None;
    for _ in 0..KEYS_MAX {
        last = Some(accounts.create_key(account.id, new_key("one")).await);
    }
    let full = accounts.create_key(account.id, new_key("more")).await;
    assert_eq!(name_of(full), "KeysTooMany");
    let (_, key) = last.unwrap().unwrap();
    accounts.revoke_key(account.id, key.id).await.unwrap();
    accounts
        .create_key(account.id, new_key("more"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_database_takes_no_nonsense() {
    let (accounts, database) = accounts().await;
    let account = accounts.create("acme", "free").await.unwrap();
    let (_, key) = accounts
        .create_key(account.id, new_key("one"))
        .await
        .unwrap();
    accounts.revoke_key(account.id, key.id).await.unwrap();
    let capped = NewKey {
        caps: SpendingCaps {
            total: Some(1),
            ..SpendingCaps::NONE
        },
        ..new_key("capped")
    };
    accounts.create_key(account.id, capped).await.unwrap();
    let client = database.store().client().await.unwrap();
    for statement in [
        "UPDATE api_keys SET revoked_at = NULL",
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE api_keys SET scopes = '{admin}'",
        "UPDATE api_keys SET cap_total = 1000000 WHERE revoked_at IS NULL",
        "UPDATE accounts SET name = 'Not a name'",
        "UPDATE plans SET submits_per_minute = 0",
        "DELETE FROM accounts",
        "DELETE FROM plans WHERE name = 'free'",
    ] {
        assert!(client.execute(statement, &[]).await.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn of_two_first_starts_one_makes_the_account() {
    let (accounts, database) = accounts().await;
    let replica = Accounts::new(database.store().clone());
    let shown = Mutex::new(Vec::new());
    let show = |keys: &piooy::accounts::FirstKeys| {
        shown
            .lock()
            .unwrap()
            .extend([keys.test.hash(), keys.live.hash()]);
    };
    let (one, other) = tokio::join!(accounts.first_start(show), replica.first_start(show));
    let account = one.unwrap().unwrap();
    assert_eq!(other.unwrap(), Some(account.clone()));
    assert_eq!(account.name, "dev");

    let hashes = shown.lock().unwrap().clone();
    assert_eq!(hashes.len(), 2, "one start showed its keys");
    for (hash, test) in hashes.iter().zip([true, false]) {
        let (key, of, _) = accounts.find_key(hash).await.unwrap().unwrap();
        assert_eq!((key.test, of.id), (test, account.id));
    }

    let later = accounts.first_start(|_| panic!("shown again")).await;
    assert_eq!(later.unwrap(), Some(account));
}

#[tokio::test]
async fn an_operators_accounts_are_left_alone() {
    let (accounts, _database) = accounts().await;
    accounts.create("dev", "free").await.unwrap();
    let started = accounts.first_start(|_| panic!("made keys")).await;
    assert_eq!(started.unwrap(), None);
}

#[tokio::test]
async fn a_first_start_that_dies_leaves_nothing_behind() {
    let (accounts, _database) = accounts().await;
    let dying = accounts.clone();
    let died = tokio::spawn(async move { dying.first_start(|_| panic!("killed")).await }).await;
    assert!(died.unwrap_err().is_panic());

    let mut shown = 0;
    let account = accounts.first_start(|_| shown += 1).await.unwrap();
    assert_eq!(shown, 1);
    let keys = accounts.list_keys(account.unwrap().id).await.unwrap();
    assert_eq!(keys.len(), 2);
}

#[tokio::test]
async fn a_secret_is_the_same_for_everyone() {
    let (_, database) = accounts().await;
    let ask = || secrets::get_or_create(database.store(), "links", 32);
    let (one, other) = tokio::join!(ask(), ask());
    let one = one.unwrap();
    assert_eq!(one.len(), 32);
    assert_ne!(one, [0; 32]);
    assert_eq!(other.unwrap(), one);
    assert_eq!(ask().await.unwrap(), one);
    let more = secrets::get_or_create(database.store(), "other", 32).await;
    assert_ne!(more.unwrap(), one);
}
