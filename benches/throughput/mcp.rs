//! What MCP answers without the database, beside the least server of the official Rust SDK (`rmcp`): nine
//! tools listed, and one task's status.
//!
//! The reference knows two answers, Piooy's own, and says them from memory. It serves without sessions and
//! with JSON, as fast as the SDK can be set to, right on hyper; it knows no keys, limits, ids of requests or
//! other paths. Both are asked by the same clients with the same requests, one after the other.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::database::{Database, Server};
use crate::faces::Faces;
use crate::http::{Connection, Mark, Template};
use crate::load::{self, Measured};
use crate::table::{self, Reference};
use crate::{Failure, Plan};

/// How many ask at once.
const CLIENTS: usize = 64;

/// Measures what MCP answers from memory.
pub async fn figures(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let (list, status) = ("tools/list over MCP", "status reads over MCP");
    if !plan.wants(list) && !plan.wants(status) {
        return Ok(());
    }
    let database = server.database().await?;
    let faces = Faces::start(&database).await?;
    let asks_list = ask(&faces.key, "tools/list", &json!({}), "]}}");
    let arguments = json!({"taskId": faces.submit().await?});
    let params = json!({"name": "get_task_status", "arguments": arguments});
    let asks_status = ask(&faces.key, "tools/call", &params, r#""isError":false}}"#);
    let sdk = serve(Answers {
        tools: answer(faces.address, &asks_list).await?,
        status: answer(faces.address, &asks_status).await?,
    })
    .await?;
    table::head("MCP beside R, the least server of the official Rust SDK");
    for (what, template) in [(list, asks_list), (status, asks_status)] {
        if !plan.wants(what) {
            continue;
        }
        let said: [Value; 2] = [
            answer(faces.address, &template).await?,
            answer(sdk, &template).await?,
        ];
        if said[0] != said[1] {
            return Err(format!("{what}: the two servers do not say the same").into());
        }
        let of_sdk = measure(&database, sdk, &template, plan).await?;
        let measured = measure(&database, faces.address, &template, plan).await?;
        let reference = Reference {
            name: "R",
            per_second: of_sdk.per_second(),
        };
        table::row(&format!("R: {what}"), CLIENTS, &of_sdk, reference);
        table::row(what, CLIENTS, &measured, reference);
    }
    faces.stop().await?;
    database.verify().await
}

async fn measure(
    database: &Database,
    address: SocketAddr,
    template: &Template,
    plan: &Plan,
) -> Result<Measured, Failure> {
    let template = template.clone();
    let connect = move || Connection::open_all(address, template, CLIENTS);
    load::measure_apart(database, connect, plan.time).await
}

/// A request as clients that began with `initialize` send it; `end` is how good answers to it end.
fn ask(key: &str, method: &str, params: &Value, end: &'static str) -> Template {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let headers = [
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-06-18"),
    ];
    Template::new(
        "POST",
        "/api/mcp/mcp",
        key,
        &headers,
        &message.to_string(),
        Mark::End(end),
    )
}

/// The result that a server answers with.
async fn answer<R: DeserializeOwned>(
    address: SocketAddr,
    template: &Template,
) -> Result<R, Failure> {
    #[derive(Deserialize)]
    struct Message<R> {
        result: R,
    }
    let body = Connection::once(address, template).await?;
    Ok(serde_json::from_slice::<Message<R>>(&body)?.result)
}

/// All that the reference knows.
struct Answers {
    tools: ListToolsResult,
    status: CallToolResult,
}

impl ServerHandler for Answers {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(self.tools.clone())
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(self.status.clone().into())
    }
}

/// Serves the answers to the end of the run, and tells where.
async fn serve(answers: Answers) -> Result<SocketAddr, Failure> {
    let answers = Arc::new(answers);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(answers.clone()), sessions, config);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let builder = Builder::new(TokioExecutor::new()).http1_only();
                // A client that has measured enough goes away.
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}
