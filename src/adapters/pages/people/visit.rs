//! Who visits a page, and what every visit to a page has to pass.
//!
//! 1. The access token of the cookie makes a [`Caller`]; when it has expired, the refresh token makes another, and
//!    the answer carries both.
//! 2. What changes something must come from a page of this server.
//! 3. Where one must be signed in: whoever is not is led to `/signin` and back, and whatever changes something must
//!    carry the session's token.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::form::Form;
use super::shell;
use crate::adapters::entry::{Entrance, House, Peer, Shared};
use crate::adapters::observe::REQUEST_ID;
use crate::adapters::pages::{Frame, fallback};
use crate::adapters::rest;
use crate::gate::{Caller, Refusal};
use crate::people::{Departure, People, Refresh, Session};
use crate::spec::error::ApiError;
use crate::spec::method::{Call, Input};
use crate::spec::reason::Reason;

/// The largest form that is read, in bytes.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// The field that carries the session's token.
const TOKEN_FIELD: &str = "form_token";

/// The title of pages that say what went wrong.
const FAILED: &str = "That did not work";

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Somebody who is signed in.
#[derive(Clone)]
pub struct Visitor {
    /// As whom methods are called.
    pub caller: Caller,
    /// The session.
    pub session: Session,
    /// What forms must carry.
    pub form_token: String,
    /// The id of the request.
    request_id: Option<HeaderValue>,
}

/// A visit to a page.
pub struct Visit {
    house: Shared,
    /// The path that is visited.
    path: String,
    /// The people of this server.
    pub people: People,
    /// Who it is, if anybody is signed in.
    pub visitor: Option<Visitor>,
    /// Where the visit comes from.
    pub from: IpAddr,
    /// What the path says.
    pub params: Form,
    /// What the address carries after it.
    pub query: Form,
    /// What was sent.
    pub form: Form,
    /// What the browser kept while its person was at an OpenID provider.
    pub departure: Option<String>,
    /// What goes to the browser with the answer.
    cookies: HeaderMap,
}

impl Visit {
    /// The house.
    pub fn house(&self) -> &House {
        &self.house
    }

    /// What is around a page of this title.
    pub fn frame(&self, title: &str) -> Frame {
        let person = self.visitor.as_ref().map(Visitor::name);
        let is_operator = |visitor: &Visitor| visitor.session.operator;
        Frame {
            operator: self.visitor.as_ref().is_some_and(is_operator),
            ..frame(&self.house, &self.path, title, person)
        }
    }

    /// Leads on to another page of this server.
    pub fn lead_to(&self, path: &str) -> Response {
        lead_to(&format!("{}{path}", self.house.site.base()))
    }

    /// Leads on to an OpenID provider; the browser keeps what it is to show when it comes back.
    pub fn lead_away(&self, departure: &Departure) -> Response {
        let mut response = lead_to(&departure.address);
        let site = &self.house.site;
        site.keep_departure(response.headers_mut(), &departure.token);
        response
    }

    /// Signs somebody in, always into a new session: an old one, whosever it is, ends.
    ///
    /// # Errors
    /// The person is no member of the account, or the database is away.
    pub async fn sign_in(
        &self,
        account_id: Uuid,
        person_id: Uuid,
        path: &str,
    ) -> Result<Response, ApiError> {
        let begun = self
            .people
            .begin_session(account_id, person_id, SystemTime::now());
        let tokens = begun.await?;
        self.end_old().await?;
        let mut response = self.lead_to(path);
        let site = &self.house.site;
        site.keep(
            response.headers_mut(),
            &tokens.access,
            Some(&tokens.refresh),
        );
        Ok(response)
    }

    /// Ends the session that the browser came with and takes its cookies away.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sign_out(&self, path: &str) -> Result<Response, ApiError> {
        self.end_old().await?;
        let mut response = self.lead_to(path);
        self.house.site.clear(response.headers_mut());
        Ok(response)
    }

    async fn end_old(&self) -> Result<(), ApiError> {
        if let Some(visitor) = &self.visitor {
            self.people.end_session(visitor.session.id).await?;
            self.house.parts.gate.forget();
        }
        Ok(())
    }
}

impl Visitor {
    /// Calls a method of the spec as any face does: its scope, its budget, its limits.
    ///
    /// # Errors
    /// Those of the method.
    pub async fn call(
        &self,
        house: &House,
        method: &str,
        request: &Value,
    ) -> Result<Value, ApiError> {
        let entrance = entrance(house, method)?;
        let Call::Unary(call) = &entrance.method.call else {
            return Err(ApiError::internal());
        };
        let extensions = house
            .admit(self.caller.clone(), entrance)?
            .into_extensions();
        let input = Input::Json(request.to_string().into());
        let envelope = call(input, self.metadata(), extensions).await?;
        let mut envelope: Value =
            serde_json::from_slice(&envelope).map_err(|_| ApiError::internal())?;
        Ok(envelope["data"].take())
    }

