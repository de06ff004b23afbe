//! A file on its way: the bytes of the data connection, and the word of the control connection that they were all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use longhaul_contract::{Cause, Failure};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::control::{Control, PRELIMINARY_MAX};
use super::failure::{refused, unexpected};
use super::reply::Reply;
use crate::http::body::BodyError;
use crate::http::failure::transient;
use crate::http::path::Path;
use crate::http::stream::Stream;

/// The end of the data connection says nothing about why it ended. The last byte of a file of known length is held back
/// until the server has confirmed the transfer: whoever has all bytes then has the server's word too.
pub(crate) struct Retrieval {
    data: Option<Stream>,
    /// Gone once it has said all.
    control: Option<Control>,
    host: String,
    /// What is still to come on the data connection, if the length is known.
    remaining: Option<u64>,
    last: Option<u8>,
    /// Read to know whether there is anything.
    ahead: Option<u8>,
    /// Why the data connection ended, if not by its end.
    broken: Option<io::Error>,
    /// What the control connection said last.
    verdict: Option<Result<Reply, Failure>>,
    announcements: usize,
    is_confirmed: bool,
}

impl Retrieval {
    pub(super) fn new(data: Stream, control: Control, length: Option<u64>) -> Self {
        Self {
            data: Some(data),
            host: control.host.clone(),
            control: Some(control),
            remaining: length,
            last: None,
            ahead: None,
            broken: None,
            verdict: None,
            announcements: 0,
            is_confirmed: false,
        }
    }

    /// What is known of the way the bytes come.
    pub(crate) fn path(&self) -> Option<Path> {
        self.data.as_ref().and_then(Stream::path)
    }

    /// Resolves when a read would not wait: where the data has ended but the server's word is still to come, it would.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.is_confirmed || self.ahead.is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.remaining.is_some_and(|remaining| remaining <= 1) {
            return self.poll_end(context);
        }
        let Some(data) = &mut self.data else { return self.poll_end(context) };
        if data.poll_ready(context).is_pending() {
            self.overhear(context)?;
            return Poll::Pending;
        }
        let mut byte = [0];
        if ready!(self.poll_data(context, &mut byte))? == 0 {
            return self.poll_end(context);
        }
        self.ahead = Some(byte[0]);
        Poll::Ready(Ok(()))
    }

    /// Reads into `buffer`. Ready without a byte means the end of the file, confirmed by the server.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, BodyError>> {
        loop {
            if let Some(byte) = self.ahead.take() {
                buffer[0] = byte;
                return Poll::Ready(Ok(1));
            }
            if self.is_confirmed {
                self.ahead = self.last.take();
                if self.ahead.is_some() {
                    continue;
                }
                return Poll::Ready(Ok(0));
            }
            let most = match self.remaining {
                Some(0 | 1) => 0,
                Some(remaining) => buffer.len().min(usize::try_from(remaining - 1).unwrap_or(usize::MAX)),
                None => buffer.len(),
            };
            if most == 0 || self.data.is_none() {
                ready!(self.poll_end(context))?;
                continue;
            }
            let count = ready!(self.poll_data(context, &mut buffer[..most]))?;
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// Reads from the data connection; 0 means that it is gone.
    fn poll_data(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, BodyError>> {
        let Some(data) = &mut self.data else { return Poll::Ready(Ok(0)) };
        let mut target = ReadBuf::new(buffer);
        match Pin::new(&mut *data).poll_read(context, &mut target) {
            Poll::Pending => {
                self.overhear(context)?;
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.broken = Some(error),
        }
        let count = target.filled().len();
        if count == 0 {
            if self.broken.is_none() {
                // Servers with TLS wait for this before they confirm.
                let _ = Pin::new(data).poll_shutdown(context);
            }
            self.data = None;
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(count as u64);
        }
        Poll::Ready(Ok(count))
    }

    /// Listens to the control connection while the data connection is quiet: a server that gives up may say so and leave
    /// the data connection open.
    fn overhear(&mut self, context: &mut Context<'_>) -> Result<(), BodyError> {
        if let Poll::Ready(Some(Ok(reply))) = self.poll_verdict(context).map(|()| self.verdict.as_ref())
            && reply.is_refusal()
        {
            return Err(told(refused(reply, "to send the file on", &self.host)));
        }
        Ok(())
    }

    /// Waits for what the server has to say at the end.
    fn poll_verdict(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.verdict.is_none() {
            let Some(control) = &mut self.control else { return Poll::Ready(()) };
            let said = ready!(control.poll_reply(context));
            self.announcements += 1;
            let is_over = self.announcements > PRELIMINARY_MAX;
            if is_over || !said.as_ref().is_ok_and(Reply::is_preliminary) {
                self.verdict = Some(said);
            }
        }
        Poll::Ready(())
    }

    /// Brings the last byte home and waits for the server's word.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.remaining == Some(1) && self.data.is_some() {
            let mut last = [0];
            if ready!(self.poll_data(context, &mut last))? == 1 {
                self.last = Some(last[0]);
            }
        }
        if self.remaining == Some(0) && self.data.is_some() {
            match self.poll_data(context, &mut [0])? {
                Poll::Ready(0) => {}
                Poll::Ready(_) => {
                    let detail =
                        format!("{} sent more than the length it told: the file grew meanwhile", self.host);
                    return Poll::Ready(Err(told(transient(Cause::SourceChanged, detail))));
                }
                // The server's word is enough.
                Poll::Pending => {}
            }
        }
        ready!(self.poll_verdict(context));
        Poll::Ready(self.conclude())
    }

    fn conclude(&mut self) -> Result<(), BodyError> {
        match self.verdict.take() {
            Some(Ok(reply)) if reply.is_refusal() => {
                return Err(told(refused(&reply, "to send the file to its end", &self.host)));
            }
            Some(Ok(reply)) if !reply.is_positive() => {
                return Err(told(unexpected(&reply, "the end of the file", &self.host)));
            }
            Some(Err(failure)) => return Err(told(failure)),
            Some(Ok(_)) | None => {}
        }
        match (self.remaining, self.broken.take()) {
            (Some(0), _) | (None, None) => {}
            // TLS that ends without announcement may have been cut by anybody.
            (None, Some(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(BodyError::Unannounced);
            }
            (Some(_), Some(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(BodyError::Truncated);
            }
            (_, Some(error)) => return Err(BodyError::Socket(error)),
            (Some(_), None) => return Err(BodyError::Truncated),
        }
        self.data = None;
        self.is_confirmed = true;
        if let Some(control) = self.control.take() {
            control.say_goodbye();
        }
        Ok(())
    }
}

fn told(failure: Failure) -> BodyError {
    BodyError::Told(Box::new(failure))
}
