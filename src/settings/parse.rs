//! Pure readers of single values.
//!
//! A reader answers `None` for what it does not take; what it takes is told by the setting's
//! `allowed` text in the table, so that the two stand side by side.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytesize::ByteSize;
use tracing_subscriber::EnvFilter;
use url::{Host, Url};

use super::{JwksSource, SECRET_KEY_BYTES, SandboxForLive, Secret, SecretKeys};

/// Any text but an empty one.
pub fn text(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.to_owned())
}

/// The path of a file or directory.
pub fn path(text: &str) -> Option<PathBuf> {
    self::text(text).map(PathBuf::from)
}

/// An IP address and a port. A name would have to be looked up, so none is taken.
pub fn socket_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// `yes` and its synonyms, `no` and its.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Some(true),
        "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// `auto`, or a [`boolean`].
pub fn sandbox_for_live(text: &str) -> Option<SandboxForLive> {
    if text.eq_ignore_ascii_case("auto") {
        return Some(SandboxForLive::Auto);
    }
    Some(match boolean(text)? {
        true => SandboxForLive::Yes,
        false => SandboxForLive::No,
    })
}

/// A whole number within bounds.
pub fn number<N: FromStr + PartialOrd>(text: &str, allowed: RangeInclusive<N>) -> Option<N> {
    text.parse().ok().filter(|number| allowed.contains(number))
}

/// A length such as `24MiB` within bounds, in bytes.
pub fn bytes(text: &str, allowed: RangeInclusive<ByteSize>) -> Option<usize> {
    let size: ByteSize = text.parse().ok()?;
    allowed
        .contains(&size)
        .then(|| usize::try_from(size.as_u64()).ok())?
}

/// A time such as `90s`, `10m` or `2h` within bounds.
pub fn duration(text: &str, allowed: RangeInclusive<Duration>) -> Option<Duration> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| allowed.contains(duration))
}

/// What the log shows: a level, or directives such as `info,piooy=debug`.
pub fn log_filter(text: &str) -> Option<String> {
    EnvFilter::try_new(text).ok().map(|_| text.to_owned())
}

/// How to reach PostgreSQL, in either form that libpq knows. What it says is checked by connecting.
pub fn database_url(text: &str) -> Option<Secret> {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let is_pairs = text.contains('=') && !text.contains("://");
    (is_url || is_pairs).then(|| Secret::new(text.to_owned()))
}

/// Secrets of 32 bytes with commas between, each in hexadecimal or in base64, with or without padding.
pub fn secret_keys(text: &str) -> Option<SecretKeys> {
    let key = |item: &str| match item.len() {
        64 => hexadecimal(item),
        _ => STANDARD_NO_PAD
            .decode(item.trim_end_matches('='))
            .ok()?
            .try_into()
            .ok(),
    };
    let keys: Option<Vec<_>> = text.split(',').map(|part| key(part.trim())).collect();
    keys.map(SecretKeys::new)
}

fn hexadecimal(text: &str) -> Option<[u8; SECRET_KEY_BYTES]> {
    let mut bytes = [0; SECRET_KEY_BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = str::from_utf8(digits).ok()?;
        // Which would also take a sign.
        let is_hexadecimal = digits.chars().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(digits, 16)
            .ok()
            .filter(|_| is_hexadecimal)?;
    }
    Some(bytes)
}

/// The address of this server as others see it, without a slash at the end.
pub fn public_url(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim_end_matches('/')).ok()?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (is_web(&url) && is_plain).then_some(url)
}

/// A file, or an address that nobody on the way can change.
pub fn jwks_source(text: &str) -> Option<JwksSource> {
    if !text.contains("://") {
        return path(text).map(JwksSource::File);
    }
    safe_url(text).map(|url| JwksSource::Url(url.into()))
}

/// The identifier of an OpenID provider, letter by letter: it is compared with what tokens say.
pub fn issuer(text: &str) -> Option<String> {
    let url = safe_url(text)?;
    (url.query().is_none() && url.fragment().is_none()).then(|| text.to_owned())
}

/// A secret of any form.
pub fn secret(text: &str) -> Option<Secret> {
    self::text(text).map(Secret::new)
}

fn safe_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_safe = match url.scheme() {
        "https" => true,
        "http" => is_loopback(&url),
        _ => false,
    };
    is_safe.then_some(url)
}

/// Hosts as in a `Host` header without its port: `piooy.example`, `127.0.0.1`, `[::1]`.
pub fn hosts(text: &str) -> Option<Vec<String>> {
    list(text, |host| Some(Host::parse(host).ok()?.to_string()))
}

/// Origins as in an `Origin` header: `https://piooy.example`, `http://localhost:3000`.
pub fn origins(text: &str) -> Option<Vec<String>> {
    list(text, |origin| {
        let url = Url::parse(origin).ok()?;
        let ascii = url.origin().ascii_serialization();
        // A path or a default port would never equal what a browser sends.
        (is_web(&url) && ascii == origin.trim_end_matches('/').to_ascii_lowercase())
            .then_some(ascii)
    })
}

