//! What daemons of the user's session tell, and what the owner decides about an application.

use longhaul_endtoend::{DEADLINE, DOWNLOADS};
use longhaul_lab::process::Guarded;
use longhaul_lab::{Content, Resource, Server, wait_until};
use serde_json::json;

use super::{APP, Scene, TASKS, event};

const ACCOUNTS: &str = "org.gnome.OnlineAccounts";

/// A daemon that has these accounts from the moment it is there (a template of python-dbusmock).
const TEMPLATE: &str = r#"
BUS_NAME = 'org.gnome.OnlineAccounts'
MAIN_OBJ = '/org/gnome/OnlineAccounts'
MAIN_IFACE = 'org.gnome.OnlineAccounts.Manager'
SYSTEM_BUS = False
IS_OBJECT_MANAGER = True

def load(mock, parameters):
    for name in parameters['names']:
        mock.AddObject(MAIN_OBJ + '/Accounts/' + name, 'org.gnome.OnlineAccounts.Account', {
            'Id': name,
            'ProviderType': 'google',
            'PresentationIdentity': name + '@example.org',
            'AttentionNeeded': False,
        }, [])
"#;

/// A daemon with these accounts, by name.
pub(super) fn start_accounts(scene: &Scene, names: &[&str]) -> Guarded {
    let template = scene.folder.path().join("accounts.py");
    std::fs::write(&template, TEMPLATE).unwrap();
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.args(["-m", "dbusmock", "--session", "--template"]).arg(template);
    command.args(["--parameters", &json!({ "names": names }).to_string()]);
    command.env("DBUS_SESSION_BUS_ADDRESS", scene.session.address());
    scene.session.start_daemon(command, ACCOUNTS)
}

#[test]
fn accounts_that_come_start_a_task_also_while_the_daemon_restarted() {
    let scene = Scene::new();
    scene.assert_refused(&event("OnlineIdConnectedStateChange"), "install the package gnome-online-accounts");
    let daemon = start_accounts(&scene, &["me"]);
    let task = scene.register(&event("OnlineIdConnectedStateChange"));
    drop(daemon);
    let daemon = start_accounts(&scene, &["me", "work"]);
    let change = &scene.details(1)["accounts"][0];
    assert_eq!((&change["id"], &change["change"]), (&"work".into(), &"added".into()), "{task:#}");
    drop(daemon);
    let _daemon = start_accounts(&scene, &["work"]);
    let explain = format!("{TASKS}/{}/explain", task["id"].as_str().unwrap());
    wait_until("a further firing", DEADLINE, || {
        let explained = scene.call("GET", &explain, None).expect_status(200).json();
        (explained["blocking"][0]["code"] == "flapping").then_some(())
    });
}

#[test]
fn the_privilege_to_run_always_is_told_to_the_application() {
    let scene = Scene::new();
    let _added = scene.register(&event("LockScreenApplicationAdded"));
    let put = |status: &str| {
        let body = json!({ "status": status });
        let _ = scene.call("PUT", &format!("/apps/{APP}/access"), Some(&body)).expect_status(200);
    };
    put("AlwaysAllowed");
    let _ = scene.details(1);
    let all = scene.call("GET", TASKS, None).expect_status(200).json();
    let _ =
        scene.call("DELETE", &format!("{TASKS}/{}", all[0]["id"].as_str().unwrap()), None).expect_status(204);
    let _removed = scene.register(&event("LockScreenApplicationRemoved"));
    put("AllowedSubjectToSystemPolicy");
    let _ = scene.details(2);
}

#[test]
fn an_application_for_the_foreground_transfers_only_while_it_is_there() {
    let scene = Scene::new();
    let content = Content::new(1, 40_000_000);
    let server = Server::build().pace(1_000_000).start(move |exchange| {
        exchange.respond(Resource::new(content).answer(&exchange.request));
    });
    let policy = format!("/apps/{APP}/policy");
    let put = |foreground_only: bool| {
        let body = json!({ "foregroundOnly": foreground_only });
        let _ = scene.call("PUT", &policy, Some(&body)).expect_status(200);
    };
    put(true);
    let spec = scene.house.spec(&format!("http://{}/f", server.address()), "f");
    let made = scene.call("POST", DOWNLOADS, Some(&spec)).expect_status(201).json();
    let path = format!("{}/{}", DOWNLOADS, made["id"].as_str().unwrap());
    let until = |status: &str| {
        wait_until(status, DEADLINE, || {
            let now = scene.call("GET", &path, None).expect_status(200).json();
            (now["status"] == status).then_some(())
        });
    };
    until("PausedSystemPolicy");
    let explained = scene.call("GET", &format!("{path}/explain"), None).expect_status(200).json();
    assert_eq!(explained["blocking"][0]["code"], "foregroundOnly", "{explained:#}");
    let watching = scene.api.stream("GET", "/events?kinds=removed", None).expect("the event stream opens");
    until("Running");
    drop(watching);
    until("PausedSystemPolicy");
    put(false);
    until("Running");
}