    /// The file that a method of the spec answers, as it comes.
    ///
    /// # Errors
    /// Those of the method.
    pub async fn download(
        &self,
        house: &House,
        method: &str,
        request: &Value,
    ) -> Result<Response, ApiError> {
        let entrance = entrance(house, method)?;
        let Call::File(call) = &entrance.method.call else {
            return Err(ApiError::internal());
        };
        let admitted = house.admit(self.caller.clone(), entrance)?;
        let allowance = admitted.allowance;
        let input = Input::Json(request.to_string().into());
        let file = call(input, self.metadata(), admitted.into_extensions()).await?;
        rest::download(file, &allowance).await
    }

    /// What goes with a call as headers go with a request.
    fn metadata(&self) -> MetadataMap {
        let id = self.request_id.clone().map(|id| (REQUEST_ID, id));
        MetadataMap::from_headers(HeaderMap::from_iter(id))
    }
}

/// The entrance to a method of that name.
fn entrance<'h>(house: &'h House, method: &str) -> Result<&'h Entrance, ApiError> {
    let mut entrances = house.entrances.iter();
    entrances
        .find(|entrance| entrance.method.info.name == method)
        .ok_or_else(ApiError::internal)
}

/// A page for everybody.
pub fn open<F, A>(house: &Shared, show: F) -> impl Fn(Request) -> Answer + Clone + Send + 'static
where
    F: Fn(Visit) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response, ApiError>> + Send,
{
    let house = house.clone();
    move |request| {
        let (house, show) = (house.clone(), show.clone());
        Box::pin(async move {
            let receiving = receive(&house, request).await;
            let visit = match receiving {
                Ok((visit, _)) => visit,
                Err(error) => return refused(&house, &error),
            };
            let (cookies, frame) = (visit.cookies.clone(), visit.frame(FAILED));
            finish(cookies, frame, show(visit).await)
        })
    }
}

/// A page for those who are signed in.
pub fn signed_in<F, A>(
    house: &Shared,
    show: F,
) -> impl Fn(Request) -> Answer + Clone + Send + 'static
where
    F: Fn(Visit, Visitor) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response, ApiError>> + Send,
{
    let house = house.clone();
    move |request| {
        let (house, show) = (house.clone(), show.clone());
        Box::pin(async move {
            let (visit, arrival) = match receive(&house, request).await {
                Ok(received) => received,
                Err(error) => return refused(&house, &error),
            };
            let (cookies, frame) = (visit.cookies.clone(), visit.frame(FAILED));
            let Some(visitor) = visit.visitor.clone() else {
                let back: String =
                    form_urlencoded::byte_serialize(arrival.path.as_bytes()).collect();
                let response = visit.lead_to(&format!("/signin?next={back}"));
                return finish(cookies, frame, Ok(response));
            };
            let shown = match check_token(&visit, &visitor, &arrival) {
                Ok(()) => show(visit, visitor).await,
                Err(error) => Err(error),
            };
            finish(cookies, frame, shown)
        })
    }
}

fn lead_to(address: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    let place = HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("/"));
    headers.insert(LOCATION, place);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A page for operators. To everybody else there is no such page.
pub fn operators<F, A>(
    house: &Shared,
    show: F,
) -> impl Fn(Request) -> Answer + Clone + Send + 'static
where
    F: Fn(Visit, Visitor) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response, ApiError>> + Send,
{
    let house = house.clone();
    move |request| {
        let (house, show) = (house.clone(), show.clone());
        Box::pin(async move {
            let missing = missing(&house, &request);
            let (visit, arrival) = match receive(&house, request).await {
                Ok(received) => received,
                Err(error) if error.reason == Reason::OriginNotAllowed => return missing.await,
                Err(error) => return refused(&house, &error),
            };
            let (cookies, frame) = (visit.cookies.clone(), visit.frame(FAILED));
            let operator = visit.visitor.clone();
            let Some(visitor) = operator.filter(|visitor| visitor.session.operator) else {
                return finish(cookies, frame, Ok(missing.await));
            };
            let shown = match check_token(&visit, &visitor, &arrival) {
                Ok(()) => show(visit, visitor).await,
                Err(error) => Err(error),
            };
            finish(cookies, frame, shown)
        })
    }
}

/// What whoever asks for nothing that is there is answered.
fn missing(house: &Shared, request: &Request) -> impl Future<Output = Response> + use<> {
    let mut asked = Request::new(Body::empty());
    asked.method_mut().clone_from(request.method());
    asked.uri_mut().clone_from(request.uri());
    asked.headers_mut().clone_from(request.headers());
    fallback(State(house.clone()), asked)
}

