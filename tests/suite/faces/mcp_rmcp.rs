//! What the official Rust client of MCP makes of the server, in both eras.

use std::collections::BTreeSet;

use piooy::spec::v1::METHODS;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ErrorCode, ProtocolVersion, ReadResourceRequestParams,
    ResourceContents,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ErrorData, RoleClient};
use serde_json::{Value, json};

use super::server::{MCP, QUICK_MODEL, Server};

/// A task that nobody has.
const NO_TASK: &str = "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a";

/// How a client of each era begins.
fn eras() -> [ClientLifecycleMode; 2] {
    [
        ClientLifecycleMode::Initialize,
        ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    ]
}

/// A connected client.
struct Client(RunningService<RoleClient, ()>);

impl Client {
    async fn connect(server: &Server, era: ClientLifecycleMode) -> Self {
        let client = ().serve_with_lifecycle(transport(server, &server.test_key), era).await;
        Self(client.expect("client and server agree"))
    }

    async fn call(
        &self,
        name: &'static str,
        arguments: &Value,
    ) -> Result<CallToolResult, ServiceError> {
        let arguments = arguments.as_object().expect("an object").clone();
        let call = CallToolRequestParams::new(name).with_arguments(arguments);
        self.0.call_tool(call).await
    }

    /// Calls a tool; answers with the result and the envelope in it.
    async fn tool(&self, name: &'static str, arguments: &Value) -> (CallToolResult, Value) {
        let result = self.call(name, arguments).await.expect("a result");
        let said = result.structured_content.clone().expect("an envelope");
        assert_eq!(result.is_error, Some(said["code"] != 0), "{said}");
        let text = result.content[0].as_text().expect("the envelope as text");
        assert_eq!(
            serde_json::from_str::<Value>(&text.text).ok().as_ref(),
            Some(&said)
        );
        (result, said)
    }

    /// Reads a resource that is JSON.
    async fn read(&self, uri: &str) -> Value {
        let read = self
            .0
            .read_resource(ReadResourceRequestParams::new(uri))
            .await;
        let contents = read.expect("a resource").contents;
        let [ResourceContents::TextResourceContents { text, .. }] = &contents[..] else {
            panic!("not one text: {contents:?}");
        };
        serde_json::from_str(text).expect("is JSON")
    }

    /// The error of the protocol that a call is refused with.
    async fn refused(&self, name: &'static str, arguments: &Value) -> ErrorData {
        match self.call(name, arguments).await {
            Err(ServiceError::McpError(error)) => error,
            other => panic!("not an error of the protocol: {other:?}"),
        }
    }

    async fn close(self) {
        self.0.cancel().await.expect("the client ends");
    }
}

fn transport(server: &Server, key: &str) -> StreamableHttpClientTransport<reqwest::Client> {
    let place = format!("{}{MCP}", server.url);
    let config = StreamableHttpClientTransportConfig::with_uri(place).auth_header(key);
    StreamableHttpClientTransport::from_config(config)
}

#[tokio::test]
async fn all_tools_are_listed_as_the_client_understands_them() {
    let server = Server::start().await;
    for era in eras() {
        let client = Client::connect(&server, era).await;
        let listed = client.0.list_all_tools().await.expect("a list");
        let names: BTreeSet<&str> = listed.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names.len(), listed.len(), "no name comes twice");
        for tool in METHODS.iter().filter_map(|method| method.tool.as_ref()) {
            let found = listed.iter().find(|listed| listed.name == tool.name);
            let found = found.unwrap_or_else(|| panic!("{} is missing", tool.name));
            assert_eq!(found.description.as_deref(), Some(tool.description));
            assert_eq!(found.input_schema["type"], "object", "{}", tool.name);
            assert!(found.output_schema.is_some(), "{}", tool.name);
            let hints = found.annotations.as_ref().expect("hints");
            assert_eq!(hints.read_only_hint, Some(tool.read_only), "{}", tool.name);
        }
        client.close().await;
    }
}

