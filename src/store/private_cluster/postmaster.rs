//! The server process: starting, adopting and stopping it, by its `postmaster.pid` and by signals.
//!
//! Signals (PostgreSQL, "Shutting Down the Server"): SIGINT ends sessions and stops in order,
//! SIGQUIT stops at once and leaves the rest to recovery. Each is given a bounded time before the
//! next, harder one.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{ClusterError, SOCKET_FILE, files};

/// How long a start may take; recovery after a crash replays up to `max_wal_size`.
const START_WAIT_MAX: Duration = Duration::from_secs(120);
/// How long a server is given after each signal, in the order they are sent.
const STOP_STEPS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(15)),
    (Signal::QUIT, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];
/// How long a process that a pid file names, but that does not listen, is taken for a server on its
/// way up or down.
const TRANSITION_MAX: Duration = Duration::from_secs(10);
/// How long the orphans of a killed server may hold its shared memory before a new one gives up.
const ORPHANS_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a server that listens may take to answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);
/// The length of the message and the number of the request.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// A start is known by its pid file, a small read: often enough to lose no time.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How much of the log explains a failed start.
const LOG_TAIL_BYTES: u64 = 2048;

/// What a running server says of itself in `postmaster.pid` (PostgreSQL,
/// `src/include/utils/pidfile.h`).
pub(super) struct PidFile {
    process: Pid,
    pub(super) socket_directory: PathBuf,
    status: String,
}

impl PidFile {
    /// Reads the file in `data`, if it is there and complete.
    pub(super) fn read(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(path(data)).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let [process, _, _, _, socket_directory, _, _, status] = lines[..] else {
            return None;
        };
        let process = Pid::from_raw(process.parse().ok()?)?;
        Some(Self {
            process,
            socket_directory: socket_directory.into(),
            status: status.to_owned(),
        })
    }

    /// Whether the server accepts work.
    pub(super) fn is_ready(&self) -> bool {
        self.status == "ready" && self.is_answering().unwrap_or(false)
    }

    /// Whether the server answers the shortest question there is (PostgreSQL, "Message Formats",
    /// SSLRequest). A socket alone proves little: a server that was just killed has one, on which
    /// the kernel still takes connections, until the last of the process is gone.
    fn is_answering(&self) -> io::Result<bool> {
        let mut socket = UnixStream::connect(self.socket_directory.join(SOCKET_FILE))?;
        socket.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
        socket.write_all(&SSL_REQUEST)?;
        Ok(socket.read(&mut [0])? == 1)
    }

    /// Whether somebody listens on the socket. Ours is private, so it can only be this server:
    /// unlike the process id, which may have passed to another program since.
    fn is_listening(&self) -> bool {
        UnixStream::connect(self.socket_directory.join(SOCKET_FILE)).is_ok()
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("postmaster.pid")
}

/// A server process that is ours to stop.
pub(super) struct Postmaster {
    process: Pid,
    /// Absent when an earlier process of ours started it.
    child: Option<Child>,
    data: PathBuf,
    socket_directory: PathBuf,
    is_stopped: bool,
}

impl Postmaster {
    pub(super) fn socket_directory(&self) -> PathBuf {
        self.socket_directory.clone()
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.as_raw_pid().unsigned_abs()
    }

