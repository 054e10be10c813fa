//! `AccountService`.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::str::FromStr;
use std::time::SystemTime;

use futures_util::Stream;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, caller, csv, given, invalid, page_size, timestamp};
use crate::accounts::{self, NewKey, Scope, Scopes, SpendingCaps, UpstreamSecret};
use crate::generation::{self, Day};
use crate::ledger::{self, CSV_HEADER, ENTRIES_MAX, EntryFilter, Kind, LedgerError, csv_lines};
use crate::spec::body::HttpBody;
use crate::spec::error::ApiError;
use crate::spec::v1::account_service_server::AccountService;
use crate::spec::v1::{
    ApiKey, Balance, CreateApiKeyRequest, CreateApiKeyResponse, DailySpending,
    DeleteUpstreamKeyRequest, ExpiringCredits, ExportTransactionsRequest, GetBalanceRequest,
    GetSpendingRequest, ListApiKeysRequest, ListApiKeysResponse, ListTransactionsRequest,
    ListTransactionsResponse, ListUpstreamKeysRequest, ListUpstreamKeysResponse,
    RevokeApiKeyRequest, SetUpstreamKeyRequest, Spending, SpendingCaps as SpendingCapsMessage,
    Transaction, UpstreamKey,
};

/// Movements in a page when the request does not say.
const PAGE_DEFAULT: u32 = 50;

/// The days that spending is told of at once, at most: a quarter of a year, however its months fall.
const SPENDING_DAYS_MAX: u32 = 92;

/// The days that spending is told of when the request does not say.
const SPENDING_DAYS_DEFAULT: u32 = 30;

/// How a browser is to take an exported statement.
const CSV_FILE: &str = "attachment; filename=\"piooy-transactions.csv\"";

#[tonic::async_trait]
impl AccountService for Api {
    async fn get_balance(
        &self,
        request: Request<GetBalanceRequest>,
    ) -> Result<Response<Balance>, Status> {
        let caller = caller(&request)?;
        let (name, plan) = (caller.account_name(), &caller.plan().name);
        let balance = self.balance(caller.account_id(), name, plan).await?;
        Ok(Response::new(balance))
    }

