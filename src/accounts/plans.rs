//! Plans are data: listed, made and changed while the server runs.

use std::num::NonZeroU32;

use deadpool_postgres::{GenericClient, Transaction};

use super::records::Plan;
use super::{Accounts, AccountsError, is_name};

/// The most that each number of a plan but its credits can be; the table says so too.
pub const PLAN_NUMBER_MAX: u32 = 1_000_000;
/// The most credits that a plan can give a month; the table says so too.
pub const MONTHLY_CREDITS_MAX: i64 = 1_000_000_000_000;

impl Accounts {
    /// Every plan, by name.
    pub async fn plans(&self) -> Result<Vec<Plan>, AccountsError> {
        list(&self.store.client().await?).await
    }

    /// Makes a plan, or changes all of the plan of that name. Every replica follows within a second.
    pub async fn save_plan(&self, plan: &Plan) -> Result<Plan, AccountsError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let (saved, _) = Self::save_plan_within(&transaction, plan).await?;
        transaction.commit().await?;
        Ok(saved)
    }

    /// The same within a transaction of the caller's; also answers what the plan was before.
    pub async fn save_plan_within(
        transaction: &Transaction<'_>,
        plan: &Plan,
    ) -> Result<(Plan, Option<Plan>), AccountsError> {
        check(plan)?;
        let column = |number: u32| i32::try_from(number).expect("the check bounds it");
        let before = transaction
            .query_opt(include_str!("sql/lock_plan.sql"), &[&plan.name])
            .await?;
        let statement = transaction
            .prepare_cached(include_str!("sql/save_plan.sql"))
            .await?;
        let row = transaction
            .query_one(
                &statement,
                &[
                    &plan.name,
                    &column(plan.submits_per_minute.get()),
                    &column(plan.reads_per_minute.get()),
                    &column(plan.concurrent_tasks.get()),
                    &column(plan.queued_tasks),
                    &plan.monthly_credits,
                    &plan.free_tier_included,
                ],
            )
            .await?;
        Ok((
            Plan::from_row(&row),
            before.map(|before| Plan::from_row(&before)),
        ))
    }
}

async fn list(client: &impl GenericClient) -> Result<Vec<Plan>, AccountsError> {
    let statement = client
        .prepare_cached(include_str!("sql/list_plans.sql"))
        .await?;
    let rows = client.query(&statement, &[]).await?;
    Ok(rows.iter().map(Plan::from_row).collect())
}

/// That there is a plan of this name. Plans are never removed.
pub(super) async fn check_known(
    client: &impl GenericClient,
    plan: &str,
) -> Result<(), AccountsError> {
    let plans = list(client).await?.into_iter();
    let known: Vec<String> = plans.map(|plan| plan.name).collect();
    if known.iter().any(|name| name == plan) {
        return Ok(());
    }
    Err(AccountsError::PlanUnknown {
        plan: plan.to_owned(),
        known,
    })
}

fn check(plan: &Plan) -> Result<(), AccountsError> {
    if !is_name(&plan.name) {
        return Err(AccountsError::PlanName);
    }
    let numbers = [
        plan.submits_per_minute,
        plan.reads_per_minute,
        plan.concurrent_tasks,
    ]
    .map(NonZeroU32::get);
    let possible = numbers.iter().all(|number| *number <= PLAN_NUMBER_MAX)
        && plan.queued_tasks <= PLAN_NUMBER_MAX
        && (0..=MONTHLY_CREDITS_MAX).contains(&plan.monthly_credits);
    if possible {
        Ok(())
    } else {
        Err(AccountsError::PlanNumbers)
    }
}
