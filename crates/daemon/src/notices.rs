//! Shows the user the ends that applications wanted to be shown, on the desktop there is. Whether and when is the
//! engine's to say; each is shown at most once, and on a machine without a desktop none is.

use std::sync::Arc;

use longhaul_contract::{AppId, Notification};
use longhaul_engine::Notified;
use longhaul_host::notification::{self, Shown};
use longhaul_store::Reader;

use crate::apps::Apps;
use crate::heart::Heart;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Notices {
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) apps: Arc<Apps>,
    pub(crate) heart: Heart,
}

impl Notices {
    pub(crate) fn show(&self, app: AppId, of: Notified, is_success: bool) {
        let notices = self.clone();
        tokio::spawn(async move {
            let Some(notice) = notices.find(&app, of, is_success).await else { return };
            let name = notices.name(app).await;
            match notification::show(&name, &notice.title, notice.body.as_deref()).await {
                Ok(Shown::Yes) => {}
                Ok(Shown::NoDesktop) => tracing::debug!("there is no desktop to show a notification on"),
                Err(error) => tracing::info!(%error, "a notification could not be shown"),
            }
        });
    }

    /// `None` when it has been forgotten meanwhile.
    async fn find(&self, app: &AppId, of: Notified, is_success: bool) -> Option<Notification> {
        let (success, failure) = match of {
            Notified::Operation(id) => {
                let reader = Arc::clone(&self.reader);
                let record = tokio::task::spawn_blocking(move || reader.operation(id)).await.ok()?.ok()??;
                record.spec.into_notifications()
            }
            Notified::CompletionGroup(id) => {
                let app = app.clone();
                let group =
                    self.heart.ask(move |engine, _| engine.completion_group(&app, id)).await.ok()??;
                (group.success_notification, group.failure_notification)
            }
        };
        if is_success { success } else { failure }
    }

    /// As its manifest calls the application.
    async fn name(&self, app: AppId) -> String {
        let apps = Arc::clone(&self.apps);
        let asked = app.clone();
        let manifest = tokio::task::spawn_blocking(move || apps.manifest(&asked)).await;
        let name = manifest.ok().and_then(Result::ok).flatten().and_then(|manifest| manifest.app.name);
        name.unwrap_or_else(|| app.to_string())
    }
}
