//! `AdminService`.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::SystemTime;

use futures_util::Stream;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::account::point_in_time;
use super::{
    Api, caller, csv, given, header_key, int32, invalid, page_size, server_status, timestamp,
};
use crate::accounts::{self, AccountsError};
use crate::adapters::observe::REQUEST_ID;
use crate::generation::{Lost, Word};
use crate::operator::{
    self, AUDIT_CSV_HEADER, AUDIT_PAGE_MAX, ActorKind, AuditFilter, Grant, Operator,
    audit_csv_lines,
};
use crate::spec::body::HttpBody;
use crate::spec::error::ApiError;
use crate::spec::v1::admin_service_server::AdminService;
use crate::spec::v1::{
    Account, AccountDetails, AuditEntry, Balance, CreateAccountRequest, ExportAuditLogRequest,
    GetAccountRequest, GetServerStatusRequest, GrantCreditsRequest, ListAccountsRequest,
    ListAccountsResponse, ListAuditLogRequest, ListAuditLogResponse, ListPlansRequest,
    ListPlansResponse, ListUnknownSubmissionsRequest, ListUnknownSubmissionsResponse, Plan,
    SavePlanRequest, ServerStatus, SetPlanRequest, SettleSubmissionRequest, SettledSubmission,
    UnknownSubmission,
};
use crate::store::StoreError;

/// Accounts, or submissions, in a page when the request does not say.
const PAGE_DEFAULT: u32 = 50;

/// How a browser is to take the exported log.
const AUDIT_FILE: &str = "attachment; filename=\"piooy-audit-log.csv\"";

/// The plan of an account that is made without one.
const PLAN_DEFAULT: &str = "free";

#[tonic::async_trait]
impl AdminService for Api {
    async fn create_account(
        &self,
        request: Request<CreateAccountRequest>,
    ) -> Result<Response<Account>, Status> {
        let by = self.operator(&request).await?;
        let asked = request.into_inner();
        let plan = given(asked.plan).unwrap_or_else(|| PLAN_DEFAULT.to_owned());
        let made = self.desk.create_account(&by, &asked.name, &plan).await;
        Ok(Response::new(account_message(
            made.map_err(ApiError::from)?,
        )))
    }

