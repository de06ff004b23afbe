//! One request and what the script does about it.

use std::time::Duration;

use super::{Cut, Gate, Request, Response, Wire};

/// A request to answer. What a script leaves undone is left undone: no answer is made up for it, and the next
/// request of the connection is read when the script returns.
pub struct Exchange<'w> {
    pub request: Request,
    wire: &'w mut Wire,
}

impl Exchange<'_> {
    /// Sends exactly these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write(bytes.as_ref(), |_| {});
    }

    /// Sends these bytes and counts them as body.
    pub fn send_body(&mut self, bytes: impl AsRef<[u8]>) {
        let request = &self.request;
        self.wire.write(bytes.as_ref(), |count| request.count_sent(count));
    }

    pub fn respond(&mut self, response: Response) {
        self.send(response.head());
        if self.request.method == "HEAD" {
            return;
        }
        let Response { framing, body, trailers, holds, cut, .. } = response;
        let end = cut.map_or(u64::MAX, |(at, _)| at);
        let mut holds = holds.into_iter().peekable();
        let mut offset = 0;
        loop {
            while let Some((_, gate)) = holds.next_if(|(at, _)| *at <= offset) {
                self.hold(&gate);
            }
            let stop = holds.peek().map_or(end, |(at, _)| end.min(*at));
            let piece = body.read(offset, stop - offset);
            if piece.is_empty() || self.wire.is_broken() {
                break;
            }
            offset += piece.len() as u64;
            self.send_body(framing.frame(piece));
        }
        match cut.map(|(_, cut)| cut) {
            Some(Cut::Close) => self.close(),
            Some(Cut::Reset) => self.reset(),
            Some(Cut::CloseWithoutNotify) => self.close_without_notify(),
            Some(Cut::Stall) => self.stall(),
            None => {
                self.send(framing.end(&trailers));
                if framing.ends_by_close() {
                    self.close();
                }
            }
        }
    }

    pub fn close(&mut self) {
        self.wire.close();
    }

    /// Closes TCP without TLS's close_notify.
    pub fn close_without_notify(&mut self) {
        self.wire.close_without_notify();
    }

    pub fn reset(&mut self) {
        self.wire.reset();
    }

    /// Sends nothing until the gate opens.
    pub fn hold(&mut self, gate: &Gate) {
        self.wire.hold(gate);
    }

    /// Sends nothing for ever: until the client goes or the server is dropped.
    pub fn stall(&mut self) {
        self.wire.hold(&Gate::new());
    }

    /// Waits, less when the server stops.
    pub fn pause(&self, time: Duration) {
        self.wire.pause(time);
    }

    pub fn set_pace(&mut self, bytes_per_second: Option<u64>) {
        self.wire.set_pace(bytes_per_second);
    }

    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.wire.is_broken()
    }

    pub fn wait_for_disconnect(&mut self, time: Duration) -> bool {
        self.wire.wait_for_disconnect(time)
    }
}

/// Reads requests of one connection and runs the script for each, until either side is done.
pub(super) fn serve(wire: &mut Wire, script: &(dyn Fn(&mut Exchange<'_>) + Send + Sync)) {
    for number_on_connection in 0.. {
        let Some(head) = wire.read_head() else { return };
        let Some(mut request) = Request::parse(&head, wire.number, number_on_connection) else { return };
        let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        request.body = wire.read_exactly(length);
        let request = wire.shared.log(request);
        let is_last = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        script(&mut Exchange { request, wire });
        if wire.is_broken() {
            return;
        }
        if is_last {
            wire.close();
            return;
        }
    }
}