    /// Stops the server and waits until its process is gone.
    pub(super) async fn stop(&mut self) {
        for (signal, wait) in STOP_STEPS {
            self.signal(signal);
            let deadline = Instant::now() + wait;
            while Instant::now() < deadline {
                if self.is_gone() {
                    self.is_stopped = true;
                    return;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            tracing::warn!(
                process = self.process_id(),
                ?signal,
                "PostgreSQL does not stop"
            );
        }
    }

    /// Leaves the server running, as our being killed would.
    #[cfg(test)]
    pub(super) fn abandon(mut self) -> Child {
        self.is_stopped = true;
        self.child.take().expect("it was started by this process")
    }

    fn signal(&self, signal: Signal) {
        // It can only fail when the process is gone, which is what a signal is to bring about.
        let _ = kill_process(self.process, signal);
    }

    fn is_gone(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            // Its last act is to remove its pid file. The process itself stays listed until its
            // parent, no longer us, has noticed.
            None => test_kill_process(self.process).is_err() || !path(&self.data).exists(),
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if !self.is_stopped && !self.is_gone() {
            self.signal(Signal::INT);
        }
    }
}

/// Takes over a server that an earlier owner of `data` left running. One on its way up or down is
/// waited for.
pub(super) async fn adopt(data: &Path) -> Option<Postmaster> {
    let began = Instant::now();
    loop {
        let pid_file = PidFile::read(data)?;
        if pid_file.is_ready() {
            tracing::info!(
                process = pid_file.process.as_raw_pid(),
                "adopted a running PostgreSQL"
            );
            return Some(Postmaster {
                process: pid_file.process,
                child: None,
                data: data.to_owned(),
                socket_directory: pid_file.socket_directory,
                is_stopped: false,
            });
        }
        let is_alive =
            test_kill_process(pid_file.process).is_ok() && !is_elsewhere(pid_file.process, data);
        let wait = if pid_file.is_listening() {
            START_WAIT_MAX
        } else {
            TRANSITION_MAX
        };
        if !is_alive || began.elapsed() > wait {
            forget(data, &pid_file);
            return None;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Whether `process` is certainly not the server of `data`: a server works inside its data
/// directory. Only Linux tells.
fn is_elsewhere(process: Pid, data: &Path) -> bool {
    let works_in = fs::read_link(format!("/proc/{}/cwd", process.as_raw_pid()));
    match (works_in, data.canonicalize()) {
        (Ok(works_in), Ok(data)) => works_in != data,
        _ => false,
    }
}

/// Removes what a dead server left. PostgreSQL does so itself, unless the process id has passed to
/// another program: then it would refuse to start. Should orphans of the dead server live on, its
/// shared memory still keeps a second one out.
fn forget(data: &Path, pid_file: &PidFile) {
    let socket = pid_file.socket_directory.join(SOCKET_FILE);
    for file in [
        path(data),
        socket.with_file_name(format!("{SOCKET_FILE}.lock")),
        socket,
    ] {
        let _ = fs::remove_file(file);
    }
}

/// Runs `command` and waits until the server accepts work. A server that finds the orphans of a
/// killed one is started again.
pub(super) async fn start(
    command: impl Fn() -> Command,
    data: &Path,
    log_path: &Path,
    open_log: impl Fn() -> Result<File, ClusterError>,
) -> Result<Postmaster, ClusterError> {
    let began = Instant::now();
    loop {
        let log = open_log()?;
        let log_start = log.metadata().map_err(files("read", log_path))?.len();
        let mut command = command();
        let child = command
            .stderr(log)
            .spawn()
            .map_err(|source| ClusterError::Run {
                program: command.get_program().into(),
                source,
            })?;
        if let Some(postmaster) = wait_until_ready(child, data).await {
            return Ok(postmaster);
        }
        let log = log_tail(log_path, log_start);
        if !log.contains("pre-existing shared memory block") || began.elapsed() > ORPHANS_WAIT_MAX {
            return Err(ClusterError::Start { log });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The server once it accepts work, or nothing if it ended or took too long.
async fn wait_until_ready(child: Child, data: &Path) -> Option<Postmaster> {
    let process = Pid::from_child(&child);
    let mut postmaster = Postmaster {
        process,
        child: Some(child),
        data: data.to_owned(),
        socket_directory: PathBuf::new(),
        is_stopped: false,
    };
    let deadline = Instant::now() + START_WAIT_MAX;
    while Instant::now() < deadline && !postmaster.is_gone() {
        let pid_file = PidFile::read(data).filter(|pid_file| pid_file.process == process);
        if let Some(pid_file) = pid_file.filter(PidFile::is_ready) {
            postmaster.socket_directory = pid_file.socket_directory;
            return Some(postmaster);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    None
}

/// What the log says since `start`, its end if that is long.
fn log_tail(path: &Path, start: u64) -> String {
    let mut tail = Vec::new();
    let read = File::open(path).and_then(|mut log| {
        let end = log.metadata()?.len();
        log.seek(SeekFrom::Start(
            start.max(end.saturating_sub(LOG_TAIL_BYTES)),
        ))?;
        log.take(LOG_TAIL_BYTES).read_to_end(&mut tail)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&tail).trim().to_owned(),
        Err(error) => format!("its log cannot be read ({error})"),
    }
}
