//! Generations: from a request to stored files, and from a price to a charge.
//!
//! ```text
//! submit ─▶ fit, price, route ─▶ hold and row, ─▶ run ─▶ end and money,
//!                                one commit       ▲      one commit
//!         a node dies ─▶ its lease ends ─▶ another takes over
//! ```
//!
//! - A task is a row from the moment its credits are held. This process keeps what is newest about
//!   its own open tasks in memory ([`board`]); the row decides.
//! - Its money moves in one place alone ([`changes`]), each time in one transaction with the row: held
//!   when the row appears, settled when it ends. A row ends once, so money moves once, whoever else
//!   tries: overlapping polls, a sweep at the deadline, a node that was thought dead.
//! - Every open task has a node, whose lease says whether it lives, and a deadline, which any node
//!   enforces.
//! - Reading never writes.
//!
//! Bounds stand in [`Settings`]. Lock order: accounts, then tasks; see the migration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::Stream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::assets::Assets;
use crate::catalog::{self, Model};
use crate::egress::Egress;
use crate::gate::Caller;
use crate::ledger::{Ledger, LedgerError};
use crate::providers::Providers;
use crate::store::{Store, StoreError};

mod batcher;
mod board;
mod changes;
mod day;
mod errors;
mod health;
mod hooks;
mod inputs;
mod key;
mod lost;
mod news;
mod overview;
mod own_keys;
mod prepare;
mod prober;
mod quote;
mod records;
mod request;
mod routes;
mod settings;
mod spending;
mod status;
mod submit;
mod task;
mod verify;
mod watch;
mod worker;

pub use day::Day;
pub use errors::{IDEMPOTENCY_KEY_CHARACTERS_MAX, SubmitError, TaskError};
pub use health::Condition;
pub use hooks::HOOKS_PATH;
pub use inputs::Picture;
pub use lost::{Lost, LostSubmissions, SettleError, Settled, Word};
pub use overview::{Counts, Ends, Node, Overview, Queue, Standing, Upstream};
pub use own_keys::OwnKeyError;
pub use quote::{QUOTE_LIFE, Quote, QuoteError};
pub use request::{Asked, Request, Scene};
pub use routes::{Availability, Reach};
pub use settings::Settings;
pub use spending::DailySpending;
pub use status::{Event, Status};
pub use task::{Adjustment, Credits, Filter, Output, OutputLinks, Task, share};
pub use verify::verify;

use board::Board;
use changes::{Changes, Ending};
use health::Health;
use news::News;
use own_keys::{OwnKeys, OwnUpstreams};
use quote::Quotes;
use records::Records;
use spending::Spending;
use worker::{Assignment, Doubt, LeaseEnd, Turns, Worker};

/// The most tasks in one page.
pub const PAGE_MAX: u32 = 100;

/// What the room works with.
pub struct Parts {
    /// Where tasks are kept.
    pub store: Store,
    /// For balances.
    pub ledger: Ledger,
    /// The models.
    pub catalog: catalog::Current,
    /// The upstreams.
    pub providers: Providers,
    /// Where results and reference pictures are kept.
    pub assets: Assets,
    /// The way to pictures that callers name by address.
    pub egress: Egress,
    /// Signs quotes; the same on every replica.
    pub quote_secret: [u8; 32],
}

/// The use cases, and the worker behind them. Dropping it stops the work where it stands, as a
/// crash would; [`Generation::stop`] does it in order.
pub struct Generation {
    core: Arc<Core>,
    worker: Worker,
    _prober: AbortOnDropHandle<()>,
}

/// What use cases and worker share.
struct Core {
    /// This process among all that serve the same database.
    node: Uuid,
    records: Records,
    /// Whatever happens to a task goes to the database through here.
    changes: Changes,
    ledger: Ledger,
    spending: Spending,
    catalog: catalog::Current,
    providers: Providers,
    /// Those that accounts bring keys for.
    own_keys: OwnKeys,
    /// Which of the operator's are worth asking.
    health: Health,
    assets: Assets,
    egress: Egress,
    quotes: Quotes,
    settings: Settings,
    board: Board,
    /// What is known of the other nodes, and how to talk to them.
    news: News,
    /// Whether the board may lack a task of this node.
    doubt: Doubt,
    /// Somebody is to be told of an end.
    owed: Arc<Notify>,
    /// The other nodes have changed: see to the order among them now.
    nodes_changed: Notify,
    /// Until when this node's word surely counts.
    lease_until: LeaseEnd,
    /// The turns of accounts whose tasks wait.
    turns: Turns,
    /// One place for each open task of this process.
    places: Arc<Semaphore>,
    /// One place for each task that is with an upstream.
    running: Semaphore,
    /// One place for each task that has failed but may still be delivered.
    stragglers: Semaphore,
    /// To the worker. Unbounded, but each entry has one of the `places`.
    queue: mpsc::UnboundedSender<Assignment>,
}

