//! Credits over the faces: grants, what expires of them, the statement.

use std::time::{Duration, SystemTime};

use piooy::accounts::Scope;
use piooy::spec::v1::admin_service_client::AdminServiceClient;
use piooy::spec::v1::{GrantCreditsRequest, Plan, SavePlanRequest};

use super::answers::{envelope, keyed};
use super::server::Server;

#[tokio::test]
async fn credits_expire_in_the_future() {
    let server = Server::start().await;
    let admin = server.key("dev", &[Scope::Admin], false).await;
    let mut client = AdminServiceClient::new(server.channel().await);
    let mut grant = async |expires_at: SystemTime| {
        let request = GrantCreditsRequest {
            account: "dev".to_owned(),
            credits: 7,
            note: "welcome".to_owned(),
            expires_at: Some(expires_at.into()),
        };
        client.grant_credits(keyed(request, Some(&admin))).await
    };
    let past = grant(SystemTime::now() - Duration::from_secs(1)).await;
    let refused = envelope(&past.expect_err("it is past"));
    assert_eq!(
        refused["details"]["fieldViolations"][0]["field"], "expiresAt",
        "{refused}"
    );
    let day = Duration::from_secs(24 * 60 * 60);
    let balance = grant(SystemTime::now() + day).await.expect("is granted");
    assert_eq!(balance.get_ref().available, 1_007);
}

#[tokio::test]
async fn a_plan_that_is_saved_holds_at_once() {
    let server = Server::start().await;
    let admin = server.key("dev", &[Scope::Admin], false).await;
    let mut client = AdminServiceClient::new(server.channel().await);
    let mut save = async |plan| {
        let request = SavePlanRequest { plan };
        client.save_plan(keyed(request, Some(&admin))).await
    };
    let pro = Plan {
        name: "pro".to_owned(),
        submits_per_minute: 77,
        reads_per_minute: 88,
        concurrent_tasks: 9,
        ..Plan::default()
    };
    save(Some(pro.clone())).await.expect("is saved");
    let balance = server
        .rest(
            Some(&server.live_key),
            "GET",
            "/api/v1/credits",
            &serde_json::Value::Null,
        )
        .await;
    assert_eq!(balance.header("ratelimit-limit"), "88");
    for (plan, field) in [
        (None, "plan"),
        (
            Some(Plan {
                reads_per_minute: 0,
                ..pro.clone()
            }),
            "plan.readsPerMinute",
        ),
        (
            Some(Plan {
                name: "No Name".to_owned(),
                ..pro
            }),
            "plan.name",
        ),
    ] {
        let refused = envelope(&save(plan).await.expect_err(field));
        assert_eq!(
            refused["details"]["fieldViolations"][0]["field"], field,
            "{refused}"
        );
    }
}
