//! Plans are data: listed, made and changed while the server runs.

use std::num::NonZeroU32;

use super::records::Plan;
use super::{Accounts, AccountsError, is_name};

/// The most that each number of a plan but its credits can be; the table says so too.
pub const PLAN_NUMBER_MAX: u32 = 1_000_000;
/// The most credits that a plan can give a month; the table says so too.
pub const MONTHLY_CREDITS_MAX: i64 = 1_000_000_000_000;

impl Accounts {
    /// Every plan, by name.
    pub async fn plans(&self) -> Result<Vec<Plan>, AccountsError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/list_plans.sql"))
            .await?;
        let rows = client.query(&statement, &[]).await?;
        Ok(rows.iter().map(Plan::from_row).collect())
    }

    /// Makes a plan, or changes all of the plan of that name. Every replica follows within a second.
    pub async fn save_plan(&self, plan: &Plan) -> Result<Plan, AccountsError> {
        check(plan)?;
        let column = |number: u32| i32::try_from(number).expect("the check bounds it");
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/save_plan.sql"))
            .await?;
        let row = client
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
        Ok(Plan::from_row(&row))
    }

    /// That there is no such plan, and which there are.
    pub(super) async fn plan_unknown(&self, plan: &str) -> AccountsError {
        match self.plans().await {
            Ok(plans) => AccountsError::PlanUnknown {
                plan: plan.to_owned(),
                known: plans.into_iter().map(|plan| plan.name).collect(),
            },
            Err(error) => error,
        }
    }
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
