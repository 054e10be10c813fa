//! Figures end to end: the faces as `piooy serve` wires them, asked over TCP by clients on a thread of
//! their own. The worker takes nothing up, so that submissions alone are measured.

use std::net::SocketAddr;
use std::sync::Arc;

use piooy::accounts::Accounts;
use piooy::adapters::handlers::Api;
use piooy::adapters::{self, Options, Parts, server};
use piooy::catalog::{Catalog, Current};
use piooy::egress::{Egress, Policy};
use piooy::gate::Gate;
use piooy::generation::{Generation, LostSubmissions};
use piooy::ledger::Ledger;
use piooy::operator::{AuditLog, Desk};
use piooy::people::People;
use piooy::spec::method::Registry;
use piooy::spec::v1::generation_service_client::GenerationServiceClient;
use piooy::spec::v1::{self, GenerateImageRequest};
use piooy::webhooks::Webhooks;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::database::{Database, Server};
use crate::http::{Connection, Mark, Template};
use crate::load::{self, Client, Measured};
use crate::pgbench::References;
use crate::room::{self, Extent, MODEL, PROMPT, PROVIDER};
use crate::table::{self, milliseconds};
use crate::{Failure, Plan};

/// The largest body that is taken: as by default.
const BODY_BYTES_MAX: usize = 24 << 20;

/// Connections of all gRPC clients together.
const CHANNELS: usize = 4;

/// A way to ask.
#[derive(Clone, Copy)]
enum Way {
    Rest,
    Grpc,
    Mcp,
    Status,
}

/// Measures what goes over the wire.
pub async fn figures(server: &Server, references: &References, plan: &Plan) -> Result<(), Failure> {
    let References {
        simple, read, lone, ..
    } = *references;
    let rows = [
        ("REST submissions", Way::Rest, 64, simple),
        ("REST submissions", Way::Rest, 256, simple),
        ("gRPC submissions", Way::Grpc, 64, simple),
        ("gRPC submissions", Way::Grpc, 256, simple),
        ("MCP submissions", Way::Mcp, 64, simple),
        ("MCP submissions", Way::Mcp, 256, simple),
        ("status reads over REST", Way::Status, 64, read),
    ];
    table::head("End to end over TCP, one account");
    for (what, way, clients, reference) in rows {
        if plan.wants(what) {
            let measured = figure(server, way, clients, plan).await?;
            table::row(what, clients, &measured, reference);
        }
    }
    let what = "a lone client's REST submission";
    if plan.wants(what) {
        let measured = figure(server, Way::Rest, 1, plan).await?;
        let median = measured.percentile(50);
        println!(
            "\n{what}: p50 {}, {:.2} of pgbench's lone transaction ({}).",
            milliseconds(median),
            median.div_duration_f64(lone),
            milliseconds(lone)
        );
    }
    Ok(())
}

async fn figure(
    server: &Server,
    way: Way,
    clients: usize,
    plan: &Plan,
) -> Result<Measured, Failure> {
    let database = server.database().await?;
    let faces = Faces::start(&database).await?;
    let (address, key) = (faces.address, faces.key.clone());
    let measured = if let Way::Grpc = way {
        let connect = move || grpc_clients(address, key, clients);
        load::measure_apart(&database, connect, plan.time).await?
    } else {
        let template = faces.template(way).await?;
        let connect = move || Connection::open_all(address, template, clients);
        load::measure_apart(&database, connect, plan.time).await?
    };
    faces.stop().await?;
    database.verify().await?;
    Ok(measured)
}

