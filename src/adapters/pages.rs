//! The pages: what people see of the server in a browser. A file for each page, a template for each in
//! `web/`, and here what they share: the frame around them, the files they use, and how they are sent.
//!
//! Pages are whole without scripts; a script adds comfort. Style and scripts are files of this program
//! and nothing is loaded from elsewhere, so the content security policy can forbid everything else.
//! Links are relative, so pages work wherever a proxy puts the server.
//!
//! Pages that show models are written for each request, of the catalogue as it then is; the others
//! once, when the server starts, for those who are signed in and for those who are not. All have a tag
//! of their content, so that whoever has a page already is sent none.

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderValue, header};

use super::Options;
use super::documents::{Document, fingerprint};
use super::entry::{House, Shared};
use super::mcp::about;

mod docs_api;
mod docs_mcp;
mod examples;
mod home;
mod maps;
mod missing;
mod models;
mod people;
mod snippet;

pub use missing::fallback;
pub use people::{invitation_link, oidc_back, sign_in_link};

/// Pages are asked for anew each time, which costs little when nothing has changed.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Files carry a fingerprint of their content in the link, so what a link leads to never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// What pages may load and do.
const SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What stands where the reader's key belongs.
const KEY: &str = "YOUR_PIOOY_API_KEY";

/// The face.
pub fn router(house: &Shared) -> Router {
    let mut router = Router::new()
        .merge(home::router(house))
        .merge(models::router(house))
        .merge(docs_api::router(house))
        .merge(docs_mcp::router(house))
        .merge(maps::router(house))
        .merge(people::router(house));
    for asset in ASSETS {
        router = router.route(&format!("/{}", asset.path), asset.document().route());
    }
    router
}

/// A file of this program that pages use.
struct Asset {
    /// Below the server's root.
    path: &'static str,
    media_type: &'static str,
    content: &'static [u8],
    version: String,
}

impl Asset {
    fn document(&self) -> Document {
        Document::new(self.media_type, FOR_EVER, self.content)
    }

    /// The link to it from a page from which `root` leads to the root.
    fn link(&self, root: &str) -> String {
        format!("{root}{}?v={}", self.path, self.version)
    }
}

macro_rules! assets {
    ($($name:ident $path:literal $media_type:literal;)+) => {
        $(static $name: LazyLock<Asset> = LazyLock::new(|| {
            let content = include_bytes!($path);
            Asset { path: $path, media_type: $media_type, content, version: fingerprint(content) }
        });)+

        /// Every file that pages use.
        static ASSETS: [&LazyLock<Asset>; [$($path),+].len()] = [$(&$name),+];
    };
}

assets! {
    STYLE "web/piooy.css" "text/css; charset=utf-8";
    SCRIPT "web/piooy.js" "text/javascript; charset=utf-8";
    GENERATE "web/generate.js" "text/javascript; charset=utf-8";
    ICON "web/icon.svg" "image/svg+xml";
    SCENE "web/scene.svg" "image/svg+xml";
    CARD "web/card.png" "image/png";
}

/// What stands around a page: the layout's data.
pub struct Frame {
    /// What leads from the page to the server's root: `./`, `../` and so on.
    pub root: String,
    /// The page's path below the root, with a slash at the start.
    pub path: String,
    /// What the page is called, without the server's name.
    pub title: String,
    /// What is on it, in a sentence or two.
    pub description: String,
    /// Where everyone finds it; `None` for pages that are for one person alone.
    pub address: Option<String>,
    /// Who is signed in, where the page knows.
    pub person: Option<String>,
    /// Whether it is the browser of somebody who is signed in.
    pub known: bool,
    /// Whether that is somebody who administers the server.
    pub operator: bool,
    /// The server's own address, without a final slash.
    public_url: String,
}

/// A link at the top of every page.
struct Link {
    name: &'static str,
    path: &'static str,
    /// The page is this one or one below it.
    current: bool,
    /// The page is this very one.
    exact: bool,
}

impl Frame {
    /// The frame of a page that is the same for everyone.
    pub fn new(
        options: &Options,
        path: impl Into<String>,
        title: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        let path = path.into();
        let public_url = options.public_url.clone();
        let depth = path.matches('/').count().saturating_sub(1);
        let root = if depth == 0 {
            "./".to_owned()
        } else {
            "../".repeat(depth)
        };
        Self {
            root,
            title: title.into(),
            description: description.into(),
            address: Some(format!("{public_url}{path}")),
            person: None,
            known: false,
            operator: false,
            public_url,
            path,
        }
    }

