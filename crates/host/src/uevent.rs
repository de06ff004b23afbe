//! What the kernel says of devices that come, change and go (NETLINK_KOBJECT_UEVENT), without udev.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The kernel's own events; group 2 is udev's.
const KERNEL_GROUP: u32 = 1;
/// The kernel makes none longer (UEVENT_BUFFER_SIZE is 2 KiB, with a header before it).
const BUFFER: usize = 8 << 10;

/// One event. Everything the kernel says beyond these stays out until somebody needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Uevent {
    /// `add`, `remove`, `change`, `bind`, `unbind`, `move`, `online` or `offline`.
    pub(crate) action: String,
    pub(crate) subsystem: String,
    /// Below /sys.
    pub(crate) path: String,
    /// What kind of device it is within its subsystem, such as `usb_device`; often empty.
    pub(crate) kind: String,
    /// Of USB devices: vendor, product and release in hexadecimal without zeros in front.
    pub(crate) product: String,
}

/// Must live inside a tokio runtime.
#[derive(Debug)]
pub(crate) struct UeventWatch {
    socket: AsyncFd<OwnedFd>,
}

impl UeventWatch {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        // SAFETY: an `OwnedFd` that is never taken out names the same open socket for its whole life.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket })
    }

    /// Waits for an event; `None` when some were lost. May be dropped and called again at any point.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Uevent>> {
        let mut buffer = [0_u8; BUFFER];
        loop {
            let mut ready = self.socket.readable().await?;
            match recvfrom(self.socket.get_ref(), &mut buffer, RecvFlags::TRUNC) {
                Ok((_, length, sender)) => {
                    // Others may send to this address as well; only the kernel has port 0.
                    let is_kernel = sender
                        .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
                        .is_some_and(|sender| sender.pid() == 0);
                    if let Some(event) = buffer.get(..length).filter(|_| is_kernel).and_then(parse) {
                        return Ok(Some(event));
                    }
                }
                Err(Errno::NOBUFS) => return Ok(None),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `action@path`, then `NAME=value`, each ended by a zero byte.
fn parse(message: &[u8]) -> Option<Uevent> {
    let fields = message.split(|byte| *byte == 0).filter_map(|field| std::str::from_utf8(field).ok());
    let mut event = Uevent::default();
    for (name, value) in fields.filter_map(|field| field.split_once('=')) {
        match name {
            "ACTION" => value.clone_into(&mut event.action),
            "SUBSYSTEM" => value.clone_into(&mut event.subsystem),
            "DEVPATH" => value.clone_into(&mut event.path),
            "DEVTYPE" => value.clone_into(&mut event.kind),
            "PRODUCT" => value.clone_into(&mut event.product),
            _ => {}
        }
    }
    (!event.action.is_empty() && !event.subsystem.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read_and_udevs_are_not() {
        let message =
            b"change@/devices/AC\0ACTION=change\0DEVPATH=/devices/AC\0SUBSYSTEM=power_supply\0SEQNUM=7\0";
        let event = parse(message).unwrap();
        assert_eq!((event.action.as_str(), event.path.as_str()), ("change", "/devices/AC"));
        assert_eq!(event.subsystem, "power_supply");
        for broken in [&b""[..], b"libudev\0\xfe\xed\xca\xfe", b"add@/x\0", b"\0\0=\0"] {
            assert_eq!(parse(broken), None);
        }
    }
}
