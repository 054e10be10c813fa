//! A server whose only method is that of `tests/fixtures/echo.proto`, with the one handler below.

use std::sync::Arc;
use std::time::Duration;

use piooy::accounts::{Accounts, Scope};
use piooy::adapters::progress::{Progress, ProgressSink};
use piooy::adapters::{Faces, Options, Parts, server};
use piooy::assets::Assets;
use piooy::catalog::{Catalog, Current};
use piooy::gate::Gate;
use piooy::spec::method::Registry;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::server::{Place, new_key};
use crate::echo::v1::echo_service_server::EchoService;
use crate::echo::v1::{EchoRequest, EchoResponse, register};
use crate::support::{self, TestDatabase};

/// Between two words, when somebody listens for progress.
const BREATH: Duration = Duration::from_millis(10);

struct Parrot;

#[tonic::async_trait]
impl EchoService for Parrot {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        let progress = request.extensions().get::<ProgressSink>().cloned();
        let EchoRequest {
            words,
            times_said,
            room,
        } = request.into_inner();
        assert_ne!(words, "panic", "the parrot was told to panic");
        let times = usize::try_from(times_said.unwrap_or(1)).unwrap_or_default();
        for said in 1..times {
            let Some(progress) = &progress else { break };
            progress.send_replace(Progress {
                percent: u32::try_from(said * 100 / times).unwrap_or_default(),
                message: format!("said {said} times"),
            });
            tokio::time::sleep(BREATH).await;
        }
        Ok(Response::new(EchoResponse {
            echoes: vec![words; times],
            room,
        }))
    }
}

/// The server, with keys that carry one scope each.
pub struct Echo {
    pub place: Place,
    /// The scope that the method asks for.
    pub read_key: String,
    /// Another.
    pub generate_key: String,
    _database: TestDatabase,
    _data: TempDir,
}

impl Echo {
    pub async fn start() -> Self {
        let database = support::database().await;
        let store = database.store().clone();
        let accounts = Accounts::new(store.clone());
        accounts.create("dev", "pro").await.expect("is new");
        let data = tempfile::tempdir().expect("a directory can be made");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let public_url = format!("http://{}", listener.local_addr().expect("a port"));

        let mut registry = Registry::new(64 * 1024);
        register(Parrot, &mut registry);
        let parts = Parts {
            gate: Arc::new(Gate::new(accounts.clone(), None).expect("a gate")),
            assets: Assets::local(data.path(), [7; 32], &public_url).expect("a place for files"),
            store,
            catalog: Current::new(Catalog::builtin()),
            people: None,
            generation: None,
            options: Options {
                public_url: public_url.clone(),
                body_bytes_max: 64 * 1024,
                trusted_proxy: false,
                allowed_hosts: vec!["127.0.0.1".to_owned()],
                allowed_origins: Vec::new(),
                mcp_sse: true,
            },
            stop: CancellationToken::new(),
        };
        let faces = Faces::new(registry, parts).expect("its scope exists");
        tokio::spawn(server::serve(listener, faces, std::future::pending()));
        Self {
            place: Place::new(public_url),
            read_key: new_key(&accounts, "dev", &[Scope::Read], false).await,
            generate_key: new_key(&accounts, "dev", &[Scope::Generate], false).await,
            _database: database,
            _data: data,
        }
    }
}
