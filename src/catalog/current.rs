//! The catalogue that holds now, for all who share it: changed as a whole, under everybody's feet.
//!
//! Whoever works with models takes the catalogue once and keeps it until the work is done, so that
//! nothing changes in between. Taking it costs a read lock that nobody holds for longer than it takes to
//! copy a pointer.

use std::sync::Arc;

use tokio::sync::watch;

use super::Catalog;

/// A handle on the catalogue that holds now. Its clones are the same.
#[derive(Debug, Clone)]
pub struct Current {
    newest: Arc<watch::Sender<Arc<Catalog>>>,
}

impl Current {
    /// Begins with this one.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self {
            newest: Arc::new(watch::Sender::new(Arc::new(catalog))),
        }
    }

    /// The one that holds now.
    #[must_use]
    pub fn get(&self) -> Arc<Catalog> {
        Arc::clone(&self.newest.borrow())
    }

    /// Puts another in its place.
    pub fn replace(&self, catalog: Catalog) {
        self.newest.send_replace(Arc::new(catalog));
    }

    /// Tells of every replacement from now on; of several at once, the last.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Catalog>> {
        self.newest.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_taken_one_keeps_it_and_who_follows_hears_of_the_next() {
        let current = Current::new(Catalog::builtin());
        let (before, changes) = (current.get(), current.clone().changes());
        let less = "[[model]]\nslug = \"z-image-turbo\"\ndisabled = true";
        current.replace(Catalog::load(less).expect("is sound"));
        assert!(before.get("z-image-turbo").is_ok());
        assert!(current.get().get("z-image-turbo").is_err());
        assert!(changes.has_changed().expect("is still told"));
    }
}
