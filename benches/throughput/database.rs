//! The PostgreSQL server of the run, a database of its own for each figure, and accounts in it on a
//! plan that does not get in the way.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use piooy::accounts::{Accounts, NewKey, Scopes, SpendingCaps};
use piooy::gate::{Caller, Gate};
use piooy::generation;
use piooy::ledger::Ledger;
use piooy::store::{PrivateCluster, Store, StoreOptions};

use crate::Failure;

/// What each account starts with: nobody runs out.
pub const CREDITS: i64 = 1_000_000_000_000;

/// Connections of a figure's pool, as many as the server's own default.
const CONNECTIONS_MAX: usize = 16;

/// The PostgreSQL server.
pub struct Server {
    url: String,
    postmaster: u32,
    store: Store,
    /// Databases made so far.
    made: AtomicU32,
}

impl Server {
    /// The server of a cluster.
    pub async fn of(cluster: &PrivateCluster) -> Result<Self, Failure> {
        let url = cluster.url().to_owned();
        let store = Store::connect(&url, StoreOptions { connections_max: 1 }).await?;
        store.client().await?.batch_execute(AGE).await?;
        Ok(Self {
            url,
            postmaster: cluster.process_id(),
            store,
            made: AtomicU32::new(0),
        })
    }

    /// Makes an empty database and tells its address.
    pub async fn create(&self) -> Result<String, Failure> {
        let name = format!("figure_{}", self.made.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name}");
        self.store.client().await?.batch_execute(&create).await?;
        let mut url = url::Url::parse(&self.url)?;
        url.set_path(&name);
        Ok(url.into())
    }

    /// Makes a database with the schema and the plan of the figures in it.
    pub async fn database(&self) -> Result<Database, Failure> {
        let url = self.create().await?;
        let options = StoreOptions {
            connections_max: CONNECTIONS_MAX,
        };
        let store = Store::connect(&url, options).await?;
        store.migrate().await?;
        store.client().await?.batch_execute(PLAN).await?;
        let database = Database {
            url,
            postmaster: self.postmaster,
            store,
        };
        Ok(database)
    }
}

/// Writes the log around once: a server that has run for a while writes over old files of it, a fresh one holds
/// every commit up while it makes new ones.
const AGE: &str = "
    DO $$
    BEGIN
        FOR megabyte IN 1..1024 LOOP
            PERFORM pg_logical_emit_message(false, 'age', repeat('x', 1048576));
        END LOOP;
    END $$;
    CHECKPOINT;";

/// A plan without limits to speak of: more than the tables allow, so their checks go.
const PLAN: &str = r#"
    DO $$
    DECLARE
        rule name;
    BEGIN
        FOR rule IN SELECT conname FROM pg_constraint WHERE conrelid = 'plans'::regclass AND contype = 'c' LOOP
            EXECUTE format('ALTER TABLE plans DROP CONSTRAINT %I', rule);
        END LOOP;
    END $$;
    INSERT INTO plans
    SELECT (jsonb_populate_record(plan, '{
        "name": "bench", "free_tier_included": false,
        "submits_per_minute": 2000000000, "reads_per_minute": 2000000000,
        "concurrent_tasks": 2000000000, "queued_tasks": 0
    }')).*
    FROM plans AS plan WHERE plan.name = 'pro'"#;

/// A database of one figure.
pub struct Database {
    pub url: String,
    /// The process of the server.
    pub postmaster: u32,
    pub store: Store,
}

impl Database {
    /// Makes accounts, and a live key for each.
    pub async fn keys(&self, count: usize) -> Result<Vec<String>, Failure> {
        let accounts = Accounts::new(self.store.clone());
        let ledger = Ledger::new(self.store.clone());
        let mut keys = Vec::with_capacity(count);
        for number in 0..count {
            let account = accounts.create(&format!("bench-{number}"), "bench").await?;
            ledger.open(account.id, CREDITS, "").await?;
            let new = NewKey {
                name: "bench".to_owned(),
                test: false,
                scopes: Scopes::DEFAULT,
                expires_at: None,
                caps: SpendingCaps::NONE,
            };
            let (secret, _) = accounts.create_key(account.id, new).await?;
            keys.push(secret.expose().to_owned());
        }
        Ok(keys)
    }

    /// Makes accounts, and a caller for each.
    pub async fn callers(&self, count: usize) -> Result<Arc<[Caller]>, Failure> {
        let gate = Gate::new(Accounts::new(self.store.clone()), None)?;
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut callers = Vec::with_capacity(count);
        for key in self.keys(count).await? {
            let caller = gate.authenticate(Some(&key), from, SystemTime::now());
            callers.push(caller.await?);
        }
        Ok(callers.into())
    }

    /// Bytes of write-ahead log that the server ever wrote.
    pub async fn wal_bytes(&self) -> Result<f64, Failure> {
        let written = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8";
        let row = self.store.client().await?.query_one(written, &[]).await?;
        Ok(row.get(0))
    }

    /// A connection whose statements may take as long as they need.
    pub async fn patient(&self) -> Result<Store, Failure> {
        let store = Store::connect(&self.url, StoreOptions { connections_max: 1 }).await?;
        let patience = "SET statement_timeout = 0";
        store.client().await?.batch_execute(patience).await?;
        Ok(store)
    }

    /// Checks that no credit is out of place.
    pub async fn verify(&self) -> Result<(), Failure> {
        let found = generation::verify(&self.patient().await?).await?;
        if found.differences.is_empty() {
            Ok(())
        } else {
            Err(format!("the books are wrong: {:?}", found.differences).into())
        }
    }
}