/// Checks that what changes something was sent by a form of the visitor's session.
fn check_token(visit: &Visit, visitor: &Visitor, arrival: &Arrival) -> Result<(), ApiError> {
    let token = visit.form.get(TOKEN_FIELD);
    if !arrival.changes || visit.people.is_form_token(visitor.session.id, token) {
        return Ok(());
    }
    Err(ApiError::new(
        Reason::OriginNotAllowed,
        "This form is not of your session. Go back, reload the page and try again.",
    ))
}

fn frame(house: &House, path: &str, title: &str, person: Option<String>) -> Frame {
    Frame::personal(&house.parts.options, house.site.base(), path, title, person)
}

/// Of a visit that got no further than the door.
fn refused(house: &House, error: &ApiError) -> Response {
    shell::failure(frame(house, "/", FAILED, None), error)
}

/// The answer with the cookies of a session that was refreshed on the way, unless it has its own.
fn finish(cookies: HeaderMap, frame: Frame, shown: Result<Response, ApiError>) -> Response {
    let mut response = shown.unwrap_or_else(|error| shell::failure(frame, &error));
    if !response.headers().contains_key(SET_COOKIE) {
        response.headers_mut().extend(cookies);
    }
    response
}

/// How somebody came.
struct Arrival {
    /// Whether the request may change something.
    changes: bool,
    /// Where to come back to.
    path: String,
}

async fn receive(house: &Shared, request: Request) -> Result<(Visit, Arrival), ApiError> {
    let people = house.parts.people.clone().ok_or_else(ApiError::internal)?;
    let (mut parts, body) = request.into_parts();
    let changes = parts.method != Method::GET && parts.method != Method::HEAD;
    if changes && !house.site.is_own(&parts.headers) {
        return Err(ApiError::new(
            Reason::OriginNotAllowed,
            "This request did not come from a page of this server.",
        ));
    }
    let form = if changes {
        Form::parse(&rest::read_bytes(&parts.headers, body, FORM_BYTES_MAX).await?)
    } else {
        Form::default()
    };
    let arrival = Arrival {
        changes,
        path: if changes {
            String::from("/settings/account")
        } else {
            parts
                .uri
                .path_and_query()
                .map(ToString::to_string)
                .unwrap_or_default()
        },
    };
    let mut cookies = HeaderMap::new();
    let visitor = visitor(house, &people, &parts.headers, &mut cookies).await?;
    let peer = parts.extensions.get::<Peer>().copied();
    let visit = Visit {
        path: parts.uri.path().to_owned(),
        from: house.client_address(&parts.headers, peer),
        params: params(&mut parts).await,
        departure: house.site.departure(&parts.headers).map(str::to_owned),
        query: Form::parse(parts.uri.query().unwrap_or_default().as_bytes()),
        house: house.clone(),
        people,
        visitor,
        form,
        cookies,
    };
    Ok((visit, arrival))
}

async fn params(parts: &mut Parts) -> Form {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let pairs = params.iter().flatten();
    Form::of(
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

/// Who shows these cookies; `cookies` is what the browser is to keep from now on.
async fn visitor(
    house: &House,
    people: &People,
    headers: &HeaderMap,
    cookies: &mut HeaderMap,
) -> Result<Option<Visitor>, ApiError> {
    let now = SystemTime::now();
    let gate = &house.parts.gate;
    if let Some(access) = house.site.access(headers) {
        match gate.authenticate_session(access, now).await {
            Ok(caller) => return Ok(Visitor::of(caller, people, headers)),
            Err(Refusal::SessionEnded) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    let Some(refresh) = house.site.refresh(headers) else {
        return Ok(None);
    };
    let refreshed = match people.refresh(refresh, now).await? {
        Refresh::Refreshed(refreshed) => refreshed,
        over => {
            if matches!(over, Refresh::Ended) {
                gate.forget();
            }
            house.site.clear(cookies);
            return Ok(None);
        }
    };
    house
        .site
        .keep(cookies, &refreshed.access, refreshed.refresh.as_deref());
    match gate.authenticate_session(&refreshed.access, now).await {
        Ok(caller) => Ok(Visitor::of(caller, people, headers)),
        Err(Refusal::SessionEnded) => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

impl Visitor {
    /// For whom pages are.
    fn name(&self) -> String {
        self.caller.account_name().to_owned()
    }

    fn of(caller: Caller, people: &People, headers: &HeaderMap) -> Option<Self> {
        let session = caller.session()?.clone();
        Some(Self {
            form_token: people.form_token(session.id),
            request_id: headers.get(REQUEST_ID).cloned(),
            session,
            caller,
        })
    }
}
