//! The operator's model file: read when the server starts, and again whenever it has changed.
//!
//! The file is looked at every [`LOOK_PAUSE`]; one that has changed is read when it has stood still from one look
//! to the next, since editors write in pieces. SIGHUP has it read at once. A file that cannot be used changes
//! nothing: the models stay as they were, and every mistake is logged, once for each version of the file.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::catalog::{Catalog, Current};
use crate::settings::Settings;

/// How often the file is looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The models, as the operator's file changes them.
///
/// # Errors
/// A file that cannot be read, or every mistake in it.
pub fn load(settings: &Settings) -> Result<Catalog, Failure> {
    match &settings.catalog_file {
        None => Ok(Catalog::builtin()),
        Some(path) => read(path),
    }
}

fn read(path: &Path) -> Result<Catalog, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Catalog::load(&text).map_err(|error| format!("{}:\n{error}", path.display()).into())
}

/// Follows the operator's file, if there is one, until the server stops.
///
/// # Errors
/// When SIGHUP cannot be listened for.
pub fn follow(
    settings: &Settings,
    current: Current,
    stop: CancellationToken,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(path) = settings.catalog_file.clone() else {
        return Ok(None);
    };
    let hangups = signal(SignalKind::hangup())?;
    let looked = Looked::at(&path);
    let follower = Follower {
        path,
        current,
        read: looked,
        seen: looked,
    };
    Ok(Some(tokio::spawn(async move {
        tokio::select! {
            () = follower.run(hangups) => {}
            () = stop.cancelled() => {}
        }
    })))
}

/// What tells one version of a file from another without reading it; nothing when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looked(Option<(SystemTime, u64)>);

impl Looked {
    fn at(path: &Path) -> Self {
        let metadata = std::fs::metadata(path);
        Self(
            metadata
                .ok()
                .and_then(|file| Some((file.modified().ok()?, file.len()))),
        )
    }
}

struct Follower {
    path: PathBuf,
    current: Current,
    /// The version that was read last.
    read: Looked,
    /// The version at the last look.
    seen: Looked,
}

impl Follower {
    async fn run(mut self, mut hangups: Signal) {
        loop {
            let is_asked = tokio::select! {
                Some(()) = hangups.recv() => true,
                () = tokio::time::sleep(LOOK_PAUSE) => false,
            };
            let work = tokio::task::spawn_blocking(move || {
                self.look(is_asked);
                self
            });
            self = match work.await {
                Ok(follower) => follower,
                Err(_) => return tracing::error!("reading the model file ended in a panic"),
            };
        }
    }

    /// Reads the file if it has changed and stands still, or if that is asked for.
    fn look(&mut self, is_asked: bool) {
        let now = Looked::at(&self.path);
        let stands_still = now == self.seen;
        self.seen = now;
        if !is_asked && (now == self.read || !stands_still) {
            return;
        }
        self.read = now;
        match read(&self.path) {
            Ok(catalog) => {
                let models = catalog.models().len();
                self.current.replace(catalog);
                tracing::info!(models, "the model file was read again");
            }
            Err(error) => {
                tracing::error!(
                    "the models stay as they were, since the model file cannot be used: {error}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_it_stands_still_and_a_broken_one_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("models.toml");
        let write = |text: &str| std::fs::write(&path, text).expect("can be written");
        let disabled = |slug: &str| format!("[[model]]\nslug = \"{slug}\"\ndisabled = true\n");
        write("");
        let looked = Looked::at(&path);
        let mut follower = Follower {
            path: path.clone(),
            current: Current::new(Catalog::builtin()),
            read: looked,
            seen: looked,
        };
        let current = follower.current.clone();
        let has = |slug: &str| current.get().get(slug).is_ok();
        write(&disabled("z-image-turbo"));
        follower.look(false);
        assert!(has("z-image-turbo"), "it may still be written");
        follower.look(false);
        assert!(!has("z-image-turbo"));
        write("[[model");
        follower.look(false);
        follower.look(false);
        assert!(!has("z-image-turbo") && has("flux-3"));
        std::fs::remove_file(&path).expect("is there");
        follower.look(false);
        follower.look(false);
        assert!(!has("z-image-turbo"));
        write(&disabled("flux-3"));
        follower.look(true);
        assert!(has("z-image-turbo") && !has("flux-3"), "it was asked for");
    }
}
