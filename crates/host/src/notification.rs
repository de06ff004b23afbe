//! Notifications on the desktop of the user, by the Desktop Notifications Specification 1.2
//! (`org.freedesktop.Notifications` on the session bus).

use std::collections::HashMap;
use std::time::Duration;

use zbus::{Connection, Variant};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// A desktop that takes longer than this shows nothing any more.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What became of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Yes,
    /// There is no session bus, or nobody on it who shows notifications.
    NoDesktop,
}

#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    #[error("the notification daemon does not answer as it should: {0}")]
    Bus(#[from] zbus::Error),
    #[error("the notification daemon does not answer")]
    Timeout,
}

/// Shows a notification in the name of an application.
///
/// # Errors
/// There is a desktop, and it refuses.
pub async fn show(application: &str, title: &str, body: Option<&str>) -> Result<Shown, NotificationError> {
    let showing = async {
        let Ok(connection) = session().await else { return Ok(Shown::NoDesktop) };
        match notify(&connection, application, title, body.unwrap_or_default()).await {
            Ok(()) => Ok(Shown::Yes),
            Err(error) if is_absent(&error) => Ok(Shown::NoDesktop),
            Err(error) => Err(NotificationError::Bus(error)),
        }
    };
    tokio::time::timeout(ANSWER_MAX, showing).await.map_err(|_| NotificationError::Timeout)?
}

async fn session() -> zbus::Result<Connection> {
    zbus::connection::Builder::session().method_timeout(ANSWER_MAX).build().await
}

async fn notify(connection: &Connection, application: &str, title: &str, body: &str) -> zbus::Result<()> {
    let call = |method: &'static str| (Some(NAME), PATH, Some(NAME), method);
    let (name, path, interface, method) = call("GetCapabilities");
    let reply = connection.call_method(name, path, interface, method, &()).await?;
    let capabilities: Vec<String> = reply.body().deserialize()?;
    let body = if capabilities.iter().any(|capability| capability == "body-markup") {
        escape(body)
    } else {
        body.to_owned()
    };
    let (name, path, interface, method) = call("Notify");
    let hints: HashMap<&str, Variant<'_>> = HashMap::new();
    let actions: [&str; 0] = [];
    let arguments = (application, 0_u32, "", title, body.as_str(), &actions[..], hints, -1_i32);
    connection.call_method(name, path, interface, method, &arguments).await.map(drop)
}

fn is_absent(error: &zbus::Error) -> bool {
    let zbus::Error::MethodError(name, _, _) = error else {
        return matches!(error, zbus::Error::FDO(error) if matches!(**error, zbus::fdo::Error::ServiceUnknown(_)));
    };
    name.as_str() == "org.freedesktop.DBus.Error.ServiceUnknown"
}

/// Text as markup that shows it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        assert_eq!(escape("a < b && <i>c</i>"), "a &lt; b &amp;&amp; &lt;i&gt;c&lt;/i&gt;");
    }
}
