//! Asking an OpenID provider who somebody is: the authorization code flow with PKCE (OpenID Connect Core 1.0 §3.1,
//! RFC 7636).
//!
//! Whoever sets out is given a token to keep, a JWT that carries what the provider is to answer to and what the person
//! was about to do. Nothing is kept here, so any replica can go on where another began, and nobody can fill a table
//! by setting out again and again. The provider's code works once, so coming back twice leads nowhere.
//!
//! What the provider publishes is read when it is first needed, after [`PUBLISHED_LIFE`], and when a signature fails
//! that a new key might explain. Nobody but the provider can bring that about: it is the provider that hands out what
//! is signed.
//!
//! **Bounds.** An answer is at most [`ANSWER_BYTES_MAX`] long and comes within [`ANSWER_MAX`], without redirects.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreProviderMetadata,
};
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::identities::Identity;
use super::{People, PeopleError, tokens};

const ANSWER_BYTES_MAX: usize = 256 * 1024;
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How old what the provider publishes may become.
const PUBLISHED_LIFE: Duration = Duration::from_secs(60 * 60);
/// The longest code of an error that is repeated.
const CODE_LENGTH_MAX: usize = 60;

/// An OpenID provider and how it knows this server.
#[derive(Clone)]
pub struct IssuerSettings {
    /// Its issuer identifier.
    pub issuer: String,
    /// As whom it knows this server.
    pub client_id: String,
    /// What proves it; none: this server is a public client.
    pub client_secret: Option<String>,
    /// What people call it.
    pub name: String,
    /// Where it leads people back to.
    pub back: String,
}

/// Why nobody came back from the provider as somebody.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// It does not answer, or not as one.
    #[error("{name} can't be reached at the moment; try again shortly, or sign in another way")]
    Unreachable {
        /// What it is called.
        name: String,
        /// What happened.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It, or who pretends to be it, says what can't be believed.
    #[error("what {name} says about you does not hold; begin again")]
    Untrue {
        /// What it is called.
        name: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It did not let the person in.
    #[error("{name} did not let you in ({code}); begin again")]
    Refused {
        /// What it is called.
        name: String,
        /// Its error code (RFC 6749 §4.1.2.1).
        code: String,
    },
    /// The person came back to another browser, too late, or from somewhere else.
    #[error("signing in was interrupted, took too long, or began in another browser; begin again")]
    Interrupted,
}

/// What somebody was about to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// To sign in, and go on to that path.
    SignIn(String),
    /// To accept the invitation with that token.
    Accept(String),
    /// To connect that person with the identity.
    Connect(Uuid),
}

/// Somebody on the way to the provider.
pub struct Departure {
    /// Where the browser goes.
    pub address: String,
    /// What it keeps meanwhile.
    pub token: String,
}

impl fmt::Debug for Departure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Departure(…)")
    }
}

/// What the token of a departure says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Promise {
    /// What the provider repeats in the address.
    state: String,
    /// What it repeats in what it signs.
    nonce: String,
    /// What proves that the one who set out asks for the tokens.
    verifier: String,
    errand: Errand,
}

/// What somebody brings back from the provider.
#[derive(Clone, Copy, Debug)]
pub struct Return<'r> {
    /// What it repeats of what it was sent.
    pub state: &'r str,
    /// What it gives out tokens for.
    pub code: &'r str,
    /// The code of an error; empty without one.
    pub error: &'r str,
    /// Which provider it says it is; empty when it does not say (RFC 9207).
    pub issuer: &'r str,
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// What the provider publishes, and when it was read.
#[derive(Clone)]
struct Published {
    client: Arc<Client>,
    at: Instant,
}

/// An OpenID provider.
pub struct Issuer {
    settings: IssuerSettings,
    url: IssuerUrl,
    back: RedirectUrl,
    http: reqwest::Client,
    /// Held by whoever reads.
    published: Mutex<Option<Published>>,
}

