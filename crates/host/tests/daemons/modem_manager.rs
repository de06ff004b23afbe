//! ModemManager with a modem that is a program of this test: it speaks AT commands over an abstract socket (3GPP TS 27.007
//! and 27.005), moves to a foreign network, and receives a message.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul_contract::{HostState, SystemTriggerType};
use longhaul_host::HostChange;
use longhaul_lab::process::program;

use crate::rig::Rig;

const NAME: &str = "org.freedesktop.ModemManager1";
const PATH: &str = "/org/freedesktop/ModemManager1";
const POLICY: &str = "org.freedesktop.PolicyKit1";

const TEXT: &str = "Hello from afar";

/// Answers to questions; settings are all obeyed, and what is not here is an error.
const ANSWERS: &[(&str, &str)] = &[
    ("AT", ""),
    ("ATZ", ""),
    ("ATE0", ""),
    ("ATV1", ""),
    ("ATX4", ""),
    ("AT&C1", ""),
    ("AT+GCAP", "+GCAP: +CGSM"),
    ("AT+CGMI", "Longhaul"),
    ("AT+CGMM", "Test"),
    ("AT+CGMR", "1"),
    ("AT+CGSN", "490154203237518"),
    ("AT+CIMI", "214015550000001"),
    ("AT+CPIN?", "+CPIN: READY"),
    ("AT+CFUN?", "+CFUN: 1"),
    ("AT+WS46=?", "+WS46: (12,22)"),
    ("AT+CSCS=?", "+CSCS: (\"IRA\",\"GSM\")"),
    ("AT+CSCS?", "+CSCS: \"IRA\""),
    ("AT+CSQ", "+CSQ: 17,99"),
    ("AT+CGDCONT=?", "+CGDCONT: (1-11),\"IP\",,,(0-2),(0-3)"),
    ("AT+CREG?", "+CREG: 2,1,\"1234\",\"001122BB\""),
    ("AT+CGREG?", "+CGREG: 2,1,\"1234\",\"001122BB\""),
    ("AT+COPS=3,2;+COPS?", "+COPS: 0,2,\"21401\",2"),
    ("AT+COPS=3,0;+COPS?", "+COPS: 0,0,\"test\",2"),
    ("AT+CMGF=?", "+CMGF: (0,1)"),
    ("AT+CMGF?", "+CMGF: 0"),
    ("AT+CNMI=?", "+CNMI: (0,1,2),(0,1,2,3),(0,2),(0,1,2),(0,1)"),
    ("AT+CNMI?", "+CNMI: 0,0,0,0,0"),
    ("AT+CPMS=?", "+CPMS: (\"ME\",\"SM\"),(\"ME\",\"SM\"),(\"ME\",\"SM\")"),
    ("AT+CPMS?", "+CPMS: \"ME\",0,20,\"ME\",0,20,\"ME\",0,20"),
    ("AT+CLCK=?", "+CLCK: (\"SC\")"),
    ("AT+CLCK=\"SC\",2", "+CLCK: 0"),
    ("AT+CNUM", ""),
    ("AT+CMGL=4", ""),
];

/// A modem on an abstract socket, with as many ports as are opened.
struct Modem {
    answers: Mutex<HashMap<String, String>>,
    ports: Mutex<Vec<UnixStream>>,
}

impl Modem {
    fn start(name: &str) -> Arc<Self> {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let answers = ANSWERS.iter().map(|(command, answer)| ((*command).into(), (*answer).into())).collect();
        let modem = Arc::new(Self { answers: Mutex::new(answers), ports: Mutex::default() });
        let accepting = Arc::clone(&modem);
        std::thread::spawn(move || {
            for port in listener.incoming().map_while(Result::ok) {
                accepting.ports.lock().unwrap().push(port.try_clone().unwrap());
                let modem = Arc::clone(&accepting);
                std::thread::spawn(move || modem.serve(port));
            }
        });
        modem
    }