/// The faces on a port.
pub struct Faces {
    pub address: SocketAddr,
    /// The key of the one account.
    pub key: String,
    generation: Arc<Generation>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Faces {
    pub async fn start(database: &Database) -> Result<Self, Failure> {
        let key = database.keys(1).await?.remove(0);
        let store = database.store.clone();
        let generation = Arc::new(room::node(&store, Extent::Submission).await?);
        let accounts = Accounts::new(store.clone());
        // What tells callers of ends wants to know how it would speak TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let gate = Arc::new(Gate::new(accounts.clone(), None)?);
        let stop = CancellationToken::new();
        let api = Api {
            accounts,
            audit_log: AuditLog::new(store.clone()),
            assets: room::assets(),
            catalog: Current::new(Catalog::builtin()),
            desk: Desk::new(store.clone()),
            gate: gate.clone(),
            generation: generation.clone(),
            ledger: Ledger::new(store.clone()),
            lost_submissions: Arc::new(LostSubmissions::new(store.clone())),
            people: People::open(store.clone()).await?,
            public_url: "http://localhost".to_owned(),
            webhooks: Webhooks::new(
                store.clone(),
                Egress::new(Policy::default())?,
                generation.owed(),
            ),
            stop: stop.clone(),
        };
        let mut registry = Registry::new(BODY_BYTES_MAX);
        v1::register(api, &mut registry);
        let parts = Parts {
            gate,
            assets: room::assets(),
            store,
            catalog: Current::new(Catalog::builtin()),
            people: None,
            generation: None,
            options: Options {
                public_url: "http://localhost".to_owned(),
                body_bytes_max: BODY_BYTES_MAX,
                trusted_proxy: false,
                allowed_hosts: vec!["localhost".to_owned()],
                allowed_origins: Vec::new(),
                mcp_sse: true,
            },
            stop: stop.clone(),
        };
        let faces = adapters::Faces::new(registry, parts)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(server::serve(
            listener,
            faces,
            stop.clone().cancelled_owned(),
        ));
        Ok(Self {
            address,
            key,
            generation,
            stop,
            serving,
        })
    }

    pub async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.serving.await?;
        self.generation.stop().await;
        Ok(())
    }

    /// Submits one task and tells its id.
    pub async fn submit(&self) -> Result<String, Failure> {
        let mut client = GrpcClient::new(channel(self.address).await?, &self.key)?;
        client.submit("the-one".to_owned()).await
    }

    /// The request of a way over HTTP.
    async fn template(&self, way: Way) -> Result<Template, Failure> {
        let arguments = format!(r#""model":"{MODEL}","prompt":"{PROMPT}","provider":"{PROVIDER}""#);
        let key = &self.key;
        Ok(match way {
            Way::Mcp => Template::new(
                "POST",
                "/api/mcp/mcp",
                key,
                &[
                    ("accept", "application/json, text/event-stream"),
                    ("mcp-protocol-version", "2025-06-18"),
                ],
                &format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"generate_image","arguments":{{{arguments},"idempotency_key":"{{turn}}"}}}}}}"#
                ),
                Mark::End(r#""isError":false}}"#),
            ),
            Way::Status => {
                let task = self.submit().await?;
                let path = format!("/api/v1/tasks/{task}");
                Template::new("GET", &path, key, &[], "", Mark::Start(r#"{"code":0"#))
            }
            Way::Rest | Way::Grpc => Template::new(
                "POST",
                "/api/v1/generate",
                key,
                &[("idempotency-key", "{turn}")],
                &format!("{{{arguments}}}"),
                Mark::Start(r#"{"code":0"#),
            ),
        })
    }
}

async fn grpc_clients(
    address: SocketAddr,
    key: String,
    count: usize,
) -> Result<Vec<GrpcClient>, Failure> {
    let mut channels = Vec::with_capacity(CHANNELS);
    for _ in 0..CHANNELS {
        channels.push(channel(address).await?);
    }
    let channels = channels.iter().cycle().take(count).cloned();
    channels
        .map(|channel| GrpcClient::new(channel, &key))
        .collect()
}

async fn channel(address: SocketAddr) -> Result<Channel, Failure> {
    let endpoint = Channel::from_shared(format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true).connect().await?)
}

/// A client of the generated sort, on a connection that it shares with others.
struct GrpcClient {
    client: GenerationServiceClient<Channel>,
    authorization: MetadataValue<Ascii>,
}

impl GrpcClient {
    fn new(channel: Channel, key: &str) -> Result<Self, Failure> {
        Ok(Self {
            client: GenerationServiceClient::new(channel),
            authorization: format!("Bearer {key}").parse()?,
        })
    }

    async fn submit(&mut self, idempotency_key: String) -> Result<String, Failure> {
        let mut request = tonic::Request::new(GenerateImageRequest {
            model: MODEL.to_owned(),
            prompt: PROMPT.to_owned(),
            provider: PROVIDER.to_owned(),
            idempotency_key,
            ..GenerateImageRequest::default()
        });
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.authorization.clone());
        let task = self.client.generate_image(request).await?.into_inner();
        if task.status() == v1::task::Status::Pending {
            Ok(task.task_id)
        } else {
            Err(format!("not accepted: {task:?}").into())
        }
    }
}

impl Client for GrpcClient {
    async fn ask(&mut self, turn: u64) -> Result<(), Failure> {
        self.submit(turn.to_string()).await.map(drop)
    }
}