/// A page of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Newest first.
    pub tasks: Vec<Task>,
    /// Pass it as `before` to get the next page; none when this is the last.
    pub next: Option<Uuid>,
}

impl Generation {
    /// Starts working: registers this process as a node, then takes over what others left.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn start(parts: Parts, settings: Settings) -> Result<Self, StoreError> {
        let (queue, assignments) = mpsc::unbounded_channel();
        let node = Uuid::now_v7();
        let news = News::new(node);
        let owed = Arc::new(Notify::new());
        let core = Arc::new(Core {
            node,
            changes: Changes::start(
                parts.store.clone(),
                node,
                news.clone(),
                Arc::clone(&owed),
                settings.key_lifetime,
            ),
            owed,
            own_keys: OwnKeys::new(parts.store.clone(), &settings),
            spending: Spending::new(parts.store.clone(), parts.ledger.clone()),
            records: Records::new(parts.store, news.clone()),
            ledger: parts.ledger,
            catalog: parts.catalog,
            health: Health::new(&parts.providers, &settings),
            providers: parts.providers,
            assets: parts.assets,
            egress: parts.egress,
            quotes: Quotes::new(&parts.quote_secret),
            board: Board::default(),
            news,
            doubt: Doubt::default(),
            nodes_changed: Notify::new(),
            lease_until: LeaseEnd::default(),
            turns: Turns::default(),
            places: Arc::new(Semaphore::new(settings.open_tasks_max)),
            running: Semaphore::new(settings.running_tasks_max),
            stragglers: Semaphore::new(settings.stragglers_max),
            settings,
            queue,
        });
        let worker = Worker::start(Arc::clone(&core), assignments).await?;
        let prober = prober::start(&core);
        Ok(Self {
            core,
            worker,
            _prober: prober,
        })
    }

    /// Stops working: lets go of every open task, so that the next process goes on with them at
    /// once. Use cases still answer.
    pub async fn stop(&self) {
        self.worker.stop().await;
    }

    /// Tells what a request would cost and how it would run, without starting it. A quote that the
    /// request brings is not looked at.
    ///
    /// # Errors
    /// What [`Generation::submit`] would say of the request itself.
    pub async fn quote(&self, caller: &Caller, request: &Request) -> Result<Quote, SubmitError> {
        quote::quote(&self.core, caller, request, SystemTime::now()).await
    }

    /// Accepts a request: holds its price and answers with the task, which is durable by then. The
    /// same idempotency key with the same request gives the task that it gave before, even when
    /// that has ended.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is held then and the key stays unused.
    pub async fn submit(
        &self,
        caller: &Caller,
        request: Request,
        key: Option<&str>,
    ) -> Result<Task, SubmitError> {
        submit::submit(&self.core, caller, request, key).await
    }

    /// How a task stands: from memory when this process works on it, else by one look at its row.
    ///
    /// # Errors
    /// [`TaskError::NotFound`] also for tasks of other accounts, and for live tasks when the key is
    /// a test key or the other way round.
    pub async fn get(&self, caller: &Caller, id: Uuid) -> Result<Task, TaskError> {
        self.core
            .task(caller.account_id(), caller.is_test(), id)
            .await
    }

    /// A page of at most `limit`, and never more than [`PAGE_MAX`], of the account's tasks, newest
    /// first: those older than `before` that the filter lets through.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn list(
        &self,
        caller: &Caller,
        before: Option<Uuid>,
        filter: &Filter,
        limit: u32,
    ) -> Result<Page, TaskError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let records = &self.core.records;
        let mut tasks = records
            .list(
                caller.account_id(),
                caller.is_test(),
                before,
                filter,
                limit + 1,
            )
            .await?;
        let more = tasks.len() > limit as usize;
        tasks.truncate(limit as usize);
        for task in &mut tasks {
            let newest = self.core.board.get(task.id).map(|live| live.task());
            if let Some(newest) = newest.filter(|newest| newest.status == task.status) {
                *task = newest;
            }
        }
        let next = tasks.last().filter(|_| more).map(|task| task.id);
        Ok(Page { tasks, next })
    }

    /// What was asked of those of the tasks that are the caller's, by one look at their rows.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn asked(
        &self,
        caller: &Caller,
        tasks: &[Uuid],
    ) -> Result<HashMap<Uuid, Asked>, TaskError> {
        let (account_id, test) = (caller.account_id(), caller.is_test());
        Ok(self.core.records.asked(account_id, test, tasks).await?)
    }

    /// What the account's tasks cost from the day `first` to the day `last`, by day and by model.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn spending(
        &self,
        account_id: Uuid,
        first: Day,
        last: Day,
        now: SystemTime,
    ) -> Result<Vec<DailySpending>, LedgerError> {
        self.core.spending.of(account_id, first, last, now).await
    }

    /// Asks for a task to be stopped and answers how it then stands. One that has not started is
    /// CANCELED at once. Of one that has, the upstream decides: it ends CANCELED when the upstream
    /// stops, and goes on, charged as ever, when it does not. One that has ended stays as it is.
    ///
    /// # Errors
    /// As for [`Generation::get`].
    pub async fn cancel(&self, caller: &Caller, id: Uuid) -> Result<Task, TaskError> {
        let (account_id, test) = (caller.account_id(), caller.is_test());
        let Some(task) = self
            .core
            .records
            .request_cancel(account_id, id, test)
            .await?
        else {
            return self.core.stored(account_id, test, id).await;
        };
        let live = self.core.board.get(id);
        if let Some(live) = &live {
            live.canceled.cancel();
        }
        let (Status::Pending, Some(status)) = (task.status, task.status.after(Event::Cancel))
        else {
            return Ok(task);
        };
        // With the request written down, nobody can begin it any more.
        let ending = Ending::empty(status);
        self.core.changes.finish(account_id, id, ending).await?;
        let ended = self.core.stored(account_id, test, id).await?;
        if let Some(live) = live {
            live.change(|task| task.clone_from(&ended));
            self.core.board.remove(&live);
        }
        Ok(ended)
    }

    /// Follows a task: how it stands now, then every change, until it has ended.
    ///
    /// # Errors
    /// As for [`Generation::get`]; also in the stream, which then ends.
    pub async fn watch(
        &self,
        caller: &Caller,
        id: Uuid,
    ) -> Result<impl Stream<Item = Result<Task, TaskError>> + Send + 'static + use<>, TaskError>
    {
        let core = Arc::clone(&self.core);
        watch::watch(core, caller.account_id(), caller.is_test(), id).await
    }

    /// How an account's task stands by its row, for whoever tells the account of it.
    ///
    /// # Errors
    /// As for [`Generation::get`].
    pub async fn stored(&self, account_id: Uuid, test: bool, id: Uuid) -> Result<Task, TaskError> {
        self.core.stored(account_id, test, id).await
    }

    /// Is notified when a task has ended here of which somebody is to be told: `webhook_deliveries` has
    /// something new by then.
    #[must_use]
    pub fn owed(&self) -> Arc<Notify> {
        Arc::clone(&self.core.owed)
    }

    /// How the server stands, for its operator.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn overview(&self) -> Result<Overview, StoreError> {
        overview::overview(&self.core).await
    }

    /// The upstreams as `caller` finds them.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn upstreams_of(&self, caller: &Caller) -> Result<Upstreams<'_>, StoreError> {
        Ok(Upstreams {
            core: &self.core,
            test: caller.is_test(),
            own: self.core.own_upstreams(caller).await?,
        })
    }

    /// The upstreams as everyone finds them who has a live key and brings no keys for upstreams.
    #[must_use]
    pub fn upstreams_of_everyone(&self) -> Upstreams<'_> {
        Upstreams {
            core: &self.core,
            test: false,
            own: OwnUpstreams::new(),
        }
    }
}

