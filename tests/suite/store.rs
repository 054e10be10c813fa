//! The store: statements that PostgreSQL understands, migrations, and the life of a private
//! cluster.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::StreamExt;
use piooy::store::{ClusterError, Heard, Opened, PrivateCluster, Store, StoreError, StoreOptions};

use crate::support;

/// Statements live in files, one each; a wrong one must not wait for its first caller.
#[tokio::test]
async fn every_statement_prepares() {
    let database = support::database().await;
    let client = database.store().client().await.unwrap();
    let mut statements = Vec::new();
    collect_statements(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut statements,
    );
    assert!(!statements.is_empty());
    for path in statements {
        let statement = fs::read_to_string(&path).unwrap();
        // PostgreSQL refuses to prepare more than one statement at a time.
        if let Err(error) = client.prepare(&statement).await {
            panic!("{}: {:?}", path.display(), error);
        }
    }
}

/// The files `**/sql/*.sql` below `directory`.
fn collect_statements(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_statements(&path, found);
        } else if directory.ends_with("sql")
            && path.extension().is_some_and(|extension| extension == "sql")
        {
            found.push(path);
        }
    }
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let cluster = PrivateCluster::own(&support::stopped_cluster("migrations"))
        .await
        .unwrap();
    let url = cluster.url().to_owned();
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { connect(&url).await.migrate().await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    let store = connect(&url).await;
    store.migrate().await.unwrap();
    let counts = store
        .client()
        .await
        .unwrap()
        .query_one(
            "SELECT count(*), count(DISTINCT version) FROM refinery_schema_history",
            &[],
        )
        .await
        .unwrap();
    assert!(counts.get::<_, i64>(0) > 0);
    assert_eq!(counts.get::<_, i64>(0), counts.get::<_, i64>(1));
    cluster.stop().await;
}

