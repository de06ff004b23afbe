//! A user's service manager that is asked what it has delegated: played here, as there is none where tests run.

use std::fs;

use futures_util::StreamExt;
use longhaul_runner::Bus;
use longhaul_runner::cgroup::Delegation;
use zbus::message::Type;
use zbus::{Connection, MessageStream, ObjectPath, Variant};

use crate::bus::BusWorld;
use crate::world::is_root;

const UNIT: &str = "/org/freedesktop/systemd1/unit/tests";

/// What the unit of this process is like.
#[derive(Clone)]
struct Unit {
    name: &'static str,
    interface: &'static str,
    is_delegated: bool,
    group: String,
}

impl Unit {
    fn property(&self, interface: &str, name: &str) -> Option<Variant<'_>> {
        match (interface, name) {
            ("org.freedesktop.systemd1.Unit", "Id") => Some(self.name.into()),
            (interface, "Delegate") if interface == self.interface => Some(self.is_delegated.into()),
            (interface, "ControlGroup") if interface == self.interface => Some(self.group.as_str().into()),
            _ => None,
        }
    }
}

async fn serve(address: &str, unit: Unit) -> Connection {
    let connection = zbus::connection::Builder::address(address).build().await.expect("the bus");
    let mut messages = MessageStream::from(&connection);
    connection.request_name("org.freedesktop.systemd1").await.expect("the name");
    let bus = connection.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if message.message_type() != Type::MethodCall {
                continue;
            }
            let header = message.header();
            let member = header.member().map(ToString::to_string).unwrap_or_default();
            let is_own = || message.body().deserialize::<u32>().is_ok_and(|pid| pid == std::process::id());
            let asked = message.body().deserialize::<(String, String)>().unwrap_or_default();
            let value = unit.property(&asked.0, &asked.1);
            let replied = match (member.as_str(), value) {
                ("GetUnitByPID", _) if is_own() => {
                    bus.reply(&header, &ObjectPath::try_from(UNIT).expect("a path")).await
                }
                ("Get", Some(value)) => bus.reply(&header, &value).await,
                _ => bus.reply_error(&header, "org.freedesktop.DBus.Error.UnknownProperty", &member).await,
            };
            replied.expect("the bus takes an answer");
        }
    });
    connection
}

fn own_group() -> String {
    let membership = fs::read_to_string("/proc/self/cgroup").expect("/proc");
    membership.lines().find_map(|line| line.strip_prefix("0::")).expect("cgroup version 2").to_owned()
}

async fn ask(unit: Unit) -> Result<Delegation, String> {
    let world = BusWorld::new();
    let _manager = serve(&world.address, unit).await;
    Delegation::by_user_manager(&Bus::Address(world.address.clone())).await
}

#[tokio::test]
async fn what_the_user_s_manager_has_delegated_is_used() {
    for (name, interface) in [
        ("longhaul.service", "org.freedesktop.systemd1.Service"),
        ("run-1.scope", "org.freedesktop.systemd1.Scope"),
    ] {
        let unit = Unit { name, interface, is_delegated: true, group: own_group() };
        match ask(unit).await {
            Ok(delegation) => {
                assert!(is_root(), "whoever is not root cannot write there");
                assert!(format!("{delegation:?}").contains("longhaul-tasks-"), "{delegation:?}");
            }
            Err(reason) => assert!(!is_root() && reason.contains("cannot make"), "{reason}"),
        }
    }
}

#[tokio::test]
async fn what_it_has_not_delegated_is_left_alone() {
    let interface = "org.freedesktop.systemd1.Service";
    let unit = Unit { name: "shell.service", interface, is_delegated: false, group: own_group() };
    assert_eq!(ask(unit).await.map(drop), Err("shell.service has no Delegate=yes".to_owned()));
    let world = BusWorld::new();
    let nobody = Delegation::by_user_manager(&Bus::Address(world.address.clone())).await;
    assert!(nobody.is_err_and(|reason| reason.contains("the user's service manager")));
}
