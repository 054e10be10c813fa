//! How it is asked, what is heard of it, and how that is explained.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use piooy::cli::grant_monthly_credits;
use piooy::gate::Caller;
use piooy::generation::{QuoteError, SubmitError, Task, TaskError};
use tokio::task::JoinHandle;

use super::{History, Judged, for_turns};
use crate::model::prediction::{Answer, Body, Prediction, Quoted, Submission};
use crate::model::world::{Kind, Node};

/// Something that is asked of a node.
#[derive(Clone)]
pub enum Ask {
    Submit {
        body: Arc<Body>,
        key: Option<String>,
        quote: Option<Quoted>,
    },
    Grant {
        note: String,
        credits: i64,
        /// How many days they are good for …
        days: Option<u32>,
        /// … and when those are over as things stand.
        until: Option<SystemTime>,
    },
    /// To give every account what its plan gives each month.
    Month(Month),
    /// To take what is due.
    Sweep,
}

/// The credits of the account for this month.
#[derive(Debug, Clone)]
pub struct Month {
    pub note: String,
    pub credits: i64,
    /// On which day from now on they end.
    pub days: u32,
}

/// What is heard of it, if anything.
#[derive(Debug, Clone, Copy)]
pub enum Heard {
    Submitted(Answer),
    Granted {
        available: i64,
        held: i64,
    },
    /// The account has its credits for the month.
    Given,
    /// So many credits of the account expired.
    Swept(i64),
    Nothing,
}

/// Something that a node was asked.
pub struct Sent {
    ask: Ask,
    /// What it wants for it when there is no quote.
    listed: i64,
    asked_at: SystemTime,
    answer: JoinHandle<Result<Heard, String>>,
}

/// Something that a node was asked and what was heard of it.
#[derive(Clone)]
pub struct Said {
    pub ask: Ask,
    pub heard: Heard,
    listed: i64,
    between: [SystemTime; 2],
}

impl History {
    pub fn node(&mut self, kind: Kind) -> Arc<Node> {
        let of_kind: Vec<_> = self.nodes.iter().filter(|node| node.kind == kind).collect();
        let node = self
            .random
            .choice(&of_kind)
            .expect("there is a node of each kind asked for");
        Arc::clone(node)
    }

    pub fn any_node(&mut self) -> Arc<Node> {
        let node = self.random.choice(&self.nodes);
        Arc::clone(node.expect("there is a node"))
    }

    /// The node that something is for.
    fn node_for(&mut self, ask: &Ask) -> Arc<Node> {
        match ask {
            Ask::Submit { body, .. } => self.node(body.kind),
            Ask::Grant { .. } | Ask::Month(_) | Ask::Sweep => self.any_node(),
        }
    }

    /// Asks a node, and listens for so many turns, or until it answers.
    pub fn send(&self, node: &Node, ask: Ask, turns: Option<u32>) -> Sent {
        match &ask {
            Ask::Submit { body, .. } => self.send_from(self.caller(body).clone(), node, ask, turns),
            _ => self.send_from(self.callers.free.clone(), node, ask, turns),
        }
    }

    /// The same with either key.
    pub fn send_from(&self, caller: Caller, node: &Node, ask: Ask, turns: Option<u32>) -> Sent {
        let (generation, ledger) = (Arc::clone(&node.generation), node.ledger.clone());
        let store = node.store.clone();
        let listed = match &ask {
            Ask::Submit { body, .. } => body.prices[node.price_list],
            _ => 0,
        };
        let asked = ask.clone();
        let asked = async move {
            match asked {
                Ask::Submit { body, key, quote } => {
                    let price = quote.as_ref().map_or(listed, |quote| quote.price);
                    let mut request = body.request.clone();
                    request.quote = quote.map(|quote| quote.id);
                    let answer = generation.submit(&caller, request, key.as_deref()).await;
                    answer_to_submission(&body, price, answer)
                }
                Ask::Grant {
                    note,
                    credits,
                    until,
                    ..
                } => {
                    let account = caller.account_id();
                    let granted = ledger.grant(account, credits, &note, until).await;
                    Ok(granted.map_or(Heard::Nothing, |balance| Heard::Granted {
                        available: balance.available,
                        held: balance.held,
                    }))
                }
                // What these answer is of all accounts.
                Ask::Month(_) => {
                    grant_monthly_credits(&store, SystemTime::now()).await.ok();
                    Ok(Heard::Nothing)
                }
                Ask::Sweep => {
                    ledger.expire_due().await.ok();
                    Ok(Heard::Nothing)
                }
            }
        };
        let answer = async move {
            match turns {
                Some(turns) => for_turns(asked, turns).await.unwrap_or(Ok(Heard::Nothing)),
                None => asked.await,
            }
        };
        Sent {
            ask,
            listed,
            asked_at: SystemTime::now(),
            answer: node.spawn(answer),
        }
    }

    /// Asks several things at the same moment, of any nodes, and has the answers explained.
    pub async fn ask_at_once(&mut self, asks: Vec<Ask>) -> Judged {
        let sent: Vec<_> = asks
            .into_iter()
            .map(|ask| {
                let node = self.node_for(&ask);
                self.send(&node, ask, None)
            })
            .collect();
        let said = self.hear(sent).await?;
        self.explain(said)
    }