    fn serve(&self, mut port: UnixStream) {
        let commands = BufReader::new(port.try_clone().unwrap()).split(b'\r');
        for command in commands.map_while(Result::ok) {
            let command = String::from_utf8_lossy(&command).trim().to_owned();
            if command.is_empty() {
                continue;
            }
            let answer = match self.answers.lock().unwrap().get(&command) {
                Some(answer) if answer.is_empty() => "\r\nOK\r\n".to_owned(),
                Some(answer) => format!("\r\n{answer}\r\n\r\nOK\r\n"),
                None if command.starts_with("AT+CMGR=") => format!("\r\n{}\r\n\r\nOK\r\n", stored_message()),
                None if command.contains('=') && !command.ends_with('?') => "\r\nOK\r\n".to_owned(),
                None => "\r\nERROR\r\n".to_owned(),
            };
            if port.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Says something without being asked.
    fn say(&self, line: &str) {
        for port in self.ports.lock().unwrap().iter_mut() {
            // Ports that were only tried out are closed.
            let _ = port.write_all(format!("\r\n{line}\r\n").as_bytes());
        }
    }

    /// Registers with the network at home (1) or a foreign one (5).
    fn register(&self, state: u8) {
        let place = "\"1234\",\"001122BB\"";
        let answer = format!("+CREG: 2,{state},{place}");
        self.answers.lock().unwrap().insert("AT+CREG?".to_owned(), answer);
        self.say(&format!("+CREG: {state},{place}"));
    }

    /// Says it again and again: the daemon misses what is said while it is still setting the modem up.
    async fn keep_registering(&self, state: u8) {
        loop {
            self.register(state);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

/// [`TEXT`] from +34600000000 as the modem keeps it (SMS-DELIVER of 3GPP TS 23.040, in the default alphabet).
fn stored_message() -> String {
    let mut packed = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in TEXT.bytes() {
        bits |= u32::from(letter) << count;
        count += 7;
        while count >= 8 {
            packed.push(bits.to_le_bytes()[0]);
            bits >>= 8;
            count -= 8;
        }
    }
    packed.push(bits.to_le_bytes()[0]);
    let mut message =
        vec![0x04, 0x0b, 0x91, 0x43, 0x06, 0, 0, 0, 0xf0, 0, 0, 0x62, 0x11, 0x02, 0x90, 0, 0, 0];
    message.push(u8::try_from(TEXT.len()).unwrap());
    message.extend(packed);
    let digits: String = message.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("+CMGR: 0,,{}\r\n00{digits}", message.len())
}

#[tokio::test]
async fn the_real_daemon_tells_of_messages_and_foreign_networks() {
    let rig = Rig::with_bus();
    let policy = rig.bus.start_template("polkitd", POLICY, "{}");
    let allow = "org.freedesktop.DBus.Mock.AllowUnknown";
    rig.bus.call(POLICY, "/org/freedesktop/PolicyKit1/Authority", allow, &["true"]);
    // The daemon takes the whole word for the socket's name.
    let port = format!("abstract:longhaul-modem-{}", std::process::id());
    let modem = Modem::start(&port);
    let mut command = Command::new(program("ModemManager", "modemmanager"));
    command.args(["--test-enable", "--test-no-udev", "--test-no-suspend-resume", "--no-auto-scan"]);
    let daemon = rig.bus.start_daemon(command, NAME);
    let profile = ["test", "generic"].map(|word| format!("'{word}'"));
    let ports = format!("['{port}']");
    let set = "org.freedesktop.ModemManager1.Test.SetProfile";
    rig.bus.call(NAME, PATH, set, &[&profile[0], &profile[1], &ports]);
    let _manager = rig.manager("gsm");
    let mut watch = rig.watch().await;
    longhaul_lab::wait_until("the modem being switched on", crate::rig::DEADLINE, || {
        let mut command = Command::new(program("mmcli", "modemmanager"));
        command.args(["--modem=any", "--enable"]).env("DBUS_SYSTEM_BUS_ADDRESS", rig.bus.address());
        command.output().ok().filter(|done| done.status.success())
    });
    let is_roaming = |state: &HostState| state.network.cost.value().is_some_and(|cost| cost.is_roaming);
    tokio::select! {
        () = watch.until("roaming", is_roaming) => {}
        () = modem.keep_registering(5) => {}
    }
    tokio::select! {
        () = watch.until("home again", |state| !is_roaming(state)) => {}
        () = modem.keep_registering(1) => {}
    }
    modem.say("+CMTI: \"ME\",1");
    let HostChange::Event(SystemTriggerType::SmsReceived, details) = watch.event().await else {
        panic!("no SMS")
    };
    assert_eq!((&details["from"], &details["body"]), (&"+34600000000".into(), &TEXT.into()));
    let table = watch.0.support();
    let support = table.borrow().system_trigger(SystemTriggerType::SmsReceived);
    assert!(support.is_supported && support.reason.is_none(), "{support:?}");
    drop((daemon, policy));
    watch.until("unknown", |state| !is_roaming(state)).await;
}