/// Items between commas, of which there is at least one and none is wrong.
fn list(text: &str, item: impl Fn(&str) -> Option<String>) -> Option<Vec<String>> {
    text.split(',').map(|part| item(part.trim())).collect()
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The address under which a caller on this machine reaches a listener.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(address, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_32_bytes_in_either_spelling() {
        let bytes: [u8; SECRET_KEY_BYTES] = std::array::from_fn(|at| at as u8 * 7);
        let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        let base64 = STANDARD_NO_PAD.encode(bytes);
        let one = Some(SecretKeys::new(vec![bytes]));
        assert_eq!(secret_keys(&hexadecimal), one);
        assert_eq!(secret_keys(&base64), one);
        assert_eq!(secret_keys(&format!("{base64}=")), one);
        let both = format!("{hexadecimal}, {base64}");
        assert_eq!(secret_keys(&both), Some(SecretKeys::new(vec![bytes; 2])));
        for bad in [
            "",
            "secret",
            &hexadecimal[2..],
            &base64[1..],
            &format!("{base64},"),
            &"+1".repeat(32),
        ] {
            assert_eq!(secret_keys(bad), None, "{bad}");
        }
        assert_eq!(format!("{:?}", SecretKeys::new(vec![bytes])), "[secrets]");
    }

    #[test]
    fn booleans_have_their_synonyms() {
        for (given, expected) in [
            ("yes", Some(true)),
            ("TRUE", Some(true)),
            ("1", Some(true)),
            ("off", Some(false)),
            ("No", Some(false)),
            ("maybe", None),
            ("", None),
        ] {
            assert_eq!(boolean(given), expected, "{given}");
        }
        assert_eq!(sandbox_for_live("Auto"), Some(SandboxForLive::Auto));
        assert_eq!(sandbox_for_live("no"), Some(SandboxForLive::No));
        assert_eq!(sandbox_for_live("never"), None);
    }

    #[test]
    fn lengths_and_times_have_units_and_bounds() {
        let allowed = ByteSize::kib(1)..=ByteSize::mib(64);
        for (given, expected) in [
            ("24MiB", Some(24 << 20)),
            ("24 MB", Some(24_000_000)),
            ("1024", Some(1024)),
            ("1023", None),
            ("1GiB", None),
            ("-1", None),
            ("many", None),
        ] {
            assert_eq!(bytes(given, allowed.clone()), expected, "{given}");
        }
        let allowed = Duration::from_secs(60)..=Duration::from_secs(86_400);
        for (given, expected) in [
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("2h", Some(7200)),
            ("1h 30m", Some(5400)),
            ("59s", None),
            ("25h", None),
            ("90", None),
            ("soon", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(duration(given, allowed.clone()), expected, "{given}");
        }
        assert_eq!(number("16", 1..=1000_u32), Some(16));
        assert_eq!(number("0", 1..=1000_u32), None);
        assert_eq!(number("99999999999", 1..=1000_u32), None);
    }

    #[test]
    fn public_urls_are_plain() {
        let read = |given| public_url(given).map(String::from);
        assert_eq!(
            read("https://Piooy.example/").as_deref(),
            Some("https://piooy.example/")
        );
        assert!(read("http://10.0.0.1:8080").is_some());
        assert!(read("https://example.com/piooy/").is_some());
        for wrong in [
            "piooy.example",
            "ftp://piooy.example",
            "https://",
            "https://user@piooy.example",
            "https://user:pass@piooy.example",
            "https://piooy.example/?a=b",
            "https://piooy.example/#top",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn key_sets_come_from_files_and_safe_addresses() {
        let url = |text: &str| Some(JwksSource::Url(text.to_owned()));
        assert_eq!(
            jwks_source("/etc/piooy/jwks.json"),
            Some(JwksSource::File("/etc/piooy/jwks.json".into()))
        );
        assert_eq!(
            jwks_source("https://id.example/jwks"),
            url("https://id.example/jwks")
        );
        assert_eq!(
            jwks_source("http://127.0.0.1:9000/jwks"),
            url("http://127.0.0.1:9000/jwks")
        );
        for wrong in [
            "http://id.example/jwks",
            "file:///etc/jwks.json",
            "",
            "https://",
        ] {
            assert_eq!(jwks_source(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hosts_and_origins_are_written_as_headers_have_them() {
        assert_eq!(
            hosts("Piooy.example, 127.0.0.1,[::1]"),
            Some(vec![
                "piooy.example".to_owned(),
                "127.0.0.1".to_owned(),
                "[::1]".to_owned()
            ])
        );
        for wrong in ["", "a,,b", "https://piooy.example", "piooy.example:80"] {
            assert_eq!(hosts(wrong), None, "{wrong}");
        }
        assert_eq!(
            origins("https://Piooy.example/, http://localhost:3000"),
            Some(vec![
                "https://piooy.example".to_owned(),
                "http://localhost:3000".to_owned()
            ])
        );
        for wrong in ["", "*", "null", "piooy.example", "https://a.example/x"] {
            assert_eq!(origins(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn databases_are_named_in_either_form() {
        assert!(database_url("postgres://u:p@db/piooy").is_some());
        assert!(database_url("postgresql:///piooy?host=/run").is_some());
        assert!(database_url("host=/run/postgresql dbname=piooy").is_some());
        assert!(database_url("mysql://u:p@db/piooy?a=b").is_none());
        assert!(database_url("piooy").is_none());
    }

    #[test]
    fn log_filters_are_checked() {
        assert_eq!(
            log_filter("info,piooy=debug").as_deref(),
            Some("info,piooy=debug")
        );
        assert_eq!(log_filter("piooy=loudly"), None);
    }

    #[test]
    fn a_listener_on_every_address_is_reached_at_home() {
        let read = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(read("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(read("[::]:80"), "[::1]:80");
        assert_eq!(read("10.1.2.3:80"), "10.1.2.3:80");
    }
}
