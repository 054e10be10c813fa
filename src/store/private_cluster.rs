//! A PostgreSQL server of our own: made on first start, run on a unix socket, stopped with us.
//!
//! ```text
//! <directory>/owner.lock          held by the process that runs the server
//!             users.lock          shared by every process that uses it
//!             data/               PostgreSQL's data directory (appears whole, by a rename)
//!             socket/             where the server listens; nowhere else
//!             server.log          what the server has to say
//! ```
//!
//! **Who owns, who shares.** The server belongs to the process that holds `owner.lock` exclusively.
//! Others ([`PrivateCluster::open`]) find it held and connect beside it, holding `users.lock` in
//! common; an owner that stops first waits up to [`USERS_WAIT_MAX`] for that lock alone, so that
//! two short commands without a server between them do not cut each other off. Both are locks of
//! the kernel and go with the process, however it ends. Order: `users.lock`, then `owner.lock`.
//!
//! **Crashes.** If we are killed, PostgreSQL stays, and the next owner adopts it. If PostgreSQL is
//! killed, its own recovery does the rest. If the making of the data directory is cut short, the
//! leftovers have another name and are removed.
//!
//! **Access.** No TCP; the socket's directory is for its owner alone, and so `trust` is enough
//! inside. PostgreSQL refuses to run as root: then it runs as `postgres`, else `nobody`, who owns
//! everything below the directory but the locks and the log.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

mod account;
mod postmaster;
mod programs;

use account::Account;
use postmaster::{PidFile, Postmaster};
use programs::Programs;

/// How long an owner that stops waits for the others to finish.
const USERS_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long [`PrivateCluster::own`] waits for a command that is just finishing.
const OWNER_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long [`PrivateCluster::open`] waits for the server of another process to answer; it may be
/// making its data directory.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a lock or a file is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Longest path of a unix socket on the systems we know: `sun_path` holds 104 bytes on macOS and
/// 108 on Linux, with a final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// The socket's file name; the number is the port PostgreSQL believes it has.
const SOCKET_FILE: &str = ".s.PGSQL.5432";
/// The superuser of the cluster, and the name we connect by.
const SUPERUSER: &str = "piooy";
/// The database `initdb` makes for clients to use.
const DATABASE: &str = "postgres";
/// `server.log` is set aside at a start when it has grown past this. It holds starts, stops and
/// crashes, not statements.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// How the server is run. Given on its command line, so that a newer Piooy brings its own values to
/// an old cluster.
///
/// `min_wal_size` of the log is kept to be written over: while a new file of it is made, for tens of
/// milliseconds, nobody can commit. The memory is what a small host can spare; the processes left out (parallel workers,
/// replication) serve nothing here. Errors of statements reach whoever sent them, so the log keeps
/// only the server's own affairs.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("max_wal_size", "1GB"),
    ("min_wal_size", "512MB"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_logical_replication_workers", "0"),
    ("max_parallel_workers_per_gather", "0"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("jit", "off"),
    ("logging_collector", "off"),
    ("log_min_messages", "log"),
    ("log_checkpoints", "off"),
];

/// Where the cluster lives and how it differs from the usual.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// A directory for this cluster alone; made if absent.
    pub directory: PathBuf,
    /// Further PostgreSQL settings; they win over ours.
    pub settings: Vec<(String, String)>,
}

