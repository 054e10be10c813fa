//! `AdminService`.

use std::num::NonZeroU32;

use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::account::point_in_time;
use super::{Api, caller, given, int32, invalid, page_size, timestamp};
use crate::accounts;
use crate::generation::{Lost, Word};
use crate::spec::error::ApiError;
use crate::spec::v1::admin_service_server::AdminService;
use crate::spec::v1::{
    Account, Balance, CreateAccountRequest, GrantCreditsRequest, ListAccountsRequest,
    ListAccountsResponse, ListPlansRequest, ListPlansResponse, ListUnknownSubmissionsRequest,
    ListUnknownSubmissionsResponse, Plan, SavePlanRequest, SetPlanRequest, SettleSubmissionRequest,
    SettledSubmission, UnknownSubmission,
};

/// Accounts, or submissions, in a page when the request does not say.
const PAGE_DEFAULT: u32 = 50;

/// The plan of an account that is made without one.
const PLAN_DEFAULT: &str = "free";

#[tonic::async_trait]
impl AdminService for Api {
    async fn create_account(
        &self,
        request: Request<CreateAccountRequest>,
    ) -> Result<Response<Account>, Status> {
        let asked = request.into_inner();
        let plan = given(asked.plan).unwrap_or_else(|| PLAN_DEFAULT.to_owned());
        let account = self
            .accounts
            .create(&asked.name, &plan)
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(account_message(account)))
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
            .list(after.as_deref(), limit)
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

    async fn set_plan(
        &self,
        request: Request<SetPlanRequest>,
    ) -> Result<Response<Account>, Status> {
        let asked = request.into_inner();
        let account = self
            .accounts
            .set_plan(&asked.account, &asked.plan)
            .await
            .map_err(ApiError::from)?;
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
        let asked = request.into_inner().plan.unwrap_or_default();
        let plan = self
            .accounts
            .save_plan(&plan_of(asked)?)
            .await
            .map_err(ApiError::from)?;
        self.gate.forget();
        Ok(Response::new(plan_message(plan)))
    }

    async fn grant_credits(
        &self,
        request: Request<GrantCreditsRequest>,
    ) -> Result<Response<Balance>, Status> {
        let asked = request.into_inner();
        let account = self
            .accounts
            .by_name(&asked.account)
            .await
            .map_err(ApiError::from)?;
        let expires_at = asked
            .expires_at
            .map(|time| point_in_time("expiresAt", time))
            .transpose()?;
        self.ledger
            .grant(account.id, asked.credits, &asked.note, expires_at)
            .await
            .map_err(ApiError::from)?;
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
        let caller = caller(&request)?;
        let who = match caller.key_id() {
            Some(key_id) => format!("{}, key {key_id}", caller.account_name()),
            None => caller.account_name().to_owned(),
        };
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
            .lost_submissions
            .settle(task_id, attempt, &word, &who)
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