const DISTRIBUTOR: &str = "org.unifiedpush.Distributor.Test";

/// A distributor that gives an endpoint at once, and carries on what it is told to (a template of python-dbusmock).
const DISTRIBUTOR_TEMPLATE: &str = r#"
import dbus

BUS_NAME = 'org.unifiedpush.Distributor.Test'
MAIN_OBJ = '/org/unifiedpush/Distributor'
MAIN_IFACE = 'org.unifiedpush.Distributor2'
SYSTEM_BUS = False

REGISTER = """
self.token = args[0]['token']
connector = self.connection.get_object(args[0]['service'], '/org/unifiedpush/Connector', introspect=False)
connector.NewEndpoint({'token': self.token, 'endpoint': 'https://push.example.org/' + self.token},
    dbus_interface='org.unifiedpush.Connector2', signature='a{sv}',
    reply_handler=lambda *reply: None, error_handler=print)
ret = {'success': 'REGISTRATION_SUCCEEDED'}
"""

CARRY = """
connector = self.connection.get_object('io.longhaul.Push', '/org/unifiedpush/Connector', introspect=False)
message = dbus.Dictionary({'token': self.token, 'message': dbus.ByteArray(args[0].encode())}, signature='sv')
connector.Message(message, dbus_interface='org.unifiedpush.Connector2', signature='a{sv}',
    reply_handler=lambda *reply: None, error_handler=print)
"""

def load(mock, parameters):
    mock.AddMethod(MAIN_IFACE, 'Register', 'a{sv}', 'a{sv}', REGISTER)
    mock.AddMethod(MAIN_IFACE, 'Unregister', 'a{sv}', 'a{sv}', 'ret = {}')
    mock.AddMethod(MAIN_IFACE, 'Carry', 's', '', CARRY)
    mock.AddMethod(MAIN_IFACE, 'Knows', '', 'b', 'ret = hasattr(self, "token")')
"#;

pub(super) fn start_distributor(scene: &Scene) -> Guarded {
    let template = scene.folder.path().join("distributor.py");
    std::fs::write(&template, DISTRIBUTOR_TEMPLATE).unwrap();
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.args(["-m", "dbusmock", "--session", "--template"]).arg(template);
    command.env("DBUS_SESSION_BUS_ADDRESS", scene.session.address());
    scene.session.start_daemon(command, DISTRIBUTOR)
}

#[test]
fn push_messages_come_by_way_of_the_distributor_also_after_it_restarted() {
    let scene = Scene::new();
    let trigger =
        json!({ "type": "PushNotificationTrigger", "parameters": { "distributor": "unifiedpush" } });
    scene.assert_refused(&trigger, "no distributor of UnifiedPush");
    let distributor = start_distributor(&scene);
    let task = scene.register(&trigger);
    let path = format!("{TASKS}/{}", task["id"].as_str().unwrap());
    let parameters = wait_until("an endpoint", DEADLINE, || {
        let detail = scene.call("GET", &path, None).expect_status(200).json();
        let parameters = detail["trigger"]["parameters"].clone();
        parameters["endpoint"].is_string().then_some(parameters)
    });
    assert!(parameters["endpoint"].as_str().unwrap().starts_with("https://push.example.org/"));
    let carry = |text: &str| {
        let method = "org.unifiedpush.Distributor2.Carry";
        scene.session.call(DISTRIBUTOR, "/org/unifiedpush/Distributor", method, &[&format!("'{text}'")]);
    };
    carry("hello");
    let details = scene.details(1);
    assert_eq!((&details["content"], &details["channelId"]), (&"hello".into(), &parameters["channel"]));
    drop(distributor);
    let _distributor = start_distributor(&scene);
    wait_until("being registered again", DEADLINE, || {
        let method = "org.unifiedpush.Distributor2.Knows";
        let knows = scene.session.call(DISTRIBUTOR, "/org/unifiedpush/Distributor", method, &[]);
        knows.contains("true").then_some(())
    });
    carry("again");
    assert_eq!(scene.details(2)["content"], "again");
}
