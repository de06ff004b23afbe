//! Watches manifests and the programs that they name. A changed one is an update of its application: running instances
//! end, and its ServicingComplete tasks fire, once. One that is gone is an application that is gone.
//!
//! What was seen last is kept in the store, so that a change while the service was down is one all the same. It is kept
//! after the engine has taken note: a crash between the two tells of the change twice, and never not at all.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longhaul_contract::{AppId, CancelReason, SystemTriggerType};
use longhaul_engine::task::{TaskFact, TaskWish};
use longhaul_engine::{Fact, Wish};
use longhaul_store::{Reader, Write, Writer};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Apps;
use super::identity::Identity;
use crate::heart::Heart;

/// After a sign of change, before looking: package managers and editors write in several steps.
const SETTLE: Duration = Duration::from_millis(300);

/// Watches until it is dropped.
pub(crate) async fn watch(apps: Arc<Apps>, heart: Heart, writer: Writer, reader: Arc<dyn Reader>) {
    let kept = tokio::task::spawn_blocking(move || reader.manifests()).await;
    let mut known = match kept {
        Ok(Ok(kept)) => kept
            .into_iter()
            .map(|(app, identity)| (app, serde_json::from_str(&identity).ok()))
            .collect::<BTreeMap<AppId, Option<Identity>>>(),
        Ok(Err(error)) => return tracing::error!(%error, "manifests are not watched"),
        Err(error) => return tracing::error!(%error, "manifests are not watched"),
    };
    let signs = match Signs::open() {
        Ok(signs) => signs,
        Err(error) => return tracing::error!(%error, "manifests are not watched"),
    };
    loop {
        let (looking, folder) = (Arc::clone(&apps), apps.folder().to_owned());
        signs.look_at(&folder);
        let Ok(found) = tokio::task::spawn_blocking(move || look(&looking)).await else { return };
        if let Some(found) = found {
            for identity in found.values().filter_map(Option::as_ref) {
                identity.folders().for_each(|folder| signs.look_at(folder));
            }
            if compare(&mut known, found, &heart, &writer).await.is_none() {
                return;
            }
        }
        signs.wait().await;
        tokio::time::sleep(SETTLE).await;
        signs.drain();
    }
}

/// What there is; without an identity where the manifest does not count at present. `None`: there is no folder, which
/// says nothing about any application.
fn look(apps: &Apps) -> Option<BTreeMap<AppId, Option<Identity>>> {
    let found = apps.all()?.into_iter().map(|(app, manifest)| match manifest {
        Ok(manifest) => (app, Some(Identity::of(&manifest))),
        Err(error) => {
            tracing::warn!(%error, "a manifest does not count");
            (app, None)
        }
    });
    Some(found.collect())
}

/// `None` when the service is stopping.
async fn compare(
    known: &mut BTreeMap<AppId, Option<Identity>>,
    found: BTreeMap<AppId, Option<Identity>>,
    heart: &Heart,
    writer: &Writer,
) -> Option<()> {
    let mut writes = Vec::new();
    let gone: Vec<AppId> = known.keys().filter(|app| !found.contains_key(*app)).cloned().collect();
    for app in gone {
        tracing::info!(%app, "its manifest is gone");
        if let Err(refused) = heart.wish(Wish::Task(TaskWish::Uninstall { app: app.clone() })).await {
            // It is found gone at the next look, or at the next start.
            tracing::warn!(%app, problem = %refused.problem(), "it cannot be taken for uninstalled");
            continue;
        }
        known.remove(&app);
        writes.push(Write::Manifest { app, identity: None });
    }
    for (app, identity) in found {
        let Some(identity) = identity else { continue };
        let before = known.get(&app);
        if before.is_some_and(|before| before.as_ref() == Some(&identity)) {
            continue;
        }
        if before.is_some() {
            tracing::info!(%app, "it was updated");
            tell_update(heart, &app);
        }
        let kept = serde_json::to_string(&identity).ok();
        known.insert(app.clone(), Some(identity));
        writes.push(Write::Manifest { app, identity: kept });
    }
    if writes.is_empty() {
        return Some(());
    }
    // An answer means that what was reported before it is written down.
    heart.ask(|_, _| ()).await.ok()?;
    if let Err(error) = writer.submit(writes).await {
        tracing::warn!(%error, "what manifests are now cannot be kept");
    }
    Some(())
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

/// Signs of change from the kernel (inotify(7)).
struct Signs {
    inotify: AsyncFd<OwnedFd>,
}

impl Signs {
    fn open() -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: `AsyncFd` owns the descriptor, and nobody takes it out: it stays open as long as it is registered.
        let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?;
        Ok(Self { inotify })
    }

    /// Of a folder that is missing, the nearest one above that is there.
    fn look_at(&self, folder: &Path) {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::CREATE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for place in folder.ancestors() {
            // Once more for one that is watched already: it may be another folder by now.
            match inotify::add_watch(self.inotify.get_ref(), place, flags) {
                Ok(_) => return,
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => {
                    return tracing::warn!(folder = %place.display(), %error, "a folder is not watched");
                }
            }
        }
    }

    async fn wait(&self) {
        match self.inotify.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(error) => {
                tracing::error!(%error, "manifests are no longer watched");
                std::future::pending::<()>().await;
            }
        }
    }

    /// What exactly has changed does not matter: everything is looked at.
    fn drain(&self) {
        let mut buffer = [0; 4 << 10];
        while matches!(rustix::io::read(self.inotify.get_ref(), &mut buffer), Ok(1..)) {}
    }
}
