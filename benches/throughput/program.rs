//! The built program on a database that is there: how long until it is ready, and what it takes up
//! before anyone has called.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use piooy::store::{Store, StoreOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::database::Server;
use crate::table::milliseconds;
use crate::{Failure, Plan, machine, scratch};

/// How often the program is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// How long it may take.
const READY_MAX: Duration = Duration::from_secs(10);

/// How long it is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(1);

/// Measures the program and prints what was found.
pub async fn figures(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let what = "the program, idle";
    if !plan.wants(what) {
        return Ok(());
    }
    let url = server.create().await?;
    // The schema is there, as at every start but the first.
    let store = Store::connect(&url, StoreOptions { connections_max: 1 }).await?;
    store.migrate().await?;
    drop(store);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await?
        .local_addr()?;
    let begun = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_piooy"))
        .arg("serve")
        .env("DATABASE_URL", url)
        .env("PIOOY_LISTEN", port.to_string())
        .env("PIOOY_DATA_DIR", scratch("program"))
        .stdout(Stdio::null())
        .spawn()?;
    let mut program = Program(child);
    while !is_ready(port).await {
        if begun.elapsed() > READY_MAX || program.0.try_wait()?.is_some() {
            return Err("the program did not get ready".into());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    let took = begun.elapsed();
    tokio::time::sleep(IDLE).await;
    let resident = machine::resident_bytes(&program.0.id().to_string())?;
    println!(
        "\n{what}: ready {} after it was started on an existing database, then {:.1} MB resident.",
        milliseconds(took),
        resident as f64 / 1e6
    );
    Ok(())
}

/// A process that is told to stop when nobody needs it any more.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // One that ended by itself needs neither.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Whether `/readyz` answers well.
async fn is_ready(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 200 "))
    };
    ask.await.unwrap_or(false)
}
