//! What tests share: a real PostgreSQL, and a database of its own for each test.
//!
//! - A test process runs one private server, on a copy of a data directory that is made once for
//!   each target directory (making one takes a second, copying it a few hundredths). So one process
//!   of `cargo test` has one server, each process of `cargo nextest` its own, and no two runs can
//!   meet.
//! - The server migrates one template database; [`database`] clones it.
//! - A small shell waits for the end of the test process, however it comes (its standard input, a
//!   pipe from us, closes), and then removes server and files. Nothing there is worth keeping: the
//!   server runs without `fsync` and is stopped the hard way.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock};

use piooy::egress::{Egress, Policy};
use piooy::store::{ClusterError, ClusterOptions, PrivateCluster, Store, StoreOptions};

/// A migrated, empty database for one test.
pub struct TestDatabase {
    store: Store,
    url: String,
}

impl TestDatabase {
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Makes a database for the calling test. Its pool is lazy and belongs to the calling runtime.
pub async fn database() -> TestDatabase {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let server = server();
    create_database(server.cluster.url(), &format!("{name} TEMPLATE {TEMPLATE}")).await;
    let url = url_of(server.cluster.url(), &name);
    let store = Store::connect(&url, StoreOptions::default())
        .await
        .expect("the new database takes connections");
    TestDatabase { store, url }
}

/// Clients want to know how they would speak TLS, though nothing here does. Only the first of all tests in this
/// process has anything to do.
pub fn speak_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The way to servers that tests run on this machine.
pub fn egress() -> Egress {
    static EGRESS: LazyLock<Egress> = LazyLock::new(|| {
        speak_tls();
        let policy = Policy {
            private_allowed: true,
        };
        Egress::new(policy).expect("a client can be made")
    });
    EGRESS.clone()
}

/// A cluster of the calling test's own, with its data directory made and nothing running. `name` is
/// the directory's.
pub fn stopped_cluster(name: &str) -> ClusterOptions {
    let server = server();
    let directory = server.directory.join(name);
    copy(&server.prepared, &directory);
    options(directory)
}

/// The same without a data directory.
pub fn absent_cluster(name: &str) -> ClusterOptions {
    options(server().directory.join(name))
}

const TEMPLATE: &str = "migrated";

struct Server {
    cluster: PrivateCluster,
    prepared: PathBuf,
    directory: PathBuf,
    /// Held for ever: the closing of its standard input tells it that we are gone.
    _shell: Child,
}

/// The server of this process. It outlives the runtime of the test that came first, so a thread
/// with a runtime of its own makes it.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(start_server())
        })
        .join()
        .expect("the test server starts")
    })
}

async fn start_server() -> Server {
    let root = prepared_root().await;
    let directory = root.join(format!("run-{}", std::process::id()));
    remove_if_present(&directory);
    fs::create_dir(&directory).expect("the test directory can be made");
    let prepared = root.join("prepared");
    copy(&prepared, &directory.join("cluster"));
    let cluster = PrivateCluster::own(&options(directory.join("cluster")))
        .await
        .expect("the server starts");
    let shell = remove_when_we_end(cluster.process_id(), &directory);
    create_database(cluster.url(), TEMPLATE).await;
    let template = Store::connect(&url_of(cluster.url(), TEMPLATE), StoreOptions::default()).await;
    template
        .expect("the template takes connections")
        .migrate()
        .await
        .expect("the migrations run");
    Server {
        cluster,
        prepared,
        directory,
        _shell: shell,
    }
}

/// The directory that holds the prepared cluster, below the target directory; or, when we are root
/// and the server's account cannot enter that, one beside the temporary files.
async fn prepared_root() -> PathBuf {
    let below_target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgresql");
    match prepare(&below_target).await {
        Err(ClusterError::Unreachable { .. }) => {
            let name = below_target.to_string_lossy().replace('/', "-");
            let elsewhere = std::env::temp_dir().join(format!("piooy-tests{name}"));
            prepare(&elsewhere)
                .await
                .expect("the server's account may enter the temporary directory");
            elsewhere
        }
        prepared => {
            prepared.expect("a cluster can be prepared");
            below_target
        }
    }
}

/// Makes the cluster that is copied, once. Processes that come together take turns.
async fn prepare(root: &Path) -> Result<(), ClusterError> {
    fs::create_dir_all(root).expect("the test directory can be made");
    let lock = File::create(root.join("prepare.lock")).expect("a lock file can be made");
    lock.lock().expect("the file system can lock");
    if !root.join("prepared/data").exists() {
        PrivateCluster::own(&options(root.join("prepared")))
            .await?
            .stop()
            .await;
    }
    Ok(())
}

fn options(directory: PathBuf) -> ClusterOptions {
    let settings = [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("max_connections", "500"),
        ("autovacuum", "off"),
    ];
    let settings = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    ClusterOptions {
        directory,
        settings,
    }
}

async fn create_database(url: &str, what: &str) {
    let store = Store::connect(url, StoreOptions { connections_max: 1 })
        .await
        .expect("the server takes connections");
    let client = store.client().await.expect("the server takes connections");
    client
        .batch_execute(&format!("CREATE DATABASE {what}"))
        .await
        .expect("the database can be made");
}

/// The address of database `name` on the server of `url`.
fn url_of(url: &str, name: &str) -> String {
    url.replace("/postgres?", &format!("/{name}?"))
}

fn remove_if_present(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory) {
        assert_eq!(
            error.kind(),
            io::ErrorKind::NotFound,
            "{} can be removed",
            directory.display()
        );
    }
}

/// Copies a directory with its owners and modes, which the standard library does not.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-Rp")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp runs");
    assert!(status.success(), "the prepared cluster can be copied");
}

/// Leaves a shell behind that stops the server and removes `directory` when this process is gone.
fn remove_when_we_end(server_process: u32, directory: &Path) -> Child {
    const SCRIPT: &str = r#"
        read -r _
        kill -QUIT "$1"
        tries=200
        while [ -e "$2/cluster/data/postmaster.pid" ] && [ $((tries -= 1)) -gt 0 ]; do
            sleep 0.05
        done
        rm -rf "$2""#;
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "sh", &server_process.to_string()])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in a terminal must not reach it.
        .process_group(0)
        .spawn()
        .expect("a shell runs")
}
