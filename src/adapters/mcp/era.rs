//! Which era a request belongs to, and what must hold before it is looked at.
//!
//! The rules are those of the MCP specification 2026-07-28 ("Streamable HTTP" and "Versioning").
//! `initialize` can never lead to the modern era, and a version this server has never heard of counts
//! as modern, so that its client learns which versions there are.

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Uri, header};
use serde_json::value::RawValue;
use std::borrow::Cow;

use super::about::{LEGACY_VERSIONS, MODERN_VERSIONS, VERSIONS};
use super::not_allowed;
use super::params::Params;
use super::wire::RpcError;
use crate::adapters::Options;
use crate::spec::error::ApiError;

/// The header that names the revision of a request.
pub const VERSION_HEADER: &str = "mcp-protocol-version";
const METHOD_HEADER: &str = "mcp-method";
const NAME_HEADER: &str = "mcp-name";

/// The two ways of speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2025-03-26, 2025-06-18, 2025-11-25: begins with `initialize`.
    Legacy,
    /// 2026-07-28: each request stands alone.
    Modern,
}

/// The era of a request; a modern one is checked.
///
/// # Errors
/// What a modern request lacks, in the order of the specification.
pub fn of(headers: &HeaderMap, method: &str, params: &Params<'_>) -> Result<Era, RpcError> {
    let in_header = text(headers, VERSION_HEADER);
    let in_body = params.meta.version.as_deref();
    let beyond_legacy =
        |version: Option<&str>| version.is_some_and(|version| !LEGACY_VERSIONS.contains(&version));
    let initializes = method == "initialize" && params.protocol_version.is_some();
    let modern = !initializes
        && (beyond_legacy(in_body) || beyond_legacy(in_header) || method == "server/discover");
    if !modern {
        return Ok(Era::Legacy);
    }
    let Some(in_header) = in_header else {
        return Err(RpcError::header_mismatch(
            "The header MCP-Protocol-Version is missing.",
        ));
    };
    let Some(in_body) = in_body.filter(|_| params.meta.is_capable()) else {
        return Err(RpcError::invalid_meta(
            "params._meta must hold io.modelcontextprotocol/protocolVersion and io.modelcontextprotocol/clientCapabilities.",
        ));
    };
    if in_header != in_body {
        return Err(RpcError::header_mismatch(
            "The header MCP-Protocol-Version differs from the version in _meta.",
        ));
    }
    if !MODERN_VERSIONS.contains(&in_body) {
        return Err(RpcError::unsupported_version(in_body, &VERSIONS));
    }
    if text(headers, METHOD_HEADER) != Some(method) {
        return Err(RpcError::header_mismatch(format!(
            "The header Mcp-Method must be {method}."
        )));
    }
    let named = match method {
        "tools/call" | "prompts/get" => params.name.as_deref(),
        "resources/read" => params.uri.as_deref(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id.as_deref(),
        _ => None,
    };
    if let Some(named) = named
        && !carries(headers, NAME_HEADER, named)
    {
        return Err(RpcError::header_mismatch(format!(
            "The header Mcp-Name must be {named}."
        )));
    }
    Ok(Era::Modern)
}

/// Whether a header says `value`, plain or encoded.
pub fn carries(headers: &HeaderMap, name: &str, value: &str) -> bool {
    let said = text(headers, name).and_then(unwrap_sentinel);
    said.as_deref() == Some(value)
}

/// A header's value without the white space around it.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A name as a header carries it: plain, or as `=?base64?…?=` where it would not be a header value.
fn unwrap_sentinel(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The messages of a batch.
///
/// # Errors
/// When the revision has no batches, or it is empty, too long or not a list.
pub fn batch<'b>(
    headers: &HeaderMap,
    body: &'b Bytes,
    most: usize,
) -> Result<Vec<&'b RawValue>, RpcError> {
    if text(headers, VERSION_HEADER).is_some_and(|version| version != "2025-03-26") {
        return Err(RpcError::invalid_request(
            "This revision of MCP has no batches; send one message at a time.",
        ));
    }
    let messages: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        RpcError::invalid_request(format!("The batch could not be read: {error}."))
    })?;
    if messages.is_empty() || messages.len() > most {
        return Err(RpcError::invalid_request(format!(
            "A batch holds 1 to {most} messages."
        )));
    }
    Ok(messages)
}

/// Refuses what a foreign web page could make a browser send (DNS rebinding).
///
/// # Errors
/// The host or origin that this server does not serve, and the setting that would allow it.
pub fn check_origin(headers: &HeaderMap, uri: &Uri, options: &Options) -> Result<(), ApiError> {
    // HTTP/2 has the host in the URI.
    let host = uri
        .host()
        .or_else(|| text(headers, header::HOST.as_str()).map(without_port))
        .unwrap_or_default();
    if !options
        .allowed_hosts
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(host))
    {
        return Err(not_allowed(format!(
            "The host {host} is not served here. The operator allows hosts with PIOOY_PUBLIC_URL or PIOOY_ALLOWED_HOSTS."
        )));
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    if options
        .allowed_origins
        .iter()
        .any(|allowed| same_origin(allowed, origin))
    {
        return Ok(());
    }
    Err(not_allowed(format!(
        "Pages from {origin} may not call this server. The operator allows origins with PIOOY_ALLOWED_ORIGINS."
    )))
}

