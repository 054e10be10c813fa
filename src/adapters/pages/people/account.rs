//! `/settings/account`: the plan and its limits, who works for the account, and what visitors change about themselves.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::apikeys::{Confirm, minute};
use super::shell::{self, status_of};
use super::visit::{Visit, Visitor};
use crate::accounts::{Plan, Scope};
use crate::adapters::pages::Frame;
use crate::people::{Identity, Membership, Role};
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// The page.
const PATH: &str = "/settings/account";

#[derive(Template)]
#[template(path = "account.html")]
struct Account<'p> {
    frame: Frame,
    form_token: &'p str,
    account: &'p str,
    role: Role,
    operator: bool,
    plan: &'p Plan,
    email: String,
    has_password: bool,
    /// What the OpenID provider is called; none: there is none.
    issuer: Option<&'p str>,
    /// As whom the visitor is connected with it.
    identity: Option<Identity>,
    /// None: the visitor is no owner.
    members: Option<Vec<Row>>,
    /// The accounts that the visitor could work for instead.
    others: Vec<Membership>,
    done: &'static str,
    problem: &'p str,
    /// An invitation that was made just now: whom it is for and its link.
    invited: Option<(String, String)>,
}

/// A member as the page shows it.
struct Row {
    id: String,
    email: String,
    role: String,
    since: String,
    is_visitor: bool,
}

impl Row {
    fn is(&self, role: &str) -> bool {
        self.role == role
    }
}

/// A member as the method answers it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Member {
    id: String,
    email: String,
    role: String,
    joined_at: Option<String>,
    invited_until: Option<String>,
}

/// `GET /settings/account`
pub async fn show(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    page(&visit, &visitor, StatusCode::OK, "", None).await
}

async fn page(
    visit: &Visit,
    visitor: &Visitor,
    status: StatusCode,
    problem: &str,
    invited: Option<(String, String)>,
) -> Result<Response, ApiError> {
    let Visitor {
        caller,
        session,
        form_token,
        ..
    } = visitor;
    let person = visit.people.person(session.person_id).await?;
    let person = person.ok_or_else(ApiError::internal)?;
    let mut others = visit.people.memberships(session.person_id).await?;
    others.retain(|membership| membership.account_id != session.account_id);
    let members = if caller.scopes().contains(Scope::Keys) {
        let members = members(visit, visitor).await?;
        let own = session.person_id.to_string();
        Some(
            members
                .into_iter()
                .map(|member| row(member, &own))
                .collect(),
        )
    } else {
        None
    };
    let frame = visit.frame("Account");
    let page = Account {
        frame,
        form_token,
        account: caller.account_name(),
        role: session.role,
        operator: session.operator,
        plan: caller.plan(),
        has_password: person.has_password(),
        issuer: visit.people.issuer_name(),
        identity: visit.people.identity_of(session.person_id).await?,
        email: person.email.unwrap_or_default(),
        members,
        others,
        done: match visit.query.get("done") {
            "password" => "The password is changed. You were signed out everywhere else.",
            "email" => "The e-mail address is changed.",
            "connected" => "Connected. You can sign in with it from now on.",
            "disconnected" => "Disconnected. It signs you in no more.",
            "role" => "The role is changed.",
            "removed" => "Removed.",
            _ => "",
        },
        problem,
        invited,
    };
    Ok(shell::page(status, &page))
}

async fn members(visit: &Visit, visitor: &Visitor) -> Result<Vec<Member>, ApiError> {
    let mut answer = visitor
        .call(visit.house(), "ListMembers", &json!({}))
        .await?;
    serde_json::from_value(answer["members"].take()).map_err(|_| ApiError::internal())
}

fn row(member: Member, own: &str) -> Row {
    Row {
        is_visitor: member.id == own,
        id: member.id,
        email: if member.email.is_empty() {
            "no e-mail address yet".to_owned()
        } else {
            member.email
        },
        role: member.role,
        since: match (member.joined_at, member.invited_until) {
            (Some(since), _) => format!("since {}", minute(&since)),
            (None, Some(until)) => format!("invited until {}", minute(&until)),
            (None, None) => String::new(),
        },
    }
}