#[tokio::test]
async fn a_listener_hears_and_says_when_it_may_have_missed_something() {
    let database = support::database().await;
    let client = database.store().client().await.unwrap();
    let mut listener = database.store().listen("matters");
    for round in ["one", "two"] {
        assert_eq!(listener.next().await, Some(Heard::Connected));
        client
            .execute("SELECT pg_notify('matters', $1)", &[&round])
            .await
            .unwrap();
        assert_eq!(
            listener.next().await,
            Some(Heard::Notification(round.to_owned()))
        );
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query = 'LISTEN matters'";
        assert_eq!(client.query(end, &[]).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_exhausted_pool_says_busy() {
    let database = support::database().await;
    let store = Store::connect(database.url(), StoreOptions { connections_max: 1 })
        .await
        .unwrap();
    let held = store.client().await.unwrap();
    assert!(matches!(store.client().await, Err(StoreError::Busy)));
    drop(held);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn an_absent_server_is_unavailable() {
    let absent = Store::connect(
        "postgresql:///x?user=y&host=/nowhere",
        StoreOptions::default(),
    )
    .await;
    assert!(matches!(absent.err(), Some(StoreError::Unavailable(_))));
    let mistyped = Store::connect("postgresql://host:port/", StoreOptions::default()).await;
    assert!(matches!(mistyped.err(), Some(StoreError::Url(_))));
}

/// The servers of the tests have no certificate: asking for TLS must fail rather than go on
/// without.
#[tokio::test]
async fn tls_that_was_asked_for_is_not_skipped() {
    let database = support::database().await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("{}&sslmode={mode}", database.url());
        let refused = Store::connect(&url, StoreOptions::default()).await;
        assert!(
            matches!(refused.err(), Some(StoreError::Unavailable(_))),
            "{mode}"
        );
    }
    connect(&format!("{}&sslmode=prefer", database.url())).await;
}

#[tokio::test]
async fn a_violated_constraint_is_named() {
    let database = support::database().await;
    let client = database.store().client().await.unwrap();
    client
        .batch_execute("CREATE TABLE t (n int CONSTRAINT n_is_small CHECK (n < 10))")
        .await
        .unwrap();
    let error = StoreError::from(
        client
            .execute("INSERT INTO t VALUES (10)", &[])
            .await
            .unwrap_err(),
    );
    assert_eq!(error.constraint(), Some("n_is_small"));
    assert!(!error.to_string().contains("INSERT"));
}

#[tokio::test]
async fn a_cluster_is_made_whole_and_kept() {
    let options = support::absent_cluster("made");
    // What a start that was killed while making the data directory leaves behind.
    let unfinished = options.directory.join("data.unfinished.1");
    fs::create_dir_all(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15").unwrap();

    let cluster = PrivateCluster::own(&options).await.unwrap();
    assert!(!unfinished.exists());
    execute(cluster.url(), "CREATE TABLE kept AS SELECT 1").await;
    cluster.stop().await;
    assert!(!options.directory.join("data/postmaster.pid").exists());

    let cluster = PrivateCluster::own(&options).await.unwrap();
    execute(cluster.url(), "INSERT INTO kept VALUES (2)").await;
    cluster.stop().await;
}

#[tokio::test]
async fn one_process_owns_and_the_others_share() {
    let options = support::stopped_cluster("shared");
    let opened = tokio::join!(
        PrivateCluster::open(&options),
        PrivateCluster::open(&options),
        PrivateCluster::open(&options),
    );
    let mut owned = Vec::new();
    let mut shared = Vec::new();
    for opened in [opened.0, opened.1, opened.2] {
        let opened = opened.unwrap();
        execute(opened.url(), "SELECT 1").await;
        match opened {
            Opened::Owned(cluster) => owned.push(cluster),
            Opened::Shared(cluster) => shared.push(cluster),
        }
    }
    assert_eq!((owned.len(), shared.len()), (1, 2));

    // The owner that wants to go first waits for the others.
    let owner = owned.pop().unwrap();
    let stop = tokio::spawn(owner.stop());
    tokio::task::yield_now().await;
    for cluster in shared {
        execute(cluster.url(), "SELECT 1").await;
    }
    stop.await.unwrap();
    assert!(!options.directory.join("data/postmaster.pid").exists());
}

#[tokio::test]
async fn a_killed_server_recovers() {
    let options = support::stopped_cluster("killed");
    let cluster = PrivateCluster::own(&options).await.unwrap();
    execute(cluster.url(), "CREATE TABLE kept AS SELECT 1").await;
    let process_id = cluster.process_id().to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &process_id])
            .status()
            .unwrap()
            .success()
    );
    cluster.stop().await;

    let cluster = PrivateCluster::own(&options).await.unwrap();
    execute(cluster.url(), "INSERT INTO kept VALUES (2)").await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_pid_file_that_names_another_program_is_no_obstacle() {
    let options = support::stopped_cluster("recycled");
    let data = options.directory.join("data");
    let socket_directory = options.directory.join("socket");
    let pid_file = format!(
        "{}\n{}\n1\n5432\n{}\n\n1 1\nready\n",
        std::process::id(),
        data.display(),
        socket_directory.display()
    );
    fs::write(data.join("postmaster.pid"), pid_file).unwrap();
    let cluster = PrivateCluster::own(&options).await.unwrap();
    execute(cluster.url(), "SELECT 1").await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_cluster_dropped_without_stop_makes_way_for_the_next() {
    let options = support::stopped_cluster("dropped");
    drop(PrivateCluster::own(&options).await.unwrap());
    let cluster = PrivateCluster::own(&options).await.unwrap();
    execute(cluster.url(), "SELECT 1").await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_long_path_gets_a_short_socket() {
    let options = support::stopped_cluster(&"long".repeat(30));
    let cluster = PrivateCluster::own(&options).await.unwrap();
    execute(cluster.url(), "SELECT 1").await;
    let Opened::Shared(shared) = PrivateCluster::open(&options).await.unwrap() else {
        panic!("the server has an owner");
    };
    execute(shared.url(), "SELECT 1").await;
    drop(shared);
    cluster.stop().await;
}

/// Root's server runs as another user, who may not be able to get at what root can.
#[tokio::test]
async fn a_directory_that_the_server_cannot_enter_is_named() {
    let mut options = support::absent_cluster("closed");
    let closed = options.directory.clone();
    fs::DirBuilder::new().mode(0o700).create(&closed).unwrap();
    options.directory = closed.join("cluster");
    match PrivateCluster::own(&options).await {
        Err(ClusterError::Unreachable { directory, .. }) => {
            assert_eq!(directory, closed.canonicalize().unwrap())
        }
        Err(error) => panic!("{error}"),
        Ok(cluster) => {
            assert_ne!(
                fs::metadata(&closed).unwrap().uid(),
                0,
                "root's directory cannot be entered"
            );
            cluster.stop().await;
        }
    }
}

async fn connect(url: &str) -> Store {
    Store::connect(url, StoreOptions::default()).await.unwrap()
}

async fn execute(url: &str, statement: &str) {
    connect(url)
        .await
        .client()
        .await
        .unwrap()
        .batch_execute(statement)
        .await
        .unwrap();
}
