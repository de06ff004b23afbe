//! A BlueZ with one adapter and the devices that a test puts around it, played by python-dbusmock: the radio itself needs a
//! kernel with Bluetooth.

use crate::bus::Bus;
use crate::process::Guarded;

const NAME: &str = "org.bluez";
const ADAPTER: &str = "/org/bluez/hci0";
const ADAPTER_INTERFACE: &str = "org.bluez.Adapter1";
const DEVICE: &str = "org.bluez.Device1";
const SERVICE: &str = "org.bluez.GattService1";
const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
const OBJECTS: &str = "org.freedesktop.DBus.ObjectManager";
const ADD: &str = "org.freedesktop.DBus.Mock.AddObject";

/// Gone when dropped.
#[derive(Debug)]
pub struct Bluez<'a> {
    bus: &'a Bus,
    _daemon: Guarded,
}

fn device_path(address: &str) -> String {
    format!("{ADAPTER}/dev_{}", address.replace(':', "_"))
}

fn bytes(data: &[u8]) -> String {
    let digits: Vec<String> = data.iter().map(|byte| format!("byte 0x{byte:02x}")).collect();
    format!("<[{}]>", digits.join(", "))
}

impl<'a> Bluez<'a> {
    /// Without an adapter.
    #[must_use]
    pub fn start(bus: &'a Bus) -> Self {
        let daemon = bus.start_empty(NAME, "/", NAME);
        Self { bus, _daemon: daemon }
    }

    fn add(&self, path: &str, interface: &str, properties: &str, methods: &str) {
        let words = [path, interface].map(|word| format!("'{word}'"));
        self.bus.call(NAME, "/", ADD, &[&words[0], &words[1], properties, methods]);
        let arguments = format!("[<objectpath '{path}'>, <{{'{interface}': {properties}}}>]");
        self.bus.emit(NAME, "/", (OBJECTS, "InterfacesAdded"), "oa{sa{sv}}", &arguments);
    }

    /// Plugs one in that is switched on.
    pub fn plug_adapter(&self) {
        let discovers = |value: &str| {
            format!("self.UpdateProperties('{ADAPTER_INTERFACE}', {{'Discovering': dbus.Boolean({value})}})")
        };
        let methods = format!(
            "[('SetDiscoveryFilter', 'a{{sv}}', '', ''), ('StartDiscovery', '', '', \"{}\"), \
              ('StopDiscovery', '', '', \"{}\")]",
            discovers("True"),
            discovers("False")
        );
        let properties = "{'Powered': <true>, 'Discovering': <false>}";
        self.add(ADAPTER, ADAPTER_INTERFACE, properties, &methods);
    }

    /// Switches the adapter on or off; what it listened for is forgotten.
    pub fn power(&self, is_on: bool) {
        let properties = format!("{{'Powered': <{is_on}>, 'Discovering': <false>}}");
        self.bus.set(NAME, ADAPTER, ADAPTER_INTERFACE, &properties);
    }

    /// Whether somebody has the adapter listen.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        let get = "org.freedesktop.DBus.Properties.Get";
        let name = format!("'{ADAPTER_INTERFACE}'");
        self.bus.call(NAME, ADAPTER, get, &[&name, "'Discovering'"]).contains("true")
    }

    /// A device that has not been heard before sends data of a manufacturer.
    pub fn appear(&self, address: &str, strength: i16, company: u16, data: &[u8]) {
        let properties = format!(
            "{{'Address': <'{address}'>, 'AddressType': <'random'>, 'Name': <'Beacon'>, \
              'RSSI': <int16 {strength}>, 'Connected': <false>, 'ServicesResolved': <false>, \
              'UUIDs': <['0000180d-0000-1000-8000-00805f9b34fb']>, \
              'ManufacturerData': <{{uint16 {company}: {}}}>}}",
            bytes(data)
        );
        let connects = format!(
            "self.UpdateProperties('{DEVICE}', \
              {{'Connected': dbus.Boolean(True), 'ServicesResolved': dbus.Boolean(True)}})"
        );
        let methods = format!("[('Connect', '', '', \"{connects}\")]");
        self.add(&device_path(address), DEVICE, &properties, &methods);
    }

    /// A device that is known is heard again.
    pub fn hear(&self, address: &str, strength: i16) {
        self.bus.set(NAME, &device_path(address), DEVICE, &format!("{{'RSSI': <int16 {strength}>}}"));
    }

    /// Gives a device a heart rate service whose measurement notifies; answers the characteristic's path.
    pub fn add_heart_rate(&self, address: &str) {
        let device = device_path(address);
        let service = format!("{device}/service0010");
        let uuid = |short: &str| format!("<'0000{short}-0000-1000-8000-00805f9b34fb'>");
        self.add(&service, SERVICE, &format!("{{'UUID': {}}}", uuid("180d")), "@a(ssss) []");
        let notifies = |value: &str| {
            format!("self.UpdateProperties('{CHARACTERISTIC}', {{'Notifying': dbus.Boolean({value})}})")
        };
        let methods = format!(
            "[('StartNotify', '', '', \"{}\"), ('StopNotify', '', '', \"{}\")]",
            notifies("True"),
            notifies("False")
        );
        let properties = format!(
            "{{'UUID': {}, 'Service': <objectpath '{service}'>, 'Notifying': <false>, 'Value': <@ay []>}}",
            uuid("2a37")
        );
        self.add(&format!("{service}/char0011"), CHARACTERISTIC, &properties, &methods);
    }

    #[must_use]
    pub fn is_notifying(&self, address: &str) -> bool {
        let path = format!("{}/service0010/char0011", device_path(address));
        let get = "org.freedesktop.DBus.Properties.Get";
        let name = format!("'{CHARACTERISTIC}'");
        self.bus.call(NAME, &path, get, &[&name, "'Notifying'"]).contains("true")
    }

    pub fn notify(&self, address: &str, value: &[u8]) {
        let path = format!("{}/service0010/char0011", device_path(address));
        self.bus.set(NAME, &path, CHARACTERISTIC, &format!("{{'Value': {}}}", bytes(value)));
    }

    /// The device drops the connection.
    pub fn disconnect(&self, address: &str) {
        let path = format!("{}/service0010/char0011", device_path(address));
        self.bus.set(NAME, &path, CHARACTERISTIC, "{'Notifying': <false>}");
        let gone = "{'Connected': <false>, 'ServicesResolved': <false>}";
        self.bus.set(NAME, &device_path(address), DEVICE, gone);
    }
}