    /// The frame of a page for one person alone, which may be answered at other addresses than its own: its
    /// links begin with `base`, what every path of the server begins with.
    pub fn personal(
        options: &Options,
        base: &str,
        path: &str,
        title: &str,
        person: Option<String>,
    ) -> Self {
        Self {
            root: format!("{base}/"),
            address: None,
            known: person.is_some(),
            person,
            ..Self::new(options, path, title, title)
        }
    }

    /// The link to what has this path below the root.
    fn at(&self, path: &str) -> String {
        format!("{}{}", self.root, path.trim_start_matches('/'))
    }

    fn link(&self, name: &'static str, path: &'static str, below: &str) -> Link {
        let here = self.path.trim_start_matches('/');
        Link {
            name,
            path,
            current: here.starts_with(below),
            exact: here == path,
        }
    }

    fn links(&self) -> Vec<Link> {
        let link = |name, path, below: &str| self.link(name, path, below);
        let mut links = vec![
            link("Generate", "generate", "generate"),
            link("Models", "models", "models"),
            link("Docs", "docs/api", "docs/"),
            if self.known {
                link("Settings", "settings/apikeys", "settings/")
            } else {
                link("Sign in", "signin", "signin")
            },
        ];
        if self.operator {
            links.push(link("Admin", "admin", "admin"));
        }
        links
    }

    /// The operator's pages have links of their own, too.
    fn admin_rooms(&self) -> Vec<Link> {
        if !self.operator || !self.path.starts_with("/admin") {
            return Vec::new();
        }
        vec![
            Link {
                current: self.path == "/admin",
                ..self.link("Overview", "admin", "admin")
            },
            self.link("Accounts", "admin/accounts", "admin/accounts"),
            self.link("Plans", "admin/plans", "admin/plans"),
            self.link("Upstreams", "admin/upstreams", "admin/upstreams"),
            self.link("Queue", "admin/queue", "admin/queue"),
            self.link("Audit log", "admin/audit", "admin/audit"),
        ]
    }

    /// Whether the page is one of the settings, which have links of their own.
    fn is_settings(&self) -> bool {
        self.person.is_some() && self.path.starts_with("/settings/")
    }

    fn rooms(&self) -> [Link; 4] {
        [
            self.link("API keys", "settings/apikeys", "settings/apikeys"),
            self.link("Usage", "settings/usage", "settings/usage"),
            self.link("Webhooks", "settings/webhooks", "settings/webhooks"),
            self.link("Account", "settings/account", "settings/account"),
        ]
    }

    fn style(&self) -> String {
        STYLE.link(&self.root)
    }

    fn script(&self) -> String {
        SCRIPT.link(&self.root)
    }

    /// What generating and looking on need.
    fn generate(&self) -> String {
        GENERATE.link(&self.root)
    }

    fn icon(&self) -> String {
        ICON.link(&self.root)
    }

    fn scene(&self) -> String {
        SCENE.link(&self.root)
    }

    /// The picture that is shown where somebody posts a link to the page: others fetch it, so its
    /// address is whole.
    fn card(&self) -> String {
        CARD.link(&format!("{}/", self.public_url))
    }

    fn version(&self) -> &'static str {
        about::VERSION
    }
}

/// A page that is the same for everyone but for the links at its top.
trait Public: Template {
    fn frame(&mut self) -> &mut Frame;
}

macro_rules! public {
    ($($page:ident),+) => {
        $(impl super::Public for $page {
            fn frame(&mut self) -> &mut Frame {
                &mut self.frame
            }
        })+
    };
}
use public;

/// The page for browsers of those who are signed in, or of all others.
fn document(page: &mut impl Public, known: bool) -> Document {
    page.frame().known = known;
    let text = page.render().expect("a String can be written to");
    Document::new("text/html; charset=utf-8", ASK_AGAIN, text)
        .with(header::VARY, header::COOKIE.as_str())
        .with(header::CONTENT_SECURITY_POLICY, SECURITY_POLICY)
        .with(header::REFERRER_POLICY, "same-origin")
}

/// The page, written for who asks with these headers.
fn answer(house: &House, mut page: impl Public, asked: &HeaderMap) -> Response {
    document(&mut page, house.site.is_known(asked)).answer(asked)
}

/// The route of a page that is written once.
fn written<S: Clone + Send + Sync + 'static>(
    house: &Shared,
    mut page: impl Public,
) -> MethodRouter<S> {
    let pages = Arc::new([false, true].map(|known| document(&mut page, known).kept()));
    let house = house.clone();
    get(move |asked: HeaderMap| async move {
        pages[usize::from(house.site.is_known(&asked))].answer(&asked)
    })
}
