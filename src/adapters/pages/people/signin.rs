//! Signing in and out: with address and password, by a link, by an invitation.
//!
//! Whoever fails to sign in is told the same, after the same work, whether or not the address is somebody's. A link
//! is taken when its page's button is pressed, not when it is opened, since mail and chat programs open links to
//! show what is behind them.

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use uuid::Uuid;

use super::form::local_path;
use super::shell::{self, status_of};
use super::visit::{Visit, Visitor};
use crate::adapters::pages::Frame;
use crate::people::{Invitation, PeopleError, Proof, Role};
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// Where those go who were on their way nowhere.
pub(super) const HOME: &str = "/settings/account";

/// What is said whatever was wrong.
const NOT_RIGHT: &str = "The e-mail address or the password is not right.";

#[derive(Template)]
#[template(path = "signin.html")]
struct SignIn<'p> {
    frame: Frame,
    next: &'p str,
    email: &'p str,
    problem: &'p str,
    /// What the OpenID provider is called; none: there is none.
    issuer: Option<&'p str>,
}

#[derive(Template)]
#[template(path = "signin_link.html")]
struct Link<'p> {
    frame: Frame,
    token: &'p str,
}

#[derive(Template)]
#[template(path = "invitation.html")]
struct Invited<'p> {
    frame: Frame,
    token: &'p str,
    invitation: &'p Invitation,
    /// What the role means.
    may: &'static str,
    /// Whether the visitor is the person whom it is for.
    is_for_visitor: bool,
    problem: &'p str,
    /// What the OpenID provider is called; none: there is none.
    issuer: Option<&'p str>,
}

/// `GET /signin`
pub async fn ask(visit: Visit) -> Result<Response, ApiError> {
    let next = local_path(visit.query.get("next")).unwrap_or(HOME);
    if visit.visitor.is_some() {
        return Ok(visit.lead_to(next));
    }
    Ok(form(&visit, StatusCode::OK, next, ""))
}

fn form(visit: &Visit, status: StatusCode, next: &str, problem: &str) -> Response {
    let form = SignIn {
        frame: visit.frame("Sign in"),
        next,
        email: visit.form.get("email"),
        problem,
        issuer: visit.people.issuer_name(),
    };
    shell::page(status, &form)
}

/// `POST /signin`
pub async fn sign_in(visit: Visit) -> Result<Response, ApiError> {
    let next = local_path(visit.form.get("next")).unwrap_or(HOME);
    let (email, password) = (visit.form.get("email"), visit.form.get("password"));
    visit.house().parts.gate.admit_sign_in(visit.from, email)?;
    let person = visit.people.by_password(email, password.to_owned()).await?;
    let Some(person) = person else {
        return Ok(form(
            &visit,
            StatusCode::UNPROCESSABLE_ENTITY,
            next,
            NOT_RIGHT,
        ));
    };
    enter(&visit, person.id, next).await
}

/// Signs somebody in for the account that the person has worked for longest.
pub(super) async fn enter(
    visit: &Visit,
    person_id: Uuid,
    next: &str,
) -> Result<Response, ApiError> {
    let memberships = visit.people.memberships(person_id).await?;
    let Some(first) = memberships.first() else {
        let message = "You are not a member of any account any more. Ask an owner to invite you.";
        return Err(ApiError::new(Reason::AccountNotFound, message));
    };
    visit.sign_in(first.account_id, person_id, next).await
}

/// `POST /signout`
pub async fn sign_out(visit: Visit, _: Visitor) -> Result<Response, ApiError> {
    visit.sign_out("/signin").await
}

/// `POST /session/refresh`: for scripts of pages that stay open. The work was done when the visitor was found out.
pub async fn refresh(visit: Visit) -> Result<Response, ApiError> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = match visit.visitor {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::FORBIDDEN,
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /signin/link/{token}`
pub async fn ask_link(visit: Visit) -> Result<Response, ApiError> {
    let token = visit.params.get("token");
    // The page leads to where the token says: nothing but a token may say so.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !token.bytes().all(is_token) {
        return Err(PeopleError::LinkInvalid.into());
    }
    let link = Link {
        frame: visit.frame("Sign in"),
        token,
    };
    Ok(shell::page(StatusCode::OK, &link))
}

/// `POST /signin/link/{token}`
pub async fn take_link(visit: Visit) -> Result<Response, ApiError> {
    let token = visit.params.get("token");
    visit.house().parts.gate.admit_sign_in(visit.from, token)?;
    let (account_id, person_id) = visit.people.take_sign_in_link(token).await?;
    visit.sign_in(account_id, person_id, HOME).await
}

/// `GET /invitation/{token}`
pub async fn ask_invited(visit: Visit) -> Result<Response, ApiError> {
    let invitation = visit.people.invitation(visit.params.get("token")).await?;
    Ok(invited(&visit, StatusCode::OK, &invitation, ""))
}

fn invited(visit: &Visit, status: StatusCode, invitation: &Invitation, problem: &str) -> Response {
    let visitor = visit.visitor.as_ref();
    let page = Invited {
        frame: visit.frame("You are invited"),
        token: visit.params.get("token"),
        invitation,
        may: match invitation.role {
            Role::Owner => "do everything, and say who else may",
            Role::Member => "make pictures and videos, and see what was made",
            Role::Viewer => "see what was made and what it cost",
        },
        is_for_visitor: visitor
            .is_some_and(|visitor| invitation.person_id == Some(visitor.session.person_id)),
        problem,
        issuer: visit.people.issuer_name(),
    };
    shell::page(status, &page)
}

/// `POST /invitation/{token}`
pub async fn accept(visit: Visit) -> Result<Response, ApiError> {
    let token = visit.params.get("token");
    visit.house().parts.gate.admit_sign_in(visit.from, token)?;
    let invitation = visit.people.invitation(token).await?;
    let visitor = visit.visitor.as_ref();
    let accepted = match visitor.map(|visitor| visitor.session.person_id) {
        Some(person_id) if invitation.person_id == Some(person_id) => {
            let account_id = visit.people.accept_as(token, person_id).await;
            account_id.map(|account_id| (account_id, person_id))
        }
        _ => {
            let proof = Proof::Password(visit.form.get("password").to_owned());
            visit.people.accept_as_new(token, proof).await
        }
    };
    match accepted {
        Ok((account_id, person_id)) => visit.sign_in(account_id, person_id, HOME).await,
        Err(error @ PeopleError::Password) => {
            let problem = format!("{error}.");
            let status = status_of(&error.into());
            Ok(invited(&visit, status, &invitation, &problem))
        }
        Err(error) => Err(error.into()),
    }
}