#[tokio::test]
async fn a_picture_is_waited_for_and_its_link_leads_to_the_file() {
    let server = Server::start().await;
    for era in eras() {
        let client = Client::connect(&server, era).await;
        let wish = json!({"model": QUICK_MODEL, "prompt": "a pebble", "wait_seconds": 50});
        let (result, said) = client.tool("generate_image", &wish).await;
        let task = &said["data"];
        assert_eq!(task["status"], "SUCCESS");
        let blocks = &result.content;
        let preview = blocks.iter().find_map(|block| block.as_image());
        assert_eq!(preview.expect("a preview").mime_type, "image/jpeg");

        let link = blocks.iter().find_map(|block| block.as_resource_link());
        let link = link.expect("a link to the file");
        assert_eq!(task["outputs"][0]["url"], link.uri.as_str());
        let file = reqwest::get(&link.uri).await.expect("the server answers");
        assert_eq!(file.status(), 200);
        let kind = file.headers()["content-type"].to_str().ok();
        assert_eq!(kind, link.mime_type.as_deref());
        let bytes = file.bytes().await.expect("the file arrives").len();
        assert_eq!(u64::try_from(bytes).ok(), link.size);

        let id = task["taskId"].as_str().expect("an id");
        let (_, status) = client.tool("get_task_status", &json!({"taskId": id})).await;
        let read = client.read(&format!("piooy://tasks/{id}")).await;
        for again in [&status["data"], &read] {
            let told = [
                &again["taskId"],
                &again["status"],
                &again["outputs"][0]["sizeBytes"],
            ];
            assert_eq!(
                told,
                [
                    &json!(id),
                    &json!("SUCCESS"),
                    &task["outputs"][0]["sizeBytes"]
                ]
            );
        }
        client.close().await;
    }
}

#[tokio::test]
async fn a_task_is_canceled() {
    let server = Server::start().await;
    for era in eras() {
        let client = Client::connect(&server, era).await;
        let endless = json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble"});
        let (_, task) = client.tool("generate_image", &endless).await;
        let id = json!({"taskId": task["data"]["taskId"]});
        let (_, before) = client.tool("get_task_status", &id).await;
        let status = before["data"]["status"].as_str();
        assert!(matches!(status, Some("PENDING" | "PROCESSING")), "{before}");
        let (_, canceled) = client.tool("cancel_task", &id).await;
        assert_eq!(canceled["code"], 0, "{canceled}");
        let waited = json!({"taskId": task["data"]["taskId"], "wait_seconds": 50});
        let (_, status) = client.tool("get_task_status", &waited).await;
        assert_eq!(status["data"]["status"], "CANCELED", "{status}");
        client.close().await;
    }
}

#[tokio::test]
async fn mistakes_are_told_apart() {
    let server = Server::start().await;
    for era in eras() {
        let client = Client::connect(&server, era).await;
        let unknown = client.refused("paint", &json!({})).await;
        assert_eq!(unknown.code, ErrorCode::INVALID_PARAMS);
        assert!(unknown.message.contains("generate_image"), "{unknown}");

        let table = [
            ("generate_image", json!({"colour": 1}), "UNKNOWN_FIELD"),
            (
                "generate_image",
                json!({"model": QUICK_MODEL}),
                "INVALID_ARGUMENT",
            ),
            (
                "generate_image",
                json!({"model": "no-such", "prompt": "x"}),
                "MODEL_NOT_FOUND",
            ),
            (
                "get_task_status",
                json!({"taskId": NO_TASK}),
                "TASK_NOT_FOUND",
            ),
        ];
        for (name, arguments, reason) in table {
            let (_, said) = client.tool(name, &arguments).await;
            assert_eq!(said["reason"], reason, "{name} {arguments}: {said}");
        }
        let (_, balance) = client.tool("get_balance", &json!({})).await;
        assert_eq!(balance["code"], 0, "a client goes on after its mistakes");
        client.close().await;
    }
}

#[tokio::test]
async fn a_wrong_key_is_asked_for_a_right_one() {
    let server = Server::start().await;
    let cut = &server.test_key[..server.test_key.len() - 1];
    for key in ["sk-wrong", cut] {
        for era in eras() {
            let stranger = ().serve_with_lifecycle(transport(&server, key), era).await;
            let refusal = stranger.expect_err("a wrong key is refused");
            let challenge = refusal.auth_challenge();
            assert_eq!(challenge, Some("Bearer realm=\"piooy\""), "{refusal}");
        }
    }
}
