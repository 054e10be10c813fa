//! The database that the settings name: the operator's, or a private one that runs with us.

use std::path::PathBuf;

use super::Failure;
use crate::settings::Settings;
use crate::store::{ClusterOptions, Opened, PrivateCluster, Store, StoreOptions};

/// An open, migrated database.
pub struct Database {
    /// The pool.
    pub store: Store,
    /// The private server, when there is one.
    private: Option<Opened>,
}

impl Database {
    /// For a server: a private database is owned by this process alone.
    ///
    /// # Errors
    /// Why there is no database.
    pub async fn own(settings: &Settings) -> Result<Self, Failure> {
        let private = match settings.database_url {
            Some(_) => None,
            None => Some(Opened::Owned(
                PrivateCluster::own(&cluster(settings)).await?,
            )),
        };
        Self::open_at(settings, private).await
    }

    /// For a short command: beside a server that runs, or without.
    ///
    /// # Errors
    /// Why there is no database.
    pub async fn visit(settings: &Settings) -> Result<Self, Failure> {
        let private = match settings.database_url {
            Some(_) => None,
            None => Some(PrivateCluster::open(&cluster(settings)).await?),
        };
        Self::open_at(settings, private).await
    }

    async fn open_at(settings: &Settings, private: Option<Opened>) -> Result<Self, Failure> {
        let url = match (&private, &settings.database_url) {
            (Some(private), _) => private.url(),
            (None, Some(url)) => url.expose(),
            (None, None) => unreachable!("without an address the database is private"),
        };
        let options = StoreOptions {
            connections_max: settings.database_connections,
        };
        let opened = async {
            let store = Store::connect(url, options).await?;
            store.migrate().await?;
            Ok::<_, Failure>(store)
        };
        match opened.await {
            Ok(store) => Ok(Self { store, private }),
            Err(error) => {
                if let Some(private) = private {
                    private.close().await;
                }
                Err(error)
            }
        }
    }

    /// Whether the database is one of our own.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Ends the use: a private server that is ours stops.
    pub async fn close(self) {
        drop(self.store);
        if let Some(private) = self.private {
            private.close().await;
        }
    }
}

fn cluster(settings: &Settings) -> ClusterOptions {
    let directory: PathBuf = settings.data_dir.join("postgres");
    ClusterOptions {
        directory,
        settings: Vec::new(),
    }
}
