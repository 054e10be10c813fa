//! Pages for people: signing in, and what those who are signed in see and change.
//!
//! | module | pages |
//! |---|---|
//! | [`signin`] | `/signin`, links to sign in, invitations, signing out |
//! | [`oidc`] | the way to an OpenID provider and back |
//! | [`generate`], [`tasks`] | `/generate`, `/generate/history` and `/generate/{taskId}` |
//! | [`apikeys`] | `/settings/apikeys` |
//! | [`usage`] | `/settings/usage` |
//! | [`webhooks`] | `/settings/webhooks` |
//! | [`account`] | `/settings/account` |
//! | [`admin`] | `/admin` and below, for operators alone |
//! | [`visit`], [`form`], [`shell`] | who visits, what was sent, and what is around every page |
//!
//! Pages are written by the server and whole without scripts. What they read and change they ask of the methods of
//! the spec, through the same entrances as every other face: same scopes, same budgets, same words when it fails. Only
//! what concerns nobody but the visitor (password, address, session) has no method.
//!
//! **Forged requests** are kept out three times over: cookies stay away from other sites' requests, whatever changes
//! something must come from a page of this server, and it must bring the token that the session's own forms carry.

use axum::Router;
use axum::routing::{get, post};

use crate::adapters::entry::Shared;
use crate::people::LinkToken;

mod account;
mod admin;
mod apikeys;
mod form;
mod generate;
mod oidc;
mod shell;
mod signin;
mod tasks;
mod usage;
mod visit;
mod webhooks;

use visit::{open, signed_in};

/// The link that signs somebody in.
pub fn sign_in_link(public_url: &str, token: &LinkToken) -> String {
    format!("{public_url}/signin/link/{}", token.expose())
}

/// The link that invites somebody.
pub fn invitation_link(public_url: &str, token: &LinkToken) -> String {
    format!("{public_url}/invitation/{}", token.expose())
}

/// Where an OpenID provider leads people back to.
pub fn oidc_back(public_url: &str) -> String {
    format!("{public_url}{}", oidc::BACK)
}

/// The face. Without people there is nobody to show pages to.
pub fn router(house: &Shared) -> Router {
    if house.parts.people.is_none() {
        return Router::new();
    }
    Router::new()
        .merge(admin::router(house))
        .route(
            "/signin",
            get(open(house, signin::ask)).post(open(house, signin::sign_in)),
        )
        .route(
            "/signin/link/{token}",
            get(open(house, signin::ask_link)).post(open(house, signin::take_link)),
        )
        .route(
            "/invitation/{token}",
            get(open(house, signin::ask_invited)).post(open(house, signin::accept)),
        )
        .route("/signin/oidc", get(open(house, oidc::sign_in)))
        .route(oidc::BACK, get(open(house, oidc::come_back)))
        .route("/invitation/{token}/oidc", get(open(house, oidc::accept)))
        .route("/session/refresh", post(open(house, signin::refresh)))
        .route(
            generate::PATH,
            get(signed_in(house, generate::ask)).post(signed_in(house, generate::act)),
        )
        .route("/generate/history", get(signed_in(house, tasks::history)))
        .route("/generate/{id}", get(signed_in(house, tasks::show)))
        .route(
            "/generate/{id}/cancel",
            post(signed_in(house, tasks::cancel)),
        )
        .route("/signout", post(signed_in(house, signin::sign_out)))
        .route(
            "/settings/apikeys",
            get(signed_in(house, apikeys::list)).post(signed_in(house, apikeys::create)),
        )
        .route(
            "/settings/apikeys/{id}/revoke",
            get(signed_in(house, apikeys::ask_revoke)).post(signed_in(house, apikeys::revoke)),
        )
        .route("/settings/usage", get(signed_in(house, usage::show)))
        .route(
            "/settings/webhooks",
            get(signed_in(house, webhooks::show)).post(signed_in(house, webhooks::create)),
        )
        .route(
            "/settings/webhooks/{id}/delete",
            get(signed_in(house, webhooks::ask_delete)).post(signed_in(house, webhooks::delete)),
        )
        .route(
            "/settings/webhooks/deliveries/{id}/redeliver",
            post(signed_in(house, webhooks::redeliver)),
        )
        .route(
            "/settings/webhooks/secret",
            post(signed_in(house, webhooks::show_secret)),
        )
        .route(
            "/settings/webhooks/secret/rotate",
            get(signed_in(house, webhooks::ask_rotate)).post(signed_in(house, webhooks::rotate)),
        )
        .route("/settings/account", get(signed_in(house, account::show)))
        .route(
            "/settings/account/password",
            post(signed_in(house, account::set_password)),
        )
        .route(
            "/settings/account/email",
            post(signed_in(house, account::set_email)),
        )
        .route(
            "/settings/account/identity",
            post(signed_in(house, oidc::connect)),
        )
        .route(
            "/settings/account/identity/remove",
            post(signed_in(house, oidc::disconnect)),
        )
        .route(
            "/settings/account/switch",
            post(signed_in(house, account::switch)),
        )
        .route(
            "/settings/account/members",
            post(signed_in(house, account::invite)),
        )
        .route(
            "/settings/account/members/{id}/role",
            post(signed_in(house, account::set_role)),
        )
        .route(
            "/settings/account/members/{id}/remove",
            get(signed_in(house, account::ask_remove)).post(signed_in(house, account::remove)),
        )
}
