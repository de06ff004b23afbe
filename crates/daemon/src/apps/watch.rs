//! Watches manifests, and the programs and packages that they name. A changed one is an update of its application: running instances
//! end, and its ServicingComplete tasks fire, once. One that is gone is an application that is gone.
//!
//! What was seen last is kept in the store, so that a change while the service was down is one all the same. It is kept
//! after the engine has taken note: a crash between the two tells of the change twice, and never not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use longhaul_contract::{AppId, CancelReason, SystemTriggerType};
use longhaul_engine::task::{TaskFact, TaskWish};
use longhaul_engine::{Fact, Wish};
use longhaul_store::{Reader, StoreError, Write, Writer};

use super::Apps;
use super::identity::Identity;
use crate::heart::Heart;
use crate::signs::{SETTLE, Signs};

/// Watches the folder of manifests.
pub(crate) struct Watcher {
    apps: Arc<Apps>,
    /// Folders in which databases of packages may be.
    databases: Arc<[PathBuf]>,
    heart: Heart,
    writer: Writer,
    /// What was seen last.
    known: BTreeMap<AppId, Option<Identity>>,
    signs: Signs,
}

impl Watcher {
    /// Looks for the first time: what changed while the service was down is told when this returns.
    ///
    /// # Errors
    /// The store cannot be read, or the kernel gives no watch.
    pub(crate) async fn begin(
        apps: Arc<Apps>,
        databases: Arc<[PathBuf]>,
        heart: Heart,
        writer: Writer,
        reader: Arc<dyn Reader>,
    ) -> Result<Self, WatchError> {
        let kept = tokio::task::spawn_blocking(move || reader.manifests())
            .await
            .map_err(std::io::Error::other)??;
        let known = kept.into_iter().map(|(app, identity)| (app, serde_json::from_str(&identity).ok()));
        let known = known.collect();
        let mut watcher = Self { apps, databases, heart, writer, known, signs: Signs::open()? };
        watcher.look().await;
        Ok(watcher)
    }

    /// Watches until the service stops.
    pub(crate) async fn run(mut self) {
        loop {
            self.signs.wait().await;
            tokio::time::sleep(SETTLE).await;
            self.signs.drain();
            if self.look().await.is_none() {
                return;
            }
        }
    }

    /// `None` when the service is stopping.
    async fn look(&mut self) -> Option<()> {
        self.signs.look_at(self.apps.folder());
        // Asked before looking: who has a task has had a manifest by then. One that came and went between two looks was
        // never known, and its tasks have to go all the same.
        let users = self.heart.ask(|engine, _| engine.task_apps()).await.ok()?;
        let (apps, databases) = (Arc::clone(&self.apps), Arc::clone(&self.databases));
        let Some(found) = tokio::task::spawn_blocking(move || look(&apps, &databases)).await.ok()? else {
            return Some(());
        };
        if found.has_packages {
            // Watched for the first time, they may have changed since they were read; the next sign tells.
            self.databases.iter().for_each(|folder| self.signs.look_at(folder));
        }
        let found = found.apps;
        for identity in found.values().filter_map(Option::as_ref) {
            identity.folders().for_each(|folder| self.signs.look_at(folder));
        }
        let mut gone: BTreeSet<AppId> = self.known.keys().cloned().chain(users).collect();
        gone.retain(|app| !found.contains_key(app));
        self.compare(gone, found).await
    }

    /// Tells the engine of what is gone or another, and then keeps what was seen.
    async fn compare(
        &mut self,
        gone: BTreeSet<AppId>,
        found: BTreeMap<AppId, Option<Identity>>,
    ) -> Option<()> {
        let mut writes = Vec::new();
        for app in gone {
            tracing::info!(%app, "its manifest is gone");
            if let Err(refused) = self.heart.wish(Wish::Task(TaskWish::Uninstall { app: app.clone() })).await
            {
                // It is found gone at the next look, or at the next start.
                tracing::warn!(%app, problem = %refused.problem(), "it cannot be taken for uninstalled");
                continue;
            }
            self.known.remove(&app);
            writes.push(Write::Manifest { app, identity: None });
        }
        for (app, identity) in found {
            let Some(identity) = identity else { continue };
            let before = self.known.get(&app);
            if before.is_some_and(|before| before.as_ref() == Some(&identity)) {
                continue;
            }
            if before.is_some() {
                tracing::info!(%app, "it was updated");
                tell_update(&self.heart, &app);
            }
            let kept = serde_json::to_string(&identity).ok();
            self.known.insert(app.clone(), Some(identity));
            writes.push(Write::Manifest { app, identity: kept });
        }
        if writes.is_empty() {
            return Some(());
        }
        // An answer means that what was reported before it is written down.
        self.heart.ask(|_, _| ()).await.ok()?;
        if let Err(error) = self.writer.submit(writes).await {
            tracing::warn!(%error, "what manifests are now cannot be kept");
        }
        Some(())
    }
}

/// Why manifests cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// What there is.
struct Found {
    /// Without an identity where the manifest does not count at present, or a package is half installed.
    apps: BTreeMap<AppId, Option<Identity>>,
    /// Some application is made of packages.
    has_packages: bool,
}

/// `None`: there is no folder, which says nothing about any application.
fn look(apps: &Apps, databases: &[PathBuf]) -> Option<Found> {
    let mut found = Found { apps: BTreeMap::new(), has_packages: false };
    for (app, manifest) in apps.all()? {
        let identity = match manifest {
            Ok(manifest) => {
                found.has_packages |= !manifest.app.packages.is_empty();
                Identity::of(&manifest, databases)
                    .inspect_err(|error| tracing::info!(%app, %error, "it is not judged now"))
                    .ok()
            }
            Err(error) => {
                tracing::warn!(%error, "a manifest does not count");
                None
            }
        };
        found.apps.insert(app, identity);
    }
    Some(found)
}

fn tell_update(heart: &Heart, app: &AppId) {
    let update = TaskFact::Revoked { app: Some(app.clone()), reason: CancelReason::ServicingUpdate };
    heart.report(None, Fact::Task(update));
    let complete = TaskFact::System {
        event: SystemTriggerType::ServicingComplete,
        app: Some(app.clone()),
        details: "{}".into(),
    };
    heart.report(None, Fact::Task(complete));
}