/// An allowed origin without a port allows every port of a loopback host: tools listen where they can.
fn same_origin(allowed: &str, origin: &str) -> bool {
    if allowed.eq_ignore_ascii_case(origin) {
        return true;
    }
    let loopback = ["http://localhost", "http://127.0.0.1", "http://[::1]"];
    let host_only = origin.rsplit_once(':').map_or(origin, |(host, port)| {
        if port.chars().all(|c| c.is_ascii_digit()) {
            host
        } else {
            origin
        }
    });
    loopback.contains(&allowed) && allowed.eq_ignore_ascii_case(host_only)
}

/// `localhost:8080` as `localhost`, `[::1]:80` as `[::1]`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    (*name).parse().expect("a name"),
                    value.parse().expect("a value"),
                )
            })
            .collect()
    }

    fn era(pairs: &[(&'static str, &str)], method: &str, params: &Value) -> Result<Era, i32> {
        let raw = RawValue::from_string(params.to_string()).expect("is JSON");
        let params = Params::read(Some(&raw)).expect("params");
        of(&headers(pairs), method, &params).map_err(|error| error.code)
    }

    fn meta(version: &str) -> Value {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        json!({"_meta": meta, "name": "x"})
    }

    const NOW: &str = "2026-07-28";

    #[test]
    fn eras_are_told_apart() {
        let init = json!({"protocolVersion": "2025-06-18"});
        assert_eq!(era(&[], "initialize", &init), Ok(Era::Legacy));
        assert_eq!(
            era(&[(VERSION_HEADER, NOW)], "initialize", &init),
            Ok(Era::Legacy),
            "initialize is never modern"
        );
        assert_eq!(
            era(&[], "tools/list", &json!({})),
            Ok(Era::Legacy),
            "no header: 2025-03-26"
        );
        assert_eq!(
            era(&[(VERSION_HEADER, "2025-11-25")], "tools/list", &json!({})),
            Ok(Era::Legacy)
        );
        let full = [
            (VERSION_HEADER, NOW),
            (METHOD_HEADER, "tools/call"),
            (NAME_HEADER, "x"),
        ];
        assert_eq!(era(&full, "tools/call", &meta(NOW)), Ok(Era::Modern));
    }

    #[test]
    fn modern_requests_are_checked_in_order() {
        let method = (METHOD_HEADER, "tools/call");
        assert_eq!(
            era(&[], "tools/call", &meta(NOW)),
            Err(-32020),
            "no version header"
        );
        assert_eq!(
            era(&[(VERSION_HEADER, NOW)], "tools/call", &json!({})),
            Err(-32602),
            "no _meta"
        );
        assert_eq!(
            era(&[(VERSION_HEADER, "v9")], "tools/call", &meta(NOW)),
            Err(-32020),
            "versions differ"
        );
        assert_eq!(
            era(&[(VERSION_HEADER, "v9")], "tools/call", &meta("v9")),
            Err(-32022),
            "unknown version"
        );
        assert_eq!(
            era(&[(VERSION_HEADER, NOW)], "tools/call", &meta(NOW)),
            Err(-32020),
            "no method header"
        );
        assert_eq!(
            era(
                &[(VERSION_HEADER, NOW), (METHOD_HEADER, "Tools/Call")],
                "tools/call",
                &meta(NOW)
            ),
            Err(-32020)
        );
        assert_eq!(
            era(&[(VERSION_HEADER, NOW), method], "tools/call", &meta(NOW)),
            Err(-32020),
            "no name header"
        );
        assert_eq!(
            era(
                &[(VERSION_HEADER, NOW), method, (NAME_HEADER, "y")],
                "tools/call",
                &meta(NOW)
            ),
            Err(-32020)
        );
        let encoded = [
            (VERSION_HEADER, NOW),
            method,
            (NAME_HEADER, " =?base64?eA==?= "),
        ];
        assert_eq!(era(&encoded, "tools/call", &meta(NOW)), Ok(Era::Modern));
    }

    #[test]
    fn hosts_and_origins() {
        let options = Options {
            public_url: "https://gw.example".into(),
            body_bytes_max: 1,
            trusted_proxy: false,
            allowed_hosts: vec!["localhost".into(), "[::1]".into(), "gw.example".into()],
            allowed_origins: vec!["https://gw.example".into(), "http://localhost".into()],
            mcp_sse: true,
        };
        let check = |pairs: &[(&'static str, &str)]| {
            check_origin(&headers(pairs), &Uri::from_static("/x"), &options).is_ok()
        };
        assert!(
            check(&[("host", "localhost:8080")])
                && check(&[("host", "[::1]:80")])
                && check(&[("host", "GW.example")])
        );
        assert!(!check(&[("host", "evil.example")]) && !check(&[]));
        assert!(check(&[
            ("host", "localhost"),
            ("origin", "http://localhost:6274")
        ]));
        assert!(check(&[
            ("host", "localhost"),
            ("origin", "https://gw.example")
        ]));
        assert!(!check(&[
            ("host", "localhost"),
            ("origin", "https://evil.example")
        ]));
        assert!(!check(&[
            ("host", "localhost"),
            ("origin", "https://gw.example:444")
        ]));
        assert!(!check(&[
            ("host", "localhost"),
            ("origin", "http://localhost.evil:80")
        ]));
    }
}
