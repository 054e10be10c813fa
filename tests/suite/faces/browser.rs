//! A browser as far as the server can tell: it keeps cookies, follows nothing by itself, says where it comes from, and
//! sends the forms that pages hold.

use std::collections::BTreeMap;
use std::sync::Mutex;

use reqwest::{Client, Response};

use super::server::Server;
use crate::support;

/// What a page answered.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub text: String,
    /// Where it leads on.
    pub location: String,
    pub headers: reqwest::header::HeaderMap,
}

impl Page {
    async fn read(response: Response) -> Self {
        let headers = response.headers().clone();
        let location = headers
            .get("location")
            .map(|to| to.to_str().expect("ASCII"));
        Self {
            status: response.status().as_u16(),
            location: location.unwrap_or_default().to_owned(),
            text: response.text().await.expect("a text"),
            headers,
        }
    }

    /// What stands between two marks for the first time.
    pub fn between(&self, before: &str, after: &str) -> &str {
        let (_, rest) = self
            .text
            .split_once(before)
            .unwrap_or_else(|| panic!("no {before} in {}", self.text));
        rest.split_once(after).expect("it ends").0
    }

    /// The token that the page's forms carry.
    pub fn form_token(&self) -> &str {
        self.between("name=\"form_token\" value=\"", "\"")
    }

    /// The API key that the page shows.
    pub fn key(&self) -> String {
        let at = self
            .text
            .find("piooy_live_")
            .or(self.text.find("piooy_test_"));
        self.text[at.expect("a key")..][..49].to_owned()
    }
}

pub struct Browser {
    pub url: String,
    client: Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Browser {
    pub fn new(url: &str) -> Self {
        support::speak_tls();
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build();
        Self {
            url: url.to_owned(),
            client: client.expect("a client can be made"),
            cookies: Mutex::default(),
        }
    }

    /// A browser that the first link signed in.
    pub async fn of_owner(server: &Server) -> Self {
        let browser = Self::new(&server.url);
        let page = browser.post(path_of(server.sign_in_link()), &[]).await;
        assert_eq!(
            (page.status, page.location.as_str()),
            (303, "/settings/account"),
            "{page:?}"
        );
        browser
    }

    pub fn cookies(&self) -> BTreeMap<String, String> {
        self.cookies.lock().expect("nobody panicked").clone()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        let mut cookies = self.cookies.lock().expect("nobody panicked");
        cookies.insert(name.to_owned(), value.to_owned());
    }

    pub fn drop_cookie(&self, name: &str) {
        self.cookies.lock().expect("nobody panicked").remove(name);
    }

    /// The same cookies, shown to another replica.
    pub fn at(&self, url: &str) -> Self {
        let other = Self::new(url);
        *other.cookies.lock().expect("nobody panicked") = self.cookies();
        other
    }

    pub async fn get(&self, path: &str) -> Page {
        self.send("GET", path, &[("sec-fetch-site", "none")], None)
            .await
    }

    /// Sends a form from a page of the same server.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_from(path, fields, &[("sec-fetch-site", "same-origin")])
            .await
    }

    /// Sends a form with those headers.
    pub async fn post_from(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Page {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        self.send("POST", path, headers, Some(form.finish())).await
    }

    /// Sends a form of the page at `page`, with its token.
    pub async fn submit(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let shown = self.get(page).await;
        assert_eq!(shown.status, 200, "{}", shown.text);
        let mut fields = fields.to_vec();
        fields.push(("form_token", shown.form_token()));
        self.post(path, &fields).await
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Page {
        self.post("/signin", &[("email", email), ("password", password)])
            .await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        form: Option<String>,
    ) -> Page {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let cookies = self.cookies();
        let cookies: Vec<String> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        if let Some(form) = form {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form);
        }
        let response = request.send().await.expect("the server answers");
        self.keep(&response);
        Page::read(response).await
    }

    fn keep(&self, response: &Response) {
        let mut cookies = self.cookies.lock().expect("nobody panicked");
        for set in response.headers().get_all("set-cookie") {
            let set = set.to_str().expect("ASCII");
            assert!(set.contains("; HttpOnly; SameSite=Lax"), "{set}");
            let (name, rest) = set.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            if set.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// The path of a link to a test server.
pub fn path_of(link: &str) -> &str {
    let (_, rest) = link.split_once("://").expect("an address");
    &rest[rest.find('/').expect("a path")..]
}
