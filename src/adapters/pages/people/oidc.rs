//! The way to an OpenID provider and back: to sign in, to accept an invitation, and to connect oneself with it.
//!
//! Setting out changes nothing here, so links do it. Connecting begins with a form, which proves that the visitor
//! wants it; since a form must not lead to another site, its answer is a page that leads on.

use std::time::SystemTime;

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::account::{admit, mend};
use super::form::local_path;
use super::shell;
use super::signin::{HOME, enter};
use super::visit::{Visit, Visitor};
use crate::adapters::pages::Frame;
use crate::people::{Errand, IssuerError, PeopleError, Proof, Return};
use crate::spec::error::ApiError;

/// Where the provider leads people back to.
pub const BACK: &str = "/signin/oidc/callback";

#[derive(Template)]
#[template(path = "onward.html")]
struct Onward<'p> {
    frame: Frame,
    issuer: &'p str,
    address: &'p str,
}

/// `GET /signin/oidc`
pub async fn sign_in(visit: Visit) -> Result<Response, ApiError> {
    let next = local_path(visit.query.get("next")).unwrap_or(HOME);
    set_out(&visit, Errand::SignIn(next.to_owned())).await
}

/// `GET /invitation/{token}/oidc`
pub async fn accept(visit: Visit) -> Result<Response, ApiError> {
    let token = visit.params.get("token");
    visit.people.invitation(token).await?;
    set_out(&visit, Errand::Accept(token.to_owned())).await
}

async fn set_out(visit: &Visit, errand: Errand) -> Result<Response, ApiError> {
    let departure = visit.people.depart(errand, SystemTime::now()).await?;
    Ok(visit.lead_away(&departure))
}

/// `POST /settings/account/identity`
pub async fn connect(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    admit(&visit, &visitor)?;
    let person_id = visitor.session.person_id;
    let password = visit.form.get("password").to_owned();
    if let Err(error) = visit.people.prove(person_id, password).await {
        return mend(&visit, &visitor, error.into()).await;
    }
    let errand = Errand::Connect(person_id);
    let departure = visit.people.depart(errand, SystemTime::now()).await?;
    let onward = Onward {
        frame: visit.frame("Connect"),
        issuer: visit.people.issuer_name().unwrap_or_default(),
        address: &departure.address,
    };
    let mut response = shell::page(StatusCode::OK, &onward);
    let site = &visit.house().site;
    site.keep_departure(response.headers_mut(), &departure.token);
    Ok(response)
}

/// `POST /settings/account/identity/remove`
pub async fn disconnect(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    visit.people.disconnect(visitor.session.person_id).await?;
    Ok(visit.lead_to(&format!("{HOME}?done=disconnected")))
}

/// `GET /signin/oidc/callback`
pub async fn come_back(visit: Visit) -> Result<Response, ApiError> {
    let query = &visit.query;
    let back = Return {
        state: query.get("state"),
        code: query.get("code"),
        error: query.get("error"),
        issuer: query.get("iss"),
    };
    visit
        .house()
        .parts
        .gate
        .admit_sign_in(visit.from, back.state)?;
    let token = visit.departure.as_deref();
    let token = token.ok_or(PeopleError::from(IssuerError::Interrupted))?;
    let identified = visit.people.identify(token, back, SystemTime::now());
    let (identity, errand) = identified.await?;
    let mut response = match errand {
        Errand::SignIn(next) => {
            let person_id = visit.people.by_identity(&identity).await?;
            enter(&visit, person_id, &next).await?
        }
        Errand::Accept(token) => {
            let proof = Proof::Identity(identity);
            let (account_id, person_id) = visit.people.accept_as_new(&token, proof).await?;
            visit.sign_in(account_id, person_id, HOME).await?
        }
        Errand::Connect(person_id) => {
            let visitor = visit.visitor.as_ref();
            let session = visitor.map(|visitor| &visitor.session);
            // Whoever signed out meanwhile, or in as somebody else, began something that is over.
            let session = session.filter(|session| session.person_id == person_id);
            let session = session.ok_or(PeopleError::from(IssuerError::Interrupted))?;
            visit.people.connect(person_id, &identity).await?;
            let done = format!("{HOME}?done=connected");
            visit.sign_in(session.account_id, person_id, &done).await?
        }
    };
    let site = &visit.house().site;
    site.clear_departure(response.headers_mut());
    Ok(response)
}