    async fn list_transactions(
        &self,
        request: Request<ListTransactionsRequest>,
    ) -> Result<Response<ListTransactionsResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let before = given(asked.page_token)
            .map(|token| token.parse::<i64>())
            .transpose()
            .map_err(|_| invalid("pageToken", "must be the nextPageToken of an earlier page"))?;
        let limit = page_size(asked.page_size, PAGE_DEFAULT) as usize;
        let filter = filter(&asked.kinds, asked.task_id, asked.from, asked.to)?;
        let page = self
            .ledger
            .entries(caller.account_id(), &filter, before, limit)
            .await
            .map_err(ApiError::from)?;
        let transactions = page.entries.into_iter().map(transaction_message);
        Ok(Response::new(ListTransactionsResponse {
            transactions: transactions.collect(),
            next_page_token: page
                .next
                .map(|sequence| sequence.to_string())
                .unwrap_or_default(),
        }))
    }

    type ExportTransactionsStream = Pin<Box<dyn Stream<Item = Result<HttpBody, Status>> + Send>>;

    async fn export_transactions(
        &self,
        request: Request<ExportTransactionsRequest>,
    ) -> Result<Response<Self::ExportTransactionsStream>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let filter = filter(&asked.kinds, asked.task_id, asked.from, asked.to)?;
        let (ledger, account_id) = (self.ledger.clone(), caller.account_id());
        let pages = csv::pages(CSV_HEADER, move |before| {
            let (ledger, filter) = (ledger.clone(), filter.clone());
            async move {
                let page = ledger.entries(account_id, &filter, before, ENTRIES_MAX);
                let page = page.await?;
                Ok::<_, LedgerError>((csv_lines(&page.entries), page.next))
            }
        });
        Ok(csv::response(pages, CSV_FILE))
    }

    async fn get_spending(
        &self,
        request: Request<GetSpendingRequest>,
    ) -> Result<Response<Spending>, Status> {
        let account_id = caller(&request)?.account_id();
        let now = SystemTime::now();
        let (first, last) = spending_days(request.into_inner(), Day::of(now))?;
        let daily = self
            .generation
            .spending(account_id, first, last, now)
            .await
            .map_err(ApiError::from)?;
        let total = |part: fn(&generation::DailySpending) -> i64| {
            let parts = daily.iter().map(part);
            parts.fold(0, i64::saturating_add)
        };
        Ok(Response::new(Spending {
            from: first.to_string(),
            to: last.to_string(),
            credits: total(|spending| spending.credits),
            tasks: total(|spending| spending.tasks),
            daily: daily.into_iter().map(spending_message).collect(),
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<CreateApiKeyRequest>,
    ) -> Result<Response<CreateApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let expires_at = asked
            .expires_at
            .map(|time| point_in_time("expiresAt", time))
            .transpose()?;
        let new = NewKey {
            name: asked.name,
            test: asked.test,
            scopes: scopes(&asked.scopes)?,
            expires_at,
            caps: asked.spending_caps.map(caps).unwrap_or_default(),
        };
        caller.may_issue(&new).map_err(ApiError::from)?;
        let (secret, key) = self
            .accounts
            .create_key(caller.account_id(), new)
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(CreateApiKeyResponse {
            key: secret.expose().to_owned(),
            api_key: Some(key_message(key)),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        let caller = caller(&request)?;
        let keys = self
            .accounts
            .list_keys(caller.account_id())
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(ListApiKeysResponse {
            api_keys: keys.into_iter().map(key_message).collect(),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<RevokeApiKeyRequest>,
    ) -> Result<Response<ApiKey>, Status> {
        let caller = caller(&request)?;
        let id =
            Uuid::try_parse(&request.get_ref().id).map_err(|_| invalid("id", "must be a UUID"))?;
        let key = self
            .accounts
            .key(caller.account_id(), id)
            .await
            .map_err(ApiError::from)?;
        caller.may_revoke(&key).map_err(ApiError::from)?;
        let key = self
            .accounts
            .revoke_key(caller.account_id(), id)
            .await
            .map_err(ApiError::from)?;
        self.gate.forget();
        Ok(Response::new(key_message(key)))
    }

    async fn set_upstream_key(
        &self,
        request: Request<SetUpstreamKeyRequest>,
    ) -> Result<Response<UpstreamKey>, Status> {
        let caller = caller(&request)?;
        caller.may_set_upstream_keys().map_err(ApiError::from)?;
        let asked = request.into_inner();
        let secret = UpstreamSecret::new(asked.key);
        let key = self
            .generation
            .set_upstream_key(caller.account_id(), &asked.upstream, secret)
            .await
            .map_err(ApiError::from)?;
        self.gate.forget();
        Ok(Response::new(upstream_key_message(key)))
    }

    async fn list_upstream_keys(
        &self,
        request: Request<ListUpstreamKeysRequest>,
    ) -> Result<Response<ListUpstreamKeysResponse>, Status> {
        let caller = caller(&request)?;
        let keys = self
            .generation
            .upstream_keys(caller.account_id())
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(ListUpstreamKeysResponse {
            upstream_keys: keys.into_iter().map(upstream_key_message).collect(),
        }))
    }

    async fn delete_upstream_key(
        &self,
        request: Request<DeleteUpstreamKeyRequest>,
    ) -> Result<Response<UpstreamKey>, Status> {
        let caller = caller(&request)?;
        caller.may_set_upstream_keys().map_err(ApiError::from)?;
        let key = self
            .generation
            .delete_upstream_key(caller.account_id(), &request.get_ref().upstream)
            .await
            .map_err(ApiError::from)?;
        self.gate.forget();
        Ok(Response::new(upstream_key_message(key)))
    }
}

fn upstream_key_message(key: accounts::UpstreamKey) -> UpstreamKey {
    UpstreamKey {
        upstream: key.upstream,
        last_characters: key.tail,
        created_at: Some(timestamp(key.created_at)),
    }
}

impl Api {
    /// What an account has now, and what of it expires.
    pub(super) async fn balance(
        &self,
        account_id: Uuid,
        name: &str,
        plan: &str,
    ) -> Result<Balance, ApiError> {
        let balance = self.ledger.balance(account_id).await?;
        let lots = self.ledger.lots(account_id).await?;
        let expiring = lots.into_iter().map(|lot| ExpiringCredits {
            credits: lot.remaining,
            expires_at: Some(timestamp(lot.expires_at)),
        });
        Ok(Balance {
            account: name.to_owned(),
            plan: plan.to_owned(),
            available: balance.available,
            held: balance.held,
            expiring: expiring.collect(),
        })
    }
}

fn filter(
    kinds: &[String],
    task_id: String,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<EntryFilter, ApiError> {
    let kinds = kinds.iter().map(|name| {
        Kind::from_name(name).ok_or_else(|| invalid("kinds", "must be kinds of movements"))
    });
    Ok(EntryFilter {
        kinds: kinds.collect::<Result<_, _>>()?,
        task_id: given(task_id)
            .map(|id| Uuid::try_parse(&id))
            .transpose()
            .map_err(|_| invalid("taskId", "must be a UUID"))?,
        from: from.map(|time| point_in_time("from", time)).transpose()?,
        to: to.map(|time| point_in_time("to", time)).transpose()?,
    })
}

/// The first and the last day that are asked for.
fn spending_days(asked: GetSpendingRequest, today: Day) -> Result<(Day, Day), ApiError> {
    let day = |field, text| -> Result<Option<Day>, ApiError> {
        let day = given(text).map(|text| {
            Day::parse(&text).ok_or_else(|| invalid(field, "must be a day such as 2026-01-31"))
        });
        day.transpose()
    };
    let last = day("to", asked.to)?.unwrap_or(today);
    let first = day("from", asked.from)?;
    let first = first.unwrap_or(last.earlier(SPENDING_DAYS_DEFAULT - 1));
    if first > last {
        return Err(invalid("from", "must not be later than the last day"));
    }
    if first < last.earlier(SPENDING_DAYS_MAX - 1) {
        return Err(invalid(
            "from",
            format!(
                "must be at most {} days before the last day",
                SPENDING_DAYS_MAX - 1
            ),
        ));
    }
    Ok((first, last))
}

fn spending_message(spending: generation::DailySpending) -> DailySpending {
    DailySpending {
        day: spending.day.to_string(),
        model: spending.model,
        credits: spending.credits,
        tasks: spending.tasks,
    }
}

/// The seconds that a protobuf `Timestamp` may hold: the years 1 to 9999.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The point in time of a message's field.
pub(super) fn point_in_time(field: &str, time: Timestamp) -> Result<SystemTime, ApiError> {
    Some(time)
        .filter(|time| TIMESTAMP_SECONDS.contains(&time.seconds))
        .and_then(|time| SystemTime::try_from(time).ok())
        .ok_or_else(|| invalid(field, "must be a time in the years 1 to 9999"))
}

fn scopes(names: &[String]) -> Result<Scopes, ApiError> {
    if names.is_empty() {
        return Ok(Scopes::DEFAULT);
    }
    names.iter().try_fold(Scopes::NONE, |scopes, name| {
        let scope = Scope::from_str(name).map_err(|error| invalid("scopes", error.to_string()))?;
        Ok(scopes.with(scope))
    })
}

fn caps(message: SpendingCapsMessage) -> SpendingCaps {
    SpendingCaps {
        per_hour: message.per_hour,
        per_day: message.per_day,
        total: message.total,
    }
}

fn caps_message(caps: SpendingCaps) -> SpendingCapsMessage {
    SpendingCapsMessage {
        per_hour: caps.per_hour,
        per_day: caps.per_day,
        total: caps.total,
    }
}

fn transaction_message(entry: ledger::Entry) -> Transaction {
    Transaction {
        sequence: entry.sequence,
        kind: entry.kind.name().to_owned(),
        amount: entry.amount,
        debit: entry.debit().name().to_owned(),
        credit: entry.credit().name().to_owned(),
        available: entry.available,
        held: entry.held,
        task_id: entry.task_id.map(|id| id.to_string()).unwrap_or_default(),
        note: entry.note,
        at: Some(timestamp(entry.at)),
    }
}

fn key_message(key: accounts::ApiKey) -> ApiKey {
    ApiKey {
        id: key.id.to_string(),
        name: key.name,
        prefix: key.prefix,
        test: key.test,
        scopes: key
            .scopes
            .iter()
            .map(|scope| scope.name().to_owned())
            .collect(),
        created_at: Some(timestamp(key.created_at)),
        expires_at: key.expires_at.map(timestamp),
        revoked_at: key.revoked_at.map(timestamp),
        last_used_at: key.last_used_at.map(timestamp),
        spending_caps: (!key.caps.is_none()).then(|| caps_message(key.caps)),
    }
}