impl Issuer {
    /// The provider. Nothing is asked of it yet, so that a server starts without it.
    ///
    /// # Errors
    /// The addresses are none, or no connections can be made at all.
    pub fn new(settings: IssuerSettings) -> Result<Issuer, Box<dyn Error + Send + Sync>> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Issuer {
            url: IssuerUrl::new(settings.issuer.clone())?,
            back: RedirectUrl::new(settings.back.clone())?,
            http,
            published: Mutex::new(None),
            settings,
        })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its issuer identifier.
    pub(super) fn url(&self) -> &str {
        &self.settings.issuer
    }

    /// Where to send somebody.
    async fn depart(&self, errand: Errand) -> Result<(String, Promise), PeopleError> {
        let published = self.published(PUBLISHED_LIFE).await?;
        let (state, nonce, verifier) = (tokens::random()?, tokens::random()?, tokens::random()?);
        let (csrf, once) = (CsrfToken::new(state.clone()), Nonce::new(nonce.clone()));
        let pkce_verifier = PkceCodeVerifier::new(verifier.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&pkce_verifier);
        let (address, _, _) = published
            .client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || csrf, || once)
            .add_scope(Scope::new("email".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let promise = Promise {
            state,
            nonce,
            verifier,
            errand,
        };
        Ok((address.into(), promise))
    }

    /// Who somebody is who came back.
    async fn identify(&self, promise: Promise, back: Return<'_>) -> Result<Identity, IssuerError> {
        if !back.error.is_empty() {
            let is_code = |letter: &char| letter.is_ascii_lowercase() || *letter == '_';
            let code = back.error.chars().filter(is_code);
            return Err(IssuerError::Refused {
                name: self.settings.name.clone(),
                code: code.take(CODE_LENGTH_MAX).collect(),
            });
        }
        if !back.issuer.is_empty() && back.issuer != self.settings.issuer {
            return Err(IssuerError::Interrupted);
        }
        let mut published = self.published(PUBLISHED_LIFE).await?;
        let http = self.caller();
        let answer = published
            .client
            .exchange_code(AuthorizationCode::new(back.code.to_owned()))
            .map_err(|error| self.unreachable(error))?
            .set_pkce_verifier(PkceCodeVerifier::new(promise.verifier))
            .request_async(&http)
            .await
            .map_err(|error| match error {
                openidconnect::RequestTokenError::ServerResponse(said) => {
                    self.untrue(format!("the code was refused: {}", said.error()))
                }
                other => self.unreachable(other),
            })?;
        let token = answer.id_token();
        let token = token.ok_or_else(|| self.untrue("there is no ID token".to_owned()))?;
        let nonce = Nonce::new(promise.nonce);
        let mut claims = read(&published.client, token, &nonce);
        if let Err(ClaimsVerificationError::SignatureVerification(_)) = claims {
            published = self.published(Duration::ZERO).await?;
            claims = read(&published.client, token, &nonce);
        }
        let (subject, email) = claims.map_err(|error| self.untrue(error))?;
        Ok(Identity {
            issuer: self.settings.issuer.clone(),
            subject,
            email,
        })
    }

    /// What the provider publishes, not older than that.
    async fn published(&self, age_max: Duration) -> Result<Published, IssuerError> {
        let mut published = self.published.lock().await;
        if let Some(known) = published.as_ref()
            && known.at.elapsed() < age_max
        {
            return Ok(known.clone());
        }
        let read = CoreProviderMetadata::discover_async(self.url.clone(), &self.caller()).await;
        let metadata = read.map_err(|error| self.unreachable(error))?;
        let methods = metadata.token_endpoint_auth_methods_supported();
        let takes =
            |method: CoreClientAuthMethod| methods.is_some_and(|methods| methods.contains(&method));
        // Without a word about it, it is the first (OpenID Connect Discovery 1.0 §3).
        let (basic, post) = (
            CoreClientAuthMethod::ClientSecretBasic,
            CoreClientAuthMethod::ClientSecretPost,
        );
        let proof = if takes(post) && !takes(basic) {
            AuthType::RequestBody
        } else {
            AuthType::BasicAuth
        };
        let secret = self.settings.client_secret.clone().map(ClientSecret::new);
        let id = ClientId::new(self.settings.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata, id, secret)
            .set_auth_type(proof)
            .set_redirect_uri(self.back.clone());
        let read = Published {
            client: Arc::new(client),
            at: Instant::now(),
        };
        *published = Some(read.clone());
        Ok(read)
    }

    /// What makes the library's calls.
    fn caller(&self) -> impl Fn(openidconnect::HttpRequest) -> Calling + use<> {
        let http = self.http.clone();
        move |request| Box::pin(call(http.clone(), request))
    }

    fn unreachable(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> IssuerError {
        IssuerError::Unreachable {
            name: self.settings.name.clone(),
            source: source.into(),
        }
    }

    fn untrue(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> IssuerError {
        IssuerError::Untrue {
            name: self.settings.name.clone(),
            source: source.into(),
        }
    }
}

/// Whom a token is about, if all of it holds: signature, issuer, audience, time and nonce.
fn read(
    client: &Client,
    token: &CoreIdToken,
    nonce: &Nonce,
) -> Result<(String, Option<String>), ClaimsVerificationError> {
    let claims = token.claims(&client.id_token_verifier(), nonce)?;
    let email = claims.email().map(|email| email.as_str().to_owned());
    Ok((claims.subject().as_str().to_owned(), email))
}

type Calling =
    std::pin::Pin<Box<dyn Future<Output = Result<openidconnect::HttpResponse, CallError>> + Send>>;

/// Why the provider did not answer.
#[derive(Debug, Error)]
enum CallError {
    #[error("it does not answer")]
    Http(#[from] reqwest::Error),
    #[error("its answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Length,
}

async fn call(
    http: reqwest::Client,
    request: openidconnect::HttpRequest,
) -> Result<openidconnect::HttpResponse, CallError> {
    let mut answer = http.execute(request.try_into()?).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(CallError::Length);
        }
        bytes.extend_from_slice(&chunk);
    }
    let mut response = http::Response::new(bytes);
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

impl People {
    /// Sends somebody to the OpenID provider.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub async fn depart(&self, errand: Errand, now: SystemTime) -> Result<Departure, PeopleError> {
        let issuer = self.issuer.as_ref().ok_or(IssuerError::Interrupted)?;
        let (address, promise) = issuer.depart(errand).await?;
        let token = self.keys.sign_promise(&promise, now)?;
        Ok(Departure { address, token })
    }

    /// Who came back, and what for. `token` is what the browser kept.
    ///
    /// # Errors
    /// It is another browser, the provider refused, or what it says does not hold.
    pub async fn identify(
        &self,
        token: &str,
        back: Return<'_>,
        now: SystemTime,
    ) -> Result<(Identity, Errand), PeopleError> {
        let issuer = self.issuer.as_ref().ok_or(IssuerError::Interrupted)?;
        let promise = self.keys.read_promise(token, now);
        // Random bits that are good once: how long comparing takes tells nothing that helps to guess them.
        let promise = promise.filter(|promise| promise.state == back.state);
        let promise = promise.ok_or(IssuerError::Interrupted)?;
        let errand = promise.errand.clone();
        Ok((issuer.identify(promise, back).await?, errand))
    }
}
