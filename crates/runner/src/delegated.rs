//! What a user's service manager says of the group that this process is in (org.freedesktop.systemd1(5)). The manager of
//! the machine marks the groups it has delegated; that of a user does not, and has to be asked.

use std::time::Duration;

use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use crate::bus::{self, Bus};

const SYSTEMD: &str = "org.freedesktop.systemd1";

/// How long the manager may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The path, in the tree of control groups, of the unit that this process belongs to, if it was delegated to the unit.
pub(crate) async fn group(bus: &Bus) -> Result<String, String> {
    let ask = async {
        let connection = bus::connect(bus).await?;
        let call = ("org.freedesktop.systemd1.Manager", "GetUnitByPID");
        let reply = connection
            .call_method(
                Some(SYSTEMD),
                "/org/freedesktop/systemd1",
                Some(call.0),
                call.1,
                &std::process::id(),
            )
            .await?;
        let unit: OwnedObjectPath = reply.body().deserialize()?;
        let name: String = property(&connection, &unit, "Unit", "Id").await?;
        let kind = if name.ends_with(".scope") { "Scope" } else { "Service" };
        if !property(&connection, &unit, kind, "Delegate").await? {
            return Ok(Err(format!("{name} has no Delegate=yes")));
        }
        property(&connection, &unit, kind, "ControlGroup").await.map(Ok)
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(format!("the user's service manager: {error}")),
        Err(_) => Err(format!("the user's service manager does not answer within {PATIENCE:?}")),
    }
}

async fn property<T: TryFrom<OwnedVariant>>(
    connection: &Connection,
    unit: &OwnedObjectPath,
    kind: &str,
    name: &str,
) -> zbus::Result<T> {
    let interface = format!("{SYSTEMD}.{kind}");
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply =
        connection.call_method(Some(SYSTEMD), unit, properties, "Get", &(interface.as_str(), name)).await?;
    let value: OwnedVariant = reply.body().deserialize()?;
    value.try_into().map_err(|_| zbus::Error::Failure(format!("there is no property {name} as expected")))
}
