//! A program on the message bus with good and bad entry points, written by hand on messages as a stranger would.

use std::collections::HashMap;

use futures_util::StreamExt;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, Variant};

const INTERFACE: &str = "io.longhaul.BackgroundTask1";

/// Serves `name` until the bus goes away.
pub(crate) fn serve(name: &str) -> zbus::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = Connection::session().await?;
        let mut messages = MessageStream::from(&connection);
        connection.request_name(name).await?;
        let mut waiting: HashMap<String, Message> = HashMap::new();
        while let Some(Ok(message)) = messages.next().await {
            if message.message_type() != Type::MethodCall {
                continue;
            }
            let member = message.header().member().map(ToString::to_string).unwrap_or_default();
            match member.as_str() {
                "Run" => run(&connection, message, &mut waiting).await?,
                "Cancel" => {
                    let (instance, reason): (String, String) = message.body().deserialize()?;
                    if let Some(call) = waiting.remove(&instance) {
                        let told = format!("canceled: {reason}");
                        connection.reply_error(&call.header(), "org.example.Canceled", &told).await?;
                    }
                }
                _ => {
                    let unknown = "org.freedesktop.DBus.Error.UnknownMethod";
                    connection.reply_error(&message.header(), unknown, &()).await?;
                }
            }
        }
        Ok(())
    })
}

async fn run(
    connection: &Connection,
    call: Message,
    waiting: &mut HashMap<String, Message>,
) -> zbus::Result<()> {
    let (class, task, instance, details): (String, String, String, String) = call.body().deserialize()?;
    match class.as_str() {
        "Return" => {
            for progress in [10, 70_000] {
                tell(connection, &call, &instance, progress).await?;
            }
            connection.reply(&call.header(), &()).await
        }
        "Fail" => {
            let told = format!("{task} {instance} {details}");
            connection.reply_error(&call.header(), "org.example.Failed", &told).await
        }
        "Wait" => {
            tell(connection, &call, &instance, 1).await?;
            waiting.insert(instance, call);
            Ok(())
        }
        "Crash" => std::process::exit(1),
        // Never answers, and has a descendant that cares for nothing.
        "Stubborn" => {
            std::process::Command::new("setsid").args(["sleep", "1000"]).spawn()?;
            tell(connection, &call, &instance, 1).await
        }
        other => connection.reply_error(&call.header(), "org.example.NoSuchClass", &other).await,
    }
}

async fn tell(connection: &Connection, call: &Message, instance: &str, progress: u32) -> zbus::Result<()> {
    let header = call.header();
    let Some(path) = header.path() else { return Ok(()) };
    let all = HashMap::from([(instance, progress)]);
    let changed = HashMap::from([("Progress", Variant::from(all))]);
    let body = (INTERFACE, changed, Vec::<&str>::new());
    let properties = "org.freedesktop.DBus.Properties";
    connection.emit_signal(None::<&str>, path, properties, "PropertiesChanged", &body).await
}