/// Why there is no server. For the operator who starts Piooy: the texts name paths and what to do,
/// and are not for callers of the API.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no cluster yet, and no installed version that is new enough to make one.
    #[error("PostgreSQL 15 or newer was not found; install it ({install}) or set DATABASE_URL")]
    ProgramsMissing {
        /// The shell command that installs PostgreSQL on this platform.
        install: &'static str,
    },
    /// The cluster exists, and the one major version that can run it, the one that made it, is not installed.
    #[error(
        "{} was made by PostgreSQL {version}, whose programs were not found; \
         install that version or set DATABASE_URL",
        directory.display()
    )]
    VersionMissing {
        /// PostgreSQL's data directory.
        directory: PathBuf,
        /// The major version that made it.
        version: u32,
    },
    /// We are root, and `/etc/passwd` has neither `postgres` nor `nobody` to run the server as.
    #[error(
        "PostgreSQL does not run as root, and there is no user postgres or nobody to run it as; \
         set DATABASE_URL"
    )]
    AccountMissing,
    /// We are root, and the user that is to run the server has no way into the cluster's directory.
    #[error(
        "PostgreSQL does not run as root, and the user {account} may not enter {}; \
         set PIOOY_DATA_DIR to a directory that every user may enter (such as /var/lib/piooy), \
         or set DATABASE_URL",
        directory.display()
    )]
    Unreachable {
        /// The user that the server would run as.
        account: String,
        /// The first directory on the way that is closed to that user.
        directory: PathBuf,
    },
    /// [`PrivateCluster::own`] waited, and another process still owns the server.
    #[error("another server already runs on {}", directory.display())]
    InUse {
        /// The cluster's directory.
        directory: PathBuf,
    },
    /// Another process holds the locks, but its server came neither up nor down in the time allowed.
    #[error("the database server of another process on {} does not answer", directory.display())]
    Unresponsive {
        /// The cluster's directory.
        directory: PathBuf,
    },
    /// Others could enter where the socket is to be, and with it the database as its superuser.
    #[error("{} belongs to someone else or is open to others; remove it", directory.display())]
    SocketDirectoryUnsafe {
        /// The directory of the socket, which may be among the temporary files.
        directory: PathBuf,
    },
    /// `initdb` failed.
    #[error("the database cluster could not be made: {output}")]
    Initialise {
        /// What it wrote to standard error.
        output: String,
    },
    /// The server ended, or did not accept work in the time a recovery may take.
    #[error("PostgreSQL did not start: {log}")]
    Start {
        /// What its log says of this start: the last two KiB at most.
        log: String,
    },
    /// A file or directory of the cluster could not be used.
    #[error("cannot {action} {}", path.display())]
    Files {
        /// What was tried, in words that follow "cannot".
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program's path.
        program: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Names the failed action and path of an [`io::Error`].
fn files(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::Files {
        action,
        path,
        source,
    }
}

/// What [`PrivateCluster::open`] found.
pub enum Opened {
    /// Nobody ran the server: it is ours, to be stopped by us.
    Owned(PrivateCluster),
    /// Another process runs it.
    Shared(SharedCluster),
}

impl Opened {
    /// The address of the database.
    pub fn url(&self) -> &str {
        match self {
            Self::Owned(cluster) => cluster.url(),
            Self::Shared(cluster) => cluster.url(),
        }
    }

    /// Ends the use: stops the server if it is ours.
    pub async fn close(self) {
        match self {
            Self::Owned(cluster) => cluster.stop().await,
            Self::Shared(_) => {}
        }
    }
}

/// The running server of another process. While this lives, that process puts off stopping it.
pub struct SharedCluster {
    url: String,
    _users: File,
}

impl SharedCluster {
    /// The address of the database.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A running server that belongs to this process.
///
/// Dropped without [`stop`](Self::stop), it is told to stop and not waited for.
pub struct PrivateCluster {
    url: String,
    postmaster: Postmaster,
    users: File,
    _owner: File,
}

impl PrivateCluster {
    /// Runs the server, and insists on being its owner: for a long-lived process.
    pub async fn own(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let place = Place::prepare(&options.directory)?;
        let users = place.lock_users().await?;
        let deadline = Instant::now() + OWNER_WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(owner) = place.try_lock_owner()? {
                return Self::run(place, options, users, owner).await;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(ClusterError::InUse {
            directory: place.directory,
        })
    }

    /// Reaches the server: beside the process that runs it, or by running it: for a short command.
    pub async fn open(options: &ClusterOptions) -> Result<Opened, ClusterError> {
        let place = Place::prepare(&options.directory)?;
        let users = place.lock_users().await?;
        let deadline = Instant::now() + SERVER_WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(owner) = place.try_lock_owner()? {
                return Ok(Opened::Owned(
                    Self::run(place, options, users, owner).await?,
                ));
            }
            if let Some(pid_file) = PidFile::read(&place.data()).filter(PidFile::is_ready) {
                return Ok(Opened::Shared(SharedCluster {
                    url: url(&pid_file.socket_directory),
                    _users: users,
                }));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(ClusterError::Unresponsive {
            directory: place.directory,
        })
    }

    /// The address of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id of the server.
    pub fn process_id(&self) -> u32 {
        self.postmaster.process_id()
    }

    /// Stops the server once nobody else uses it, at the latest after a bounded wait. No process
    /// stays behind.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + USERS_WAIT_MAX;
        // To turn a lock held in common into one held alone is done differently everywhere: give up
        // the one, then take the other.
        let _ = self.users.unlock();
        while self.users.try_lock().is_err() && Instant::now() < deadline {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        self.postmaster.stop().await;
        // Empty now; one among the temporary files should not stay there.
        let _ = fs::remove_dir(self.postmaster.socket_directory());
    }

    async fn run(
        place: Place,
        options: &ClusterOptions,
        users: File,
        owner: File,
    ) -> Result<Self, ClusterError> {
        let postmaster = match postmaster::adopt(&place.data()).await {
            Some(adopted) => adopted,
            None => start(&place, options).await?,
        };
        let url = url(&postmaster.socket_directory());
        Ok(Self {
            url,
            postmaster,
            users,
            _owner: owner,
        })
    }
}

/// The directory of a cluster, and who works in it.
struct Place {
    directory: PathBuf,
    account: Option<Account>,
}

impl Place {
    /// Makes `directory` if need be and sees to it that the server's account can work there.
    fn prepare(directory: &Path) -> Result<Self, ClusterError> {
        let account = Account::for_server()?;
        let mut builder = DirBuilder::new();
        // What is made on the way belongs to us, and the server's account has to pass through it.
        builder
            .recursive(true)
            .mode(if account.is_some() { 0o755 } else { 0o700 });
        builder
            .create(directory)
            .map_err(files("make", directory))?;
        let directory = directory.canonicalize().map_err(files("read", directory))?;
        if let Some(account) = &account {
            account.give(&directory)?;
            account.check_reach(&directory)?;
        }
        Ok(Self { directory, account })
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn lock_file(&self, name: &str) -> Result<File, ClusterError> {
        let path = self.directory.join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        options.open(&path).map_err(files("open", &path))
    }

    /// Becomes a user of the server. Waits while an owner is stopping it.
    async fn lock_users(&self) -> Result<File, ClusterError> {
        let file = self.lock_file("users.lock")?;
        let deadline = Instant::now() + SERVER_WAIT_MAX;
        while Instant::now() < deadline {
            match file.try_lock_shared() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL_INTERVAL).await,
                Err(TryLockError::Error(error)) => {
                    return Err(files("lock", &self.directory)(error));
                }
            }
        }
        Err(ClusterError::Unresponsive {
            directory: self.directory.clone(),
        })
    }

    fn try_lock_owner(&self) -> Result<Option<File>, ClusterError> {
        let file = self.lock_file("owner.lock")?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(files("lock", &self.directory)(error)),
        }
    }

    /// A directory for the socket that only the server's account may enter: `socket/`, or a short
    /// one among the temporary files when the path would be too long for a socket.
    fn socket_directory(&self) -> Result<PathBuf, ClusterError> {
        let inside = self.directory.join("socket");
        let socket = if inside.join(SOCKET_FILE).as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            inside
        } else {
            let digest = Sha256::digest(self.directory.as_os_str().as_encoded_bytes());
            let name: String = digest[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            std::env::temp_dir().join(format!("piooy-{name}"))
        };
        match DirBuilder::new().mode(0o700).create(&socket) {
            Ok(()) => {
                if let Some(account) = &self.account {
                    account.give(&socket)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(files("make", &socket)(error)),
        }
        // Anyone can make a directory among the temporary files: one that others could enter would
        // let them in as superuser.
        let metadata = fs::symlink_metadata(&socket).map_err(files("read", &socket))?;
        let is_ours = metadata.uid() == account::server_user_id(self.account.as_ref());
        if metadata.is_dir() && is_ours && metadata.mode() & 0o077 == 0 {
            Ok(socket)
        } else {
            Err(ClusterError::SocketDirectoryUnsafe { directory: socket })
        }
    }

    /// Opens the server's log for appending, setting the old one aside when it has grown large.
    fn log(&self) -> Result<File, ClusterError> {
        let path = self.log_path();
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            fs::rename(&path, path.with_extension("log.old")).map_err(files("rename", &path))?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options.open(&path).map_err(files("open", &path))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }
}

/// Starts the server on its data directory, making that first if there is none.
async fn start(place: &Place, options: &ClusterOptions) -> Result<Postmaster, ClusterError> {
    let programs = Programs::find(&place.data())?;
    if !place.data().exists() {
        initialise(place, &programs).await?;
    }
    let socket_directory = place.socket_directory()?;
    // A list of directories to PostgreSQL: quoted, a comma or a space in ours stays part of the
    // name.
    let quoted = format!(
        "\"{}\"",
        socket_directory.display().to_string().replace('"', "\"\"")
    );
    let settings = SETTINGS
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .chain([format!("unix_socket_directories={quoted}")])
        .chain(
            options
                .settings
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
    let command = || {
        let mut command =
            account::command(&programs.postgres, place.account.as_ref(), &place.directory);
        command
            .arg("-D")
            .arg(place.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        for setting in settings.clone() {
            command.arg("-c").arg(setting);
        }
        command
    };
    postmaster::start(command, &place.data(), &place.log_path(), || place.log()).await
}

/// Makes the data directory under another name and then renames it.
async fn initialise(place: &Place, programs: &Programs) -> Result<(), ClusterError> {
    const UNFINISHED: &str = "data.unfinished.";
    for entry in fs::read_dir(&place.directory)
        .map_err(files("read", &place.directory))?
        .flatten()
    {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes())
        {
            fs::remove_dir_all(entry.path()).map_err(files("remove", &entry.path()))?;
        }
    }
    let unfinished = place
        .directory
        .join(format!("{UNFINISHED}{}", std::process::id()));
    let mut command = account::command(&programs.initdb, place.account.as_ref(), &place.directory);
    command
        .arg("--pgdata")
        .arg(&unfinished)
        .args([
            "--username",
            SUPERUSER,
            "--auth-local=trust",
            "--auth-host=reject",
        ])
        .args(["--encoding=UTF8", "--locale=C", "--no-instructions"]);
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| ClusterError::Run {
            program: programs.initdb.clone(),
            source,
        })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ClusterError::Initialise { output });
    }
    fs::rename(&unfinished, place.data()).map_err(files("rename", &unfinished))?;
    // The rename itself is durable once the directory that holds the name is.
    File::open(&place.directory)
        .and_then(|directory| directory.sync_all())
        .map_err(files("write", &place.directory))
}

/// The address of the database behind a socket.
fn url(socket_directory: &Path) -> String {
    let host: String = socket_directory
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                char::from(*byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    format!("postgresql:///{DATABASE}?user={SUPERUSER}&host={host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a killed owner leaves: its locks are free, its server runs on.
    fn kill(cluster: PrivateCluster) -> std::process::Child {
        let PrivateCluster { postmaster, .. } = cluster;
        postmaster.abandon()
    }

    #[tokio::test]
    async fn the_server_of_a_killed_owner_is_adopted() {
        let directory = std::env::temp_dir().join(format!("piooy-adopt-{}", std::process::id()));
        let options = ClusterOptions {
            directory: directory.clone(),
            settings: vec![("fsync".to_owned(), "off".to_owned())],
        };
        let first = PrivateCluster::own(&options)
            .await
            .expect("a server starts");
        let process_id = first.process_id();
        let mut child = kill(first);
        // Our parent is not there to collect the process, as it would be after a real kill.
        let collector = std::thread::spawn(move || child.wait());
        let second = PrivateCluster::own(&options)
            .await
            .expect("the server is found");
        assert_eq!(second.process_id(), process_id);
        second.stop().await;
        let status = collector
            .join()
            .expect("waiting does not panic")
            .expect("it was our child");
        assert!(status.success(), "{status}");
        fs::remove_dir_all(directory).expect("it can be removed");
    }

    #[test]
    fn a_url_survives_any_directory_name() {
        let url = url(Path::new("/tmp/a b&c=é"));
        assert_eq!(
            url,
            "postgresql:///postgres?user=piooy&host=/tmp/a%20b%26c%3D%C3%A9"
        );
    }
}
