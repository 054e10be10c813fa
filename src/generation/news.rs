//! News between the nodes that serve one database: which tasks have changed, so that whoever follows
//! one elsewhere need not look for itself, and whose nodes come and go.
//!
//! News is a hint and carries nothing but ids: whoever hears one reads the rows. It is sent inside the
//! transaction that changes the rows, so it arrives after they can be read, and at most once for each
//! batch. Nodes say nothing to themselves, and nothing at all while they are alone: a server without
//! company pays for none of it. What gets lost on the way is made up for by looking now and then
//! ([`Settings::look_interval`](super::Settings::look_interval)).
//!
//! | payload | means |
//! |---|---|
//! | sender, then ids | these tasks have changed |
//! | sender, `*` | more tasks have changed than a payload can name |
//! | sender, `+` | a node has come or gone |
//!
//! Sender and ids are the 16 bytes of UUIDs in URL-safe base64, 22 characters each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// The channel on which nodes talk; `sql/tell.sql` and `sql/progress.sql` name it too.
pub(super) const CHANNEL: &str = "piooy_tasks";

/// What PostgreSQL takes as a payload, in bytes.
const PAYLOAD_MAX: usize = 7_999;
/// The length of an id.
const ID_LENGTH: usize = 22;
/// The ids that fit beside the sender's.
const IDS_MAX: usize = PAYLOAD_MAX / ID_LENGTH - 1;
const EVERYTHING: &str = "*";
const NODES: &str = "+";

/// What this node says, and how it understands the others. Clones share what is known.
#[derive(Debug, Clone)]
pub(super) struct News {
    node: Uuid,
    /// Whether other nodes serve the same database.
    company: Arc<AtomicBool>,
}

/// What another node said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// These tasks have changed.
    Tasks(Vec<Uuid>),
    /// Any task may have changed.
    Everything,
    /// A node has come or gone.
    Nodes,
}

impl News {
    /// Of a node that knows of no other.
    pub fn new(node: Uuid) -> Self {
        Self {
            node,
            company: Arc::default(),
        }
    }

    /// Takes note of whether there are other nodes.
    pub fn learn(&self, company: bool) {
        self.company.store(company, Ordering::Relaxed);
    }

    /// What to tell the others of tasks whose rows are being changed; `None` when there is nothing
    /// to tell or nobody to hear it.
    pub fn payload(&self, tasks: impl IntoIterator<Item = Uuid>) -> Option<String> {
        if !self.company.load(Ordering::Relaxed) {
            return None;
        }
        let mut text = id_text(self.node);
        let mut count = 0;
        for task in tasks {
            count += 1;
            if count > IDS_MAX {
                text.truncate(ID_LENGTH);
                text += EVERYTHING;
                break;
            }
            URL_SAFE_NO_PAD.encode_string(task.as_bytes(), &mut text);
        }
        (count > 0).then_some(text)
    }

    /// What to tell the others, known or not, when this node has come or is about to go.
    pub fn presence(&self) -> String {
        id_text(self.node) + NODES
    }

    /// What a payload means; `None` when it is our own. One that cannot be read is taken for the
    /// worst: a newer version may have sent it.
    pub fn understand(&self, payload: &str) -> Option<Message> {
        let Some((sender, said)) = payload.split_at_checked(ID_LENGTH) else {
            return Some(Message::Everything);
        };
        if id(sender) == Some(self.node) {
            return None;
        }
        if said == NODES {
            return Some(Message::Nodes);
        }
        Some(ids(said).map_or(Message::Everything, Message::Tasks))
    }
}

fn id_text(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

fn id(text: impl AsRef<[u8]>) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Uuid::from_slice(&bytes).ok()
}

/// One or more ids in a row; `None` when it is anything else.
fn ids(text: &str) -> Option<Vec<Uuid>> {
    if text.is_empty() || !text.len().is_multiple_of(ID_LENGTH) {
        return None;
    }
    text.as_bytes().chunks(ID_LENGTH).map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (News, News) {
        let (one, other) = (News::new(Uuid::now_v7()), News::new(Uuid::now_v7()));
        one.learn(true);
        (one, other)
    }

    fn tasks(count: usize) -> Vec<Uuid> {
        (0..count).map(|_| Uuid::now_v7()).collect()
    }

    #[test]
    fn others_understand_what_fits_and_what_does_not() {
        let (one, other) = pair();
        for count in [1, 2, IDS_MAX] {
            let tasks = tasks(count);
            let payload = one.payload(tasks.clone()).expect("there is company");
            assert!(payload.len() <= PAYLOAD_MAX);
            assert_eq!(other.understand(&payload), Some(Message::Tasks(tasks)));
            assert_eq!(one.understand(&payload), None, "its own");
        }
        let payload = one.payload(tasks(IDS_MAX + 1)).expect("there is company");
        assert_eq!(other.understand(&payload), Some(Message::Everything));
        assert_eq!(other.understand(&one.presence()), Some(Message::Nodes));
    }

    #[test]
    fn nothing_is_said_alone_or_of_nothing() {
        let (one, other) = pair();
        assert_eq!(one.payload([]), None);
        assert_eq!(other.payload(tasks(1)), None);
        one.learn(false);
        assert_eq!(one.payload(tasks(1)), None);
    }

    #[test]
    fn what_cannot_be_read_may_be_anything() {
        let (one, other) = pair();
        let sender = id_text(other.node);
        for said in ["", "short", "é", &"é".repeat(11), &"!".repeat(44)] {
            for payload in [said.to_owned(), format!("{sender}{said}x")] {
                assert_eq!(
                    one.understand(&payload),
                    Some(Message::Everything),
                    "{payload}"
                );
            }
        }
    }
}
