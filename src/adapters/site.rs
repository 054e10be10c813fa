//! This server as a browser sees it: its origin, where its paths begin, and the cookies of those who are signed in.
//!
//! Cookies are out of reach of scripts and stay away from requests of other sites (`HttpOnly`, `SameSite=Lax`). Over
//! https they bear the prefix `__Host-`, so that neither an unencrypted page nor another host of the domain can set
//! them (RFC 6265bis §4.1.3.2).

use std::time::Duration;

use http::header::{COOKIE, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::people::{ACCESS_LIFE, DEPARTURE_LIFE, SESSION_LIFE};

/// This server's place on the web.
pub struct Site {
    /// As browsers write it in `Origin`.
    origin: String,
    /// What every path begins with when the server is not at the root of its host.
    base: String,
    access: &'static str,
    refresh: &'static str,
    departure: &'static str,
    is_secure: bool,
}

impl Site {
    /// The place that the public URL says. What cannot be read as a URL has no origin, so no page is its own.
    pub fn of(public_url: &str) -> Self {
        let url = Url::parse(public_url).ok();
        let origin = url.as_ref().map(|url| url.origin().ascii_serialization());
        let base = url.as_ref().map(|url| url.path().trim_end_matches('/'));
        let is_secure = url.as_ref().is_some_and(|url| url.scheme() == "https");
        let (access, refresh, departure) = if is_secure {
            (
                "__Host-piooy",
                "__Host-piooy-refresh",
                "__Host-piooy-departure",
            )
        } else {
            ("piooy", "piooy-refresh", "piooy-departure")
        };
        Self {
            origin: origin.unwrap_or_default(),
            base: base.unwrap_or_default().to_owned(),
            access,
            refresh,
            departure,
            is_secure,
        }
    }

    /// What every path begins with, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether one of this server's own pages sends these headers (Fetch Metadata; `Origin` for browsers and
    /// connections without it). Neither header: nobody can tell, so no.
    pub fn is_own(&self, headers: &HeaderMap) -> bool {
        if let Some(site) = headers.get("sec-fetch-site") {
            return site == "same-origin";
        }
        headers
            .get(ORIGIN)
            .is_some_and(|origin| !self.origin.is_empty() && origin == self.origin.as_str())
    }

    /// The access token that a browser shows.
    pub fn access<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        cookie(headers, self.access)
    }

    /// The refresh token that a browser shows.
    pub fn refresh<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        cookie(headers, self.refresh)
    }

    /// Whether a browser is that of somebody who is signed in, as far as its cookies tell: enough to greet, not to let in.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        self.refresh(headers).is_some_and(|token| !token.is_empty())
    }

    /// What a browser kept while its person signed in at an OpenID provider.
    pub fn departure<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        cookie(headers, self.departure)
    }

    /// Gives a browser what it is to show when it comes back from an OpenID provider.
    pub fn keep_departure(&self, headers: &mut HeaderMap, token: &str) {
        self.set(headers, self.departure, token, DEPARTURE_LIFE);
    }

    /// Takes that away.
    pub fn clear_departure(&self, headers: &mut HeaderMap) {
        self.set(headers, self.departure, "", Duration::ZERO);
    }

    /// Gives a browser what it is to show from now on; without a refresh token it keeps the one it has.
    pub fn keep(&self, headers: &mut HeaderMap, access: &str, refresh: Option<&str>) {
        self.set(headers, self.access, access, ACCESS_LIFE);
        if let Some(refresh) = refresh {
            self.set(headers, self.refresh, refresh, SESSION_LIFE);
        }
    }

    /// Takes all of it away.
    pub fn clear(&self, headers: &mut HeaderMap) {
        self.set(headers, self.access, "", Duration::ZERO);
        self.set(headers, self.refresh, "", Duration::ZERO);
    }

    fn set(&self, headers: &mut HeaderMap, name: &str, value: &str, life: Duration) {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let seconds = life.as_secs();
        let cookie =
            format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
        // Tokens are of letters, digits, dots, hyphens and underscores.
        headers.extend(
            HeaderValue::from_str(&cookie)
                .ok()
                .map(|cookie| (SET_COOKIE, cookie)),
        );
    }
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn only_its_own_pages_are_its_own() {
        let site = Site::of("https://gw.example/sub");
        let table: [(&[(&str, &str)], bool); 8] = [
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("origin", "https://gw.example")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://gw.example"),
                ],
                false,
            ),
            (&[("origin", "https://gw.example:8443")], false),
            (&[("origin", "null")], false),
            (&[], false),
        ];
        for (sent, expected) in table {
            assert_eq!(site.is_own(&headers(sent)), expected, "{sent:?}");
        }
        assert!(!Site::of("").is_own(&headers(&[("origin", "")])));
    }

    #[test]
    fn cookies_are_guarded_as_the_address_allows() {
        let mut set = HeaderMap::new();
        let secure = Site::of("https://gw.example");
        secure.keep(&mut set, "a.b", None);
        assert_eq!(
            set[SET_COOKIE],
            "__Host-piooy=a.b; Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure"
        );
        let shown = headers(&[("cookie", "x=1; __Host-piooy=a.b"), ("other", "")]);
        assert_eq!(secure.access(&shown), Some("a.b"));
        assert_eq!(secure.refresh(&shown), None);
        assert!(!secure.is_known(&shown));
        assert!(secure.is_known(&headers(&[("cookie", "__Host-piooy-refresh=c.d")])));
        assert_eq!(Site::of("http://127.0.0.1:8080").access(&shown), None);
    }
}
