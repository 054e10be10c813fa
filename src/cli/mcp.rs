//! `piooy mcp`: for MCP clients that start a program and talk to it over its standard input and output.
//!
//! | module | holds |
//! |---|---|
//! | [`bridge`] | lines in, calls of the server at once, lines out |
//! | [`message`] | what must be known of a message to send it over HTTP |
//! | [`upstream`] | one message to the server and what comes back, through restarts of the server |
//! | [`bundle`] | the program as a file that desktop clients install |

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use url::Url;

use super::Failure;
use super::client::{KEY_VARIABLE, URL_VARIABLE};
use crate::adapters::MCP_PATH;
use crate::settings::{Secret, Settings};

mod bridge;
mod bundle;
mod message;
mod upstream;

use upstream::Upstream;

/// `piooy mcp …`
#[derive(Args)]
pub struct Mcp {
    #[command(subcommand)]
    command: Option<Command>,
    /// The server; left out: the one that these settings describe.
    #[arg(long, visible_alias = "url", env = URL_VARIABLE, value_name = "URL")]
    server: Option<String>,
    /// The API key.
    #[arg(long, env = KEY_VARIABLE, hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// A file with the API key in it, which goes before the key itself.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Write a bundle (.mcpb) of this program, for desktop clients to install.
    Bundle {
        /// The file to write.
        #[arg(value_name = "FILE.mcpb")]
        file: PathBuf,
        /// The server that the bundle suggests; left out: the one that these settings describe.
        #[arg(long, visible_alias = "url", env = URL_VARIABLE, value_name = "URL")]
        server: Option<String>,
    },
}

/// Runs `piooy mcp`.
pub async fn mcp(asked: Mcp, settings: &Settings) -> Result<ExitCode, Failure> {
    let own = settings.public_url.as_str();
    if let Some(Command::Bundle { file, server }) = asked.command {
        let server = server.unwrap_or_else(|| own.to_owned());
        endpoint(&server)?;
        bundle::write(&file, &server)?;
        eprintln!(
            "{} is ready to be installed. It suggests {server}.",
            file.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let url = endpoint(asked.server.as_deref().unwrap_or(own))?;
    let key = key(asked.key, asked.key_file)?;
    let upstream = Upstream::new(url, &key)?;
    bridge::run(upstream, tokio::io::stdin(), tokio::io::stdout()).await;
    Ok(ExitCode::SUCCESS)
}

/// The MCP endpoint of a server; the endpoint itself is as good.
fn endpoint(server: &str) -> Result<Url, Failure> {
    let server = server.trim().trim_end_matches('/');
    let whole = if server.ends_with(MCP_PATH) {
        server.to_owned()
    } else {
        format!("{server}{MCP_PATH}")
    };
    Url::parse(&whole)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            format!("{server} is not the address of a server, such as https://piooy.example").into()
        })
}

fn key(given: Option<String>, file: Option<PathBuf>) -> Result<Secret, Failure> {
    let text = match file {
        Some(file) => Some(
            std::fs::read_to_string(&file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?,
        ),
        None => given,
    };
    let key = text.as_deref().map(str::trim).unwrap_or_default();
    if key.is_empty() {
        return Err(format!(
            "there is no API key; give one with {KEY_VARIABLE}, --key-file or --key"
        )
        .into());
    }
    Ok(Secret::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_named_by_its_address_or_its_endpoint() {
        let table = [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/mcp/mcp"),
            ("https://a.example/ ", "https://a.example/api/mcp/mcp"),
            ("https://a.example/sub", "https://a.example/sub/api/mcp/mcp"),
            (
                "https://a.example/api/mcp/mcp",
                "https://a.example/api/mcp/mcp",
            ),
        ];
        for (server, expected) in table {
            assert_eq!(endpoint(server).expect(server).as_str(), expected);
        }
        for wrong in ["", "a.example", "ftp://a.example", "/api/mcp/mcp"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_file_goes_before_a_key() {
        let file = tempfile::NamedTempFile::new().expect("a file can be made");
        std::fs::write(file.path(), " from-file\n").expect("it can be written");
        let from_file = key(Some("given".to_owned()), Some(file.path().to_owned()));
        assert_eq!(from_file.expect("is there").expose(), "from-file");
        let given = key(Some("given".to_owned()), None);
        assert_eq!(given.expect("is there").expose(), "given");
        assert!(key(None, None).is_err() && key(Some(" ".to_owned()), None).is_err());
        assert!(key(None, Some("/nowhere".into())).is_err());
    }
}