    pub async fn hear(&mut self, sent: Vec<Sent>) -> Result<Vec<Said>, String> {
        let mut all = Vec::new();
        for sent in sent {
            let heard = match sent.answer.await {
                Ok(heard) => heard?,
                Err(ended) if ended.is_cancelled() => Heard::Nothing,
                Err(panic) => return Err(panic.to_string()),
            };
            let heard = match sent.ask {
                Ask::Month(_) => self.given().await.map(|()| Heard::Given)?,
                Ask::Sweep => Heard::Swept(self.swept().await?),
                _ => heard,
            };
            let said = Said {
                heard,
                ask: sent.ask,
                listed: sent.listed,
                between: [sent.asked_at, SystemTime::now()],
            };
            self.silence |= matches!(said.heard, Heard::Nothing);
            self.tell(format!("{} ▶ {:?}", said.ask, said.heard));
            all.push(said);
        }
        Ok(all)
    }

    /// Finds an order in which all of it makes sense.
    pub fn explain(&mut self, said: Vec<Said>) -> Judged {
        let (silent, said): (Vec<_>, Vec<_>) = said
            .into_iter()
            .partition(|said| matches!(said.heard, Heard::Nothing));
        for silent in silent {
            silent.judge(&mut self.prediction)?;
        }
        self.prediction = in_some_order(&self.prediction, &said)?;
        Ok(())
    }
}

impl Ask {
    /// Whether both are submissions of one request.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Submit { body, .. }, Self::Submit { body: other, .. }) => {
                Arc::ptr_eq(body, other)
            }
            _ => false,
        }
    }

    /// Whether it has an idempotency key, so that it may be asked again.
    pub fn is_keyed(&self) -> bool {
        matches!(self, Self::Submit { key: Some(_), .. })
    }
}

impl Said {
    /// Holds what was heard against a prediction.
    fn judge(&self, prediction: &mut Prediction) -> Judged {
        match &self.ask {
            Ask::Submit { body, key, quote } => {
                let submission = Submission {
                    body: Arc::clone(body),
                    key: key.clone(),
                    quote: quote.clone(),
                    listed: self.listed,
                    between: self.between,
                };
                let answer = match self.heard {
                    Heard::Submitted(answer) => Some(answer),
                    _ => None,
                };
                prediction.submit(&submission, answer)
            }
            Ask::Grant {
                note,
                credits,
                days,
                ..
            } => {
                let balance = match self.heard {
                    Heard::Granted { available, held } => Some((available, held)),
                    _ => None,
                };
                prediction.grant(note, *credits, *days, balance)
            }
            Ask::Month(Month {
                note,
                credits,
                days,
            }) => prediction.grant_once(note, *credits, *days),
            Ask::Sweep => match self.heard {
                Heard::Swept(credits) => prediction.expire(credits),
                _ => Ok(()),
            },
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submit { body, key, quote } => {
                let Body {
                    prompt,
                    prices,
                    script,
                    capped,
                    ..
                } = &**body;
                write!(f, "{prompt} for {prices:?} with {key:?}, {script:?}")?;
                if *capped {
                    write!(f, ", by the capped key")?;
                }
                match quote {
                    Some(quote) => {
                        write!(f, ", quoted {} until {:?}", quote.price, quote.expires_at)
                    }
                    None => Ok(()),
                }
            }
            Self::Grant {
                note,
                credits,
                days,
                ..
            } => write!(f, "{note} of {credits} for days: {days:?}"),
            Self::Month(month) => write!(f, "{month:?} begins"),
            Self::Sweep => write!(f, "what is due is taken"),
        }
    }
}

/// The prediction after all of `said`, in the first order that explains it.
fn in_some_order(prediction: &Prediction, said: &[Said]) -> Result<Prediction, String> {
    let mut failure = String::new();
    for first in 0..said.len() {
        let mut next = prediction.clone();
        let mut others = said.to_vec();
        let judged = others.remove(first).judge(&mut next);
        match judged.and_then(|()| in_some_order(&next, &others)) {
            Ok(explained) => return Ok(explained),
            Err(reason) => failure = reason,
        }
    }
    if said.is_empty() {
        return Ok(prediction.clone());
    }
    Err(failure)
}

/// What came of a submission; nothing when the database could not be asked.
fn answer_to_submission(
    body: &Body,
    price: i64,
    answer: Result<Task, SubmitError>,
) -> Result<Heard, String> {
    let answer = match answer {
        Ok(task) => Answer::Task {
            id: task.id,
            price: task.credits.quoted,
            created_at: task.created_at,
        },
        Err(SubmitError::IdempotencyKeyReused) => Answer::KeyReused,
        Err(SubmitError::Quote(QuoteError::Expired)) => Answer::QuoteExpired,
        Err(SubmitError::TooManyTasks { .. }) => Answer::TooMany,
        Err(SubmitError::SpendingCapReached {
            needed,
            cap,
            window,
            spent,
            resets_at,
        }) if needed == price => Answer::CapReached {
            cap,
            window,
            spent,
            resets_at,
        },
        Err(SubmitError::InsufficientCredits { needed, available }) if needed == price => {
            Answer::Insufficient { available }
        }
        Err(SubmitError::Store(_) | SubmitError::Replay(TaskError::Store(_))) => {
            return Ok(Heard::Nothing);
        }
        answer => return Err(format!("{} for {price} got {answer:?}", body.prompt)),
    };
    Ok(Heard::Submitted(answer))
}