/// The upstreams as a caller finds them.
pub struct Upstreams<'a> {
    core: &'a Core,
    test: bool,
    own: OwnUpstreams,
}

impl Upstreams<'_> {
    /// How those stand that could run a model, best first, each once. With a live key the sandbox is the last
    /// one, since it must be asked for by name.
    #[must_use]
    pub fn availability(&self, model: &Model) -> Vec<Availability> {
        let (core, now) = (self.core, Instant::now());
        let stands = |name: &str, model: &str| {
            let health = match self.own.get(name) {
                Some(own) => &own.health,
                None => core.providers.get(name).map(|_| &core.health)?,
            };
            Some(health.condition(name, model, now))
        };
        let allowed = core.settings.sandbox_for_live;
        routes::availability(&core.providers, allowed, model, self.test, stands)
    }
}

impl Core {
    /// How a task stands, from memory if possible.
    async fn task(&self, account_id: Uuid, test: bool, id: Uuid) -> Result<Task, TaskError> {
        let live = self
            .board
            .get(id)
            .filter(|live| live.belongs_to(account_id, test));
        match live {
            Some(live) => Ok(live.task()),
            None => self.stored(account_id, test, id).await,
        }
    }

    /// How a task stands by its row.
    async fn stored(&self, account_id: Uuid, test: bool, id: Uuid) -> Result<Task, TaskError> {
        self.records
            .get(account_id, id, test)
            .await?
            .ok_or(TaskError::NotFound(id))
    }
}
