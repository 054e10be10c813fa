//! Commands that call a running server over REST, as any other caller would.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Client;
use serde_json::{Value, json};

use super::{Failure, catalog, upstreams};
use crate::settings::Settings;

/// The environment variable of the key.
pub const KEY_VARIABLE: &str = "PIOOY_API_KEY";

/// The environment variable of the server.
pub const URL_VARIABLE: &str = "PIOOY_URL";

/// How often a task is looked at.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// How long a server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The width of the progress bar, in characters.
const BAR_WIDTH: usize = 30;

/// Which server, and as whom.
#[derive(Args)]
pub struct Connection {
    /// The server; left out: the one that these settings describe.
    #[arg(long, env = URL_VARIABLE, value_name = "URL")]
    server: Option<String>,
    /// The API key.
    #[arg(long = "key", env = KEY_VARIABLE, hide_env_values = true, value_name = "KEY")]
    key: String,
}

/// `piooy models …`
#[derive(Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Models {
    #[command(flatten)]
    connection: Option<Connection>,
    #[command(subcommand)]
    command: Option<ModelsCommand>,
}

#[derive(Subcommand)]
enum ModelsCommand {
    /// See which upstreams are set up here and would work, without spending anything. Fails when one that is set
    /// up would not.
    Check,
}

/// `piooy generate …`
#[derive(Args)]
pub struct Generate {
    #[command(flatten)]
    connection: Connection,
    /// What to make.
    prompt: String,
    /// The model.
    #[arg(long, short)]
    model: String,
    /// The file to write; with several results, numbers are added.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// How large: 2K, 1080p …
    #[arg(long)]
    resolution: Option<String>,
    /// The shape: 16:9, 1:1 …
    #[arg(long)]
    aspect_ratio: Option<String>,
    /// Videos: how long, in seconds.
    #[arg(long)]
    duration: Option<String>,
    /// How many pictures.
    #[arg(long)]
    count: Option<u32>,
    /// Which upstream must run it.
    #[arg(long)]
    provider: Option<String>,
}

/// A caller of one server.
struct Caller<'a> {
    client: Client,
    url: String,
    key: &'a str,
}

impl<'a> Caller<'a> {
    fn new(connection: &'a Connection, settings: &Settings) -> Result<Self, Failure> {
        let url = connection
            .server
            .as_deref()
            .unwrap_or(&settings.public_url)
            .trim_end_matches('/')
            .to_owned();
        Ok(Self {
            client: Client::builder().timeout(ANSWER_MAX).build()?,
            url,
            key: &connection.key,
        })
    }

    /// The `data` of an answer.
    async fn data(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let answer = request
            .bearer_auth(self.key)
            .send()
            .await
            .map_err(|error| {
                let hint = if error.is_connect() {
                    " (is it running?)"
                } else {
                    ""
                };
                format!("{} could not be reached{hint}", self.url)
            })?;
        let status = answer.status();
        let mut envelope: Value = answer
            .json()
            .await
            .map_err(|_| format!("{} answered {status} without JSON; is it Piooy?", self.url))?;
        if envelope["code"] == json!(0) {
            return Ok(envelope["data"].take());
        }
        let text = |field: &str| envelope[field].as_str().unwrap_or_default().to_owned();
        Err(format!("{} ({})", text("message"), text("reason")).into())
    }
}

/// Runs `piooy models`.
pub async fn models(command: &Models, settings: &Settings) -> Result<ExitCode, Failure> {
    if let Some(ModelsCommand::Check) = command.command {
        let sound = upstreams::check(settings, &catalog::load(settings)?).await?;
        return Ok(if sound {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let connection = command.connection.as_ref();
    let connection = connection.ok_or("--key names the API key to list the models with")?;
    let caller = Caller::new(connection, settings)?;
    let data = caller
        .data(caller.client.get(format!("{}/api/v1/models", caller.url)))
        .await?;
    for model in data["models"].as_array().into_iter().flatten() {
        let text = |field: &str| model[field].as_str().unwrap_or_default().to_owned();
        println!(
            "{:<26} {:<6} {:<9} {}",
            text("slug"),
            text("mediaType"),
            text("tier"),
            text("description")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `piooy generate`.
pub async fn generate(asked: &Generate, settings: &Settings) -> Result<ExitCode, Failure> {
    let caller = Caller::new(&asked.connection, settings)?;
    let mut body = json!({"model": asked.model, "prompt": asked.prompt});
    let optional = [
        ("resolution", json!(asked.resolution)),
        ("aspect_ratio", json!(asked.aspect_ratio)),
        ("duration", json!(asked.duration)),
        ("count", json!(asked.count)),
        ("provider", json!(asked.provider)),
    ];
    for (field, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
        body[field] = value;
    }
    let key = uuid::Uuid::now_v7().to_string();
    let submit = caller
        .client
        .post(format!("{}/api/v1/generate", caller.url))
        .header("idempotency-key", key);
    let mut task = caller.data(submit.json(&body)).await?;
    for adjustment in task["adjustments"].as_array().into_iter().flatten() {
        let text = |field: &str| adjustment[field].as_str().unwrap_or_default();
        eprintln!(
            "{}: {} instead of {} ({})",
            text("field"),
            text("used"),
            text("asked"),
            text("why")
        );
    }
    let url = format!(
        "{}/api/v1/tasks/{}",
        caller.url,
        task["taskId"].as_str().unwrap_or_default()
    );
    while matches!(task["status"].as_str(), Some("PENDING" | "PROCESSING")) {
        bar(&task);
        tokio::time::sleep(POLL_PAUSE).await;
        task = caller.data(caller.client.get(&url)).await?;
    }
    bar(&task);
    if task["status"] != json!("SUCCESS") {
        let said = task["error"]["message"]
            .as_str()
            .unwrap_or("it was canceled");
        return Err(format!("{}: {said}", task["status"].as_str().unwrap_or_default()).into());
    }
    let outputs = task["outputs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for (index, output) in outputs.iter().enumerate() {
        let path = numbered(&asked.out, index, outputs.len());
        save(&caller, output["url"].as_str().unwrap_or_default(), &path).await?;
        println!("{}", path.display());
    }
    eprintln!("{} credits", task["credits"]["charged"]);
    Ok(ExitCode::SUCCESS)
}

/// Draws the progress of a task over the line before, where someone looks.
fn bar(task: &Value) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let percent = usize::try_from(task["progress"].as_u64().unwrap_or(0))
        .unwrap_or(0)
        .min(100);
    let full = percent * BAR_WIDTH / 100;
    let status = task["status"].as_str().unwrap_or_default();
    let end = if matches!(status, "PENDING" | "PROCESSING") {
        ""
    } else {
        "\n"
    };
    eprint!(
        "\r[{}{}] {percent:>3} %  {status:<10}{end}",
        "#".repeat(full),
        " ".repeat(BAR_WIDTH - full)
    );
    let _ = std::io::stderr().flush();
}

/// `out.png`, or `out-1.png`, `out-2.png` … when there are several.
fn numbered(path: &Path, index: usize, count: usize) -> PathBuf {
    if count <= 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map(|extension| format!(".{}", extension.to_string_lossy()))
        .unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{extension}", index + 1))
}

/// Saves what a link leads to, in one piece or not at all.
async fn save(caller: &Caller<'_>, url: &str, path: &Path) -> Result<(), Failure> {
    let bytes = caller
        .client
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .bytes()
        .await?;
    let part = path.with_extension("part");
    std::fs::write(&part, &bytes)
        .map_err(|error| format!("cannot write {}: {error}", part.display()))?;
    std::fs::rename(&part, path)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(())
}