/// The page with what was wrong, where it is something that the visitor can mend.
pub(super) async fn mend(
    visit: &Visit,
    visitor: &Visitor,
    error: ApiError,
) -> Result<Response, ApiError> {
    match error.reason {
        Reason::InvalidArgument | Reason::MemberExists | Reason::LastOwner => {
            page(visit, visitor, status_of(&error), &error.message, None).await
        }
        _ => Err(error),
    }
}

/// Spends a try of those for signing in: a password is asked for here too.
pub(super) fn admit(visit: &Visit, visitor: &Visitor) -> Result<(), ApiError> {
    let person = visitor.session.person_id.to_string();
    Ok(visit
        .house()
        .parts
        .gate
        .admit_sign_in(visit.from, &person)?)
}

/// `POST /settings/account/password`
pub async fn set_password(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    admit(&visit, &visitor)?;
    let (current, new) = (visit.form.get("password"), visit.form.get("new_password"));
    let session = &visitor.session;
    let changed = visit
        .people
        .set_password(session.person_id, current.to_owned(), new.to_owned());
    match changed.await {
        Ok(()) => {
            let done = format!("{PATH}?done=password");
            visit
                .sign_in(session.account_id, session.person_id, &done)
                .await
        }
        Err(error) => mend(&visit, &visitor, error.into()).await,
    }
}

/// `POST /settings/account/email`
pub async fn set_email(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    admit(&visit, &visitor)?;
    let (password, email) = (visit.form.get("password"), visit.form.get("email"));
    let changed = visit
        .people
        .set_email(visitor.session.person_id, password.to_owned(), email);
    match changed.await {
        Ok(()) => Ok(visit.lead_to(&format!("{PATH}?done=email"))),
        Err(error) => mend(&visit, &visitor, error.into()).await,
    }
}

/// `POST /settings/account/switch`
pub async fn switch(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let account = visit.form.get("account").parse();
    let account =
        account.map_err(|_| ApiError::new(Reason::AccountNotFound, "There is no such account."))?;
    visit
        .sign_in(account, visitor.session.person_id, PATH)
        .await
}

/// `POST /settings/account/members`
pub async fn invite(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"email": visit.form.get("email").trim(), "role": visit.form.get("role")});
    match visitor.call(visit.house(), "InviteMember", &request).await {
        Ok(answer) => {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let invited = (text(&answer["member"]["email"]), text(&answer["link"]));
            page(&visit, &visitor, StatusCode::OK, "", Some(invited)).await
        }
        Err(error) => mend(&visit, &visitor, error).await,
    }
}

/// `POST /settings/account/members/{id}/role`
pub async fn set_role(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"id": visit.params.get("id"), "role": visit.form.get("role")});
    match visitor.call(visit.house(), "SetMemberRole", &request).await {
        Ok(_) => Ok(visit.lead_to(&format!("{PATH}?done=role"))),
        Err(error) => mend(&visit, &visitor, error).await,
    }
}

/// `GET /settings/account/members/{id}/remove`
pub async fn ask_remove(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let id = visit.params.get("id");
    let members = members(&visit, &visitor).await?;
    let member = members.into_iter().find(|member| member.id == id);
    let member = member
        .ok_or_else(|| ApiError::new(Reason::MemberNotFound, "The account has no such member."))?;
    let row = row(member, &visitor.session.person_id.to_string());
    let frame = visit.frame("Remove this member?");
    let confirm = Confirm {
        frame,
        form_token: &visitor.form_token,
        text: format!(
            "{} is signed out of this account at once. Keys that were made stay; revoke them if they should not.",
            row.email
        ),
        action: format!("{PATH}/members/{}/remove", row.id),
        back: PATH,
        button: "Remove",
    };
    Ok(shell::page(StatusCode::OK, &confirm))
}

/// `POST /settings/account/members/{id}/remove`
pub async fn remove(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"id": visit.params.get("id")});
    match visitor.call(visit.house(), "RemoveMember", &request).await {
        Ok(_) => Ok(visit.lead_to(&format!("{PATH}?done=removed"))),
        Err(error) => mend(&visit, &visitor, error).await,
    }
}