    async fn list_accounts(
        &self,
        request: Request<ListAccountsRequest>,
    ) -> Result<Response<ListAccountsResponse>, Status> {
        let asked = request.into_inner();
        let limit = page_size(asked.page_size, PAGE_DEFAULT);
        let after = given(asked.page_token);
        let accounts = self
            .accounts
            .search(&asked.name_contains, after.as_deref(), limit)
            .await
            .map_err(ApiError::from)?;
        let full = u32::try_from(accounts.len()).is_ok_and(|count| count == limit);
        let next = accounts
            .last()
            .filter(|_| full)
            .map(|account| account.name.clone());
        Ok(Response::new(ListAccountsResponse {
            accounts: accounts.into_iter().map(account_message).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn get_account(
        &self,
        request: Request<GetAccountRequest>,
    ) -> Result<Response<AccountDetails>, Status> {
        let name = request.into_inner().name;
        let found = self.accounts.account_with_plan(&name).await;
        let unknown = AccountsError::AccountUnknown { account: name };
        let (account, plan) = found
            .and_then(|found| found.ok_or(unknown))
            .map_err(ApiError::from)?;
        let balance = self
            .balance(account.id, &account.name, &account.plan)
            .await?;
        Ok(Response::new(AccountDetails {
            account: Some(account_message(account)),
            plan: Some(plan_message(plan)),
            balance: Some(balance),
        }))
    }

    async fn set_plan(
        &self,
        request: Request<SetPlanRequest>,
    ) -> Result<Response<Account>, Status> {
        let by = self.operator(&request).await?;
        let asked = request.into_inner();
        let set = self.desk.set_plan(&by, &asked.account, &asked.plan).await;
        let account = set.map_err(ApiError::from)?;
        self.gate.forget();
        Ok(Response::new(account_message(account)))
    }

    async fn list_plans(
        &self,
        _: Request<ListPlansRequest>,
    ) -> Result<Response<ListPlansResponse>, Status> {
        let plans = self.accounts.plans().await.map_err(ApiError::from)?;
        Ok(Response::new(ListPlansResponse {
            plans: plans.into_iter().map(plan_message).collect(),
        }))
    }

    async fn save_plan(&self, request: Request<SavePlanRequest>) -> Result<Response<Plan>, Status> {
        let by = self.operator(&request).await?;
        let asked = request.into_inner().plan.unwrap_or_default();
        let saved = self.desk.save_plan(&by, &plan_of(asked)?).await;
        let plan = saved.map_err(ApiError::from)?;
        self.gate.forget();
        Ok(Response::new(plan_message(plan)))
    }

    async fn grant_credits(
        &self,
        request: Request<GrantCreditsRequest>,
    ) -> Result<Response<Balance>, Status> {
        let by = self.operator(&request).await?;
        let key = header_key(request.metadata())?;
        let asked = request.into_inner();
        let key = key.or(given(asked.idempotency_key));
        let expires_at = asked
            .expires_at
            .map(|time| point_in_time("expiresAt", time))
            .transpose()?;
        let grant = Grant {
            account: &asked.account,
            credits: asked.credits,
            note: &asked.note,
            expires_at,
            idempotency_key: key.as_deref(),
        };
        let granted = self.desk.grant(&by, &grant).await;
        let account = granted.map_err(ApiError::from)?;
        let balance = self
            .balance(account.id, &account.name, &account.plan)
            .await?;
        Ok(Response::new(balance))
    }

    async fn list_unknown_submissions(
        &self,
        request: Request<ListUnknownSubmissionsRequest>,
    ) -> Result<Response<ListUnknownSubmissionsResponse>, Status> {
        let asked = request.into_inner();
        let after = given(asked.page_token)
            .map(|token| Uuid::try_parse(&token))
            .transpose()
            .map_err(|_| invalid("pageToken", "must be the nextPageToken of an earlier page"))?;
        let limit = page_size(asked.page_size, PAGE_DEFAULT);
        let (submissions, next) = self
            .lost_submissions
            .list(after, limit)
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(ListUnknownSubmissionsResponse {
            submissions: submissions.into_iter().map(unknown_message).collect(),
            next_page_token: next.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn settle_submission(
        &self,
        request: Request<SettleSubmissionRequest>,
    ) -> Result<Response<SettledSubmission>, Status> {
        let by = self.operator(&request).await?;
        let asked = request.into_inner();
        let task_id =
            Uuid::try_parse(&asked.task_id).map_err(|_| invalid("taskId", "must be a UUID"))?;
        let attempt =
            u32::try_from(asked.attempt).map_err(|_| invalid("attempt", "must be 1 or more"))?;
        let word = Word::parse(&asked.verdict, given(asked.upstream_id)).ok_or_else(|| {
            invalid(
                "upstreamId",
                "must be given with the verdict ARRIVED, and with no other",
            )
        })?;
        let settled_at = self
            .desk
            .settle(&by, &self.lost_submissions, task_id, attempt, &word)
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(SettledSubmission {
            task_id: task_id.to_string(),
            attempt: asked.attempt,
            verdict: asked.verdict,
            upstream_id: word.upstream_id().unwrap_or_default().to_owned(),
            settled_at: Some(timestamp(settled_at)),
        }))
    }

    async fn get_server_status(
        &self,
        _: Request<GetServerStatusRequest>,
    ) -> Result<Response<ServerStatus>, Status> {
        let now = SystemTime::now();
        let overview = self.generation.overview().await.map_err(ApiError::from)?;
        Ok(Response::new(server_status::message(overview, now)))
    }

    async fn list_audit_log(
        &self,
        request: Request<ListAuditLogRequest>,
    ) -> Result<Response<ListAuditLogResponse>, Status> {
        let asked = request.into_inner();
        let before = given(asked.page_token)
            .map(|token| token.parse::<i64>())
            .transpose()
            .map_err(|_| invalid("pageToken", "must be the nextPageToken of an earlier page"))?;
        let filter = audit_filter(asked.account, asked.method, asked.from, asked.to)?;
        let limit = page_size(asked.page_size, PAGE_DEFAULT);
        let page = self.audit_log.list(&filter, before, limit).await;
        let page = page.map_err(ApiError::from)?;
        Ok(Response::new(ListAuditLogResponse {
            entries: page.entries.into_iter().map(audit_message).collect(),
            next_page_token: page
                .next
                .map(|number| number.to_string())
                .unwrap_or_default(),
        }))
    }

    type ExportAuditLogStream = Pin<Box<dyn Stream<Item = Result<HttpBody, Status>> + Send>>;

    async fn export_audit_log(
        &self,
        request: Request<ExportAuditLogRequest>,
    ) -> Result<Response<Self::ExportAuditLogStream>, Status> {
        let asked = request.into_inner();
        let filter = audit_filter(asked.account, asked.method, asked.from, asked.to)?;
        let log = self.audit_log.clone();
        let pages = csv::pages(AUDIT_CSV_HEADER, move |before| {
            let (log, filter) = (log.clone(), filter.clone());
            async move {
                let page = log.list(&filter, before, AUDIT_PAGE_MAX).await?;
                Ok::<_, StoreError>((audit_csv_lines(&page.entries), page.next))
            }
        });
        Ok(csv::response(pages, AUDIT_FILE))
    }
}

impl Api {
    /// Who changes something, for the record.
    async fn operator<T: Sync>(&self, request: &Request<T>) -> Result<Operator, Status> {
        let caller = caller(request)?;
        let request_id = request.metadata().get(REQUEST_ID.as_str());
        let request_id = request_id
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        let own = caller.account_name().to_owned();
        let (kind, id, name) = match (caller.session(), caller.key_id()) {
            (Some(session), _) => {
                let person = self.people.person(session.person_id).await;
                let email = person
                    .map_err(ApiError::from)?
                    .and_then(|person| person.email);
                let name = email.unwrap_or(own);
                (ActorKind::Person, Some(session.person_id), name)
            }
            (None, Some(key_id)) => (ActorKind::Key, Some(key_id), own),
            (None, None) => (ActorKind::Token, None, own),
        };
        Ok(Operator {
            kind,
            id,
            name,
            request_id,
        })
    }
}

fn audit_filter(
    account: String,
    method: String,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<AuditFilter, ApiError> {
    Ok(AuditFilter {
        account: given(account),
        method: given(method),
        from: from.map(|time| point_in_time("from", time)).transpose()?,
        to: to.map(|time| point_in_time("to", time)).transpose()?,
    })
}

fn audit_message(entry: operator::AuditEntry) -> AuditEntry {
    AuditEntry {
        number: entry.number,
        at: Some(timestamp(entry.at)),
        actor_kind: entry.by.kind.name().to_owned(),
        actor_id: entry.by.id.map(|id| id.to_string()).unwrap_or_default(),
        actor: entry.by.name,
        method: entry.method,
        account: entry.account.unwrap_or_default(),
        change: entry.change.to_string(),
        request_id: entry.by.request_id.unwrap_or_default(),
    }
}

fn unknown_message(lost: Lost) -> UnknownSubmission {
    UnknownSubmission {
        task_id: lost.task_id.to_string(),
        attempt: int32(lost.attempt),
        account: lost.account,
        test: lost.test,
        model: lost.model,
        provider: lost.provider,
        upstream_model: lost.upstream_model.unwrap_or_default(),
        since: Some(timestamp(lost.since)),
        deadline_at: Some(timestamp(lost.deadline_at)),
        held_credits: lost.held,
    }
}

fn account_message(account: accounts::Account) -> Account {
    Account {
        id: account.id.to_string(),
        name: account.name,
        plan: account.plan,
        created_at: Some(timestamp(account.created_at)),
    }
}

fn plan_message(plan: accounts::Plan) -> Plan {
    Plan {
        name: plan.name,
        submits_per_minute: int32(plan.submits_per_minute.get()),
        reads_per_minute: int32(plan.reads_per_minute.get()),
        concurrent_tasks: int32(plan.concurrent_tasks.get()),
        free_tier_included: plan.free_tier_included,
        queued_tasks: int32(plan.queued_tasks),
        monthly_credits: plan.monthly_credits,
    }
}

fn plan_of(message: Plan) -> Result<accounts::Plan, ApiError> {
    let positive = |field: &str, number: i32| {
        u32::try_from(number)
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or_else(|| invalid(field, "must be 1 or more"))
    };
    Ok(accounts::Plan {
        submits_per_minute: positive("plan.submitsPerMinute", message.submits_per_minute)?,
        reads_per_minute: positive("plan.readsPerMinute", message.reads_per_minute)?,
        concurrent_tasks: positive("plan.concurrentTasks", message.concurrent_tasks)?,
        queued_tasks: message
            .queued_tasks
            .try_into()
            .map_err(|_| invalid("plan.queuedTasks", "must be 0 or more"))?,
        monthly_credits: message.monthly_credits,
        free_tier_included: message.free_tier_included,
        name: message.name,
    })
}
