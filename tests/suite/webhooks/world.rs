//! A node whose ends are told, by as many deliverers as a test wants.

use std::sync::Arc;
use std::time::Duration;

use piooy::adapters::handlers::TaskMessages;
use piooy::egress::{Egress, Policy};
use piooy::gate::Caller;
use piooy::generation::{Generation, Request, Settings as GenerationSettings, Task};
use piooy::webhooks::{
    Deliverer, Delivery, DeliveryFilter, DeliveryStatus, Settings, Webhooks, World,
};

use crate::generation::fixture::{self, Fixture, ended, picture, sandbox, until};

/// The way out; to addresses of this machine only if allowed.
pub fn egress(private_allowed: bool) -> Egress {
    // The client wants to know how it would speak TLS, though nothing here does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Egress::new(Policy { private_allowed }).unwrap()
}

/// Waits short enough for a test. The first retry comes at once, and everything is looked for all the time.
pub fn quick() -> Settings {
    Settings {
        poll: Duration::from_millis(10),
        wait_min: Duration::from_millis(1),
        ..Settings::default()
    }
}

pub struct Town {
    pub fixture: Fixture,
    pub node: Arc<Generation>,
    pub webhooks: Webhooks,
}

impl Town {
    pub async fn new() -> Self {
        Self::with(fixture::settings()).await
    }

    pub async fn with(settings: GenerationSettings) -> Self {
        let fixture = Fixture::new().await;
        let node = Arc::new(fixture.node_with(sandbox(), settings).await);
        let store = fixture.database.store().clone();
        let webhooks = Webhooks::new(store, egress(true), node.owed());
        Self {
            fixture,
            node,
            webhooks,
        }
    }

    /// A deliverer of this node.
    pub fn deliverer(&self, settings: Settings) -> Deliverer {
        self.deliverer_of(self.webhooks.clone(), settings)
    }

    pub fn deliverer_of(&self, webhooks: Webhooks, settings: Settings) -> Deliverer {
        let messages = TaskMessages::new(Arc::clone(&self.node), self.fixture.assets.clone());
        Deliverer::start(webhooks, Arc::new(messages), settings)
    }

    /// The world of the account's live keys.
    pub fn live(&self) -> World {
        World {
            account_id: self.fixture.account.id,
            test: false,
        }
    }

    pub fn test(&self) -> World {
        World {
            test: true,
            ..self.live()
        }
    }

    /// A webhook for live tasks; answers with its secret and its id.
    pub async fn webhook(&self, url: &str) -> (String, uuid::Uuid) {
        let (secret, webhook) = self.webhooks.create(self.live(), url).await.unwrap();
        (secret.expose(), webhook.id)
    }

    /// Has a picture painted to its end.
    pub async fn paint(&self, caller: &Caller, prompt: &str) -> Task {
        self.run(caller, picture(prompt)).await
    }

    pub async fn run(&self, caller: &Caller, request: Request) -> Task {
        let task = self.node.submit(caller, request, None).await.unwrap();
        ended(&self.node, caller, task.id).await
    }

    /// Everything the account's live tasks owe and owed, newest first.
    pub async fn deliveries(&self) -> Vec<Delivery> {
        self.listed(self.live(), DeliveryFilter::default()).await
    }

    pub async fn listed(&self, world: World, filter: DeliveryFilter) -> Vec<Delivery> {
        let page = self.webhooks.deliveries(world, filter, None, 500).await;
        page.unwrap().deliveries
    }

    /// Waits until the only delivery stands so.
    pub async fn stands(&self, status: DeliveryStatus) -> Delivery {
        until("a delivery", async || {
            let deliveries = self.deliveries().await;
            deliveries.len() == 1 && deliveries[0].status == status
        })
        .await;
        self.deliveries().await.remove(0)
    }
}
