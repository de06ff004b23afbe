//! The body of an upload: files and the bytes between them, at places that are known beforehand.
//!
//! Nothing is copied together: any range of the body is read from where its bytes lie.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use longhaul_contract::{Cause, Failure};

use super::buffers::{Buffers, PIECE_BYTES};
use super::job::{UploadContent, UploadPart, UploadSource};
use super::record::SourceIdentity;
use super::source::SourceFile;
use crate::http::failure::{needs_input, transient};
use crate::http::outgoing::Course;
use crate::rate::RateLimit;

/// The files are looked at again after so many bytes.
const CHECK_BYTES: u64 = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Content {
    segments: Vec<Segment>,
    files: Vec<Arc<SourceFile>>,
    pub(crate) total: u64,
    /// Of a multipart body.
    pub(crate) media_type: Option<String>,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    length: u64,
    bytes: SegmentBytes,
}

#[derive(Debug)]
enum SegmentBytes {
    Memory(Bytes),
    File(Arc<SourceFile>),
}

/// Hears of bytes that leave.
pub(crate) trait Witness: Send + Sync + 'static {
    fn left(&self, bytes: u64);

    /// The last byte of a request is about to leave: from then on the server may have all of it.
    fn last(&self) -> BoxFuture<'_, Result<(), Failure>>;
}

/// What reading a range needs.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) content: Arc<Content>,
    pub(crate) rate: RateLimit,
    pub(crate) buffers: Buffers,
    pub(crate) witness: Arc<dyn Witness>,
    /// Whether the witness hears of the last byte.
    pub(crate) notes_last: bool,
}

impl Content {
    /// Opens all files. Blocks.
    ///
    /// # Errors
    /// One of them cannot be read, or the multipart body cannot be written.
    pub(crate) fn open(source: &UploadSource) -> Result<Self, Failure> {
        let mut content = Self::default();
        match source {
            UploadSource::File(path) => content.push_file(SourceFile::open(path)?),
            UploadSource::Multipart { sub_type, boundary, parts } => {
                content.media_type = Some(multipart_type(sub_type, boundary)?);
                for part in parts {
                    content.push_part(boundary, part)?;
                }
                content.push_bytes(format!("--{boundary}--\r\n").into());
            }
        }
        Ok(content)
    }

    fn push_part(&mut self, boundary: &str, part: &UploadPart) -> Result<(), Failure> {
        let mut head = format!("--{boundary}\r\n");
        for (name, value) in &part.headers {
            let is_sound = http::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && !value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
            if !is_sound {
                return Err(unsound("a header of a part is not allowed"));
            }
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.push_bytes(head.into());
        match &part.content {
            UploadContent::File(path) => self.push_file(SourceFile::open(path)?),
            UploadContent::Text(text) if text.contains(&format!("--{boundary}")) => {
                return Err(unsound("the boundary occurs in the text of a part"));
            }
            UploadContent::Text(text) => self.push_bytes(text.clone().into()),
        }
        self.push_bytes(Bytes::from_static(b"\r\n"));
        Ok(())
    }

    fn push_bytes(&mut self, bytes: Bytes) {
        self.push(bytes.len() as u64, SegmentBytes::Memory(bytes));
    }

    fn push_file(&mut self, file: SourceFile) {
        let file = Arc::new(file);
        self.files.push(Arc::clone(&file));
        self.push(file.identity.size, SegmentBytes::File(file));
    }

    fn push(&mut self, length: u64, bytes: SegmentBytes) {
        if length > 0 {
            self.segments.push(Segment { start: self.total, length, bytes });
            self.total += length;
        }
    }

    pub(crate) fn identities(&self) -> Vec<SourceIdentity> {
        self.files.iter().map(|file| file.identity).collect()
    }

    /// Name of the only file.
    pub(crate) fn file_name(&self) -> Option<&str> {
        match (self.files.as_slice(), &self.media_type) {
            ([file], None) => file.name(),
            _ => None,
        }
    }

    /// Whether every file still is what was opened. Blocks, shortly.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.files.iter().try_for_each(|file| file.check())
    }

    /// Reads a range, piece by piece. Blocks.
    pub(crate) fn read(&self, range: Range<u64>, mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
        let mut offset = range.start;
        let mut buffer = vec![0; PIECE_BYTES];
        while offset < range.end {
            let segment = self.segment(offset);
            let end = range.end.min(segment.start + segment.length);
            let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let within = offset - segment.start;
            let count = match &segment.bytes {
                SegmentBytes::Memory(bytes) => {
                    let at = usize::try_from(within).expect("a segment in memory is small");
                    each(&bytes[at..at + wanted]);
                    wanted
                }
                SegmentBytes::File(file) => {
                    let count = file.read(within, &mut buffer[..wanted])?;
                    each(&buffer[..count]);
                    count
                }
            };
            offset += count as u64;
        }
        Ok(())
    }

    /// The segment that holds the byte at `offset`, which lies before the end.
    fn segment(&self, offset: u64) -> &Segment {
        let index = self.segments.partition_point(|segment| segment.start + segment.length <= offset);
        &self.segments[index]
    }
}

impl Reading {
    /// The bytes of a range, in pieces, under the rate limit. Before its last byte every file is looked at again: a
    /// body whose source has changed never comes to its end.
    pub(crate) fn stream(
        &self,
        range: Range<u64>,
        course: Arc<Course>,
    ) -> BoxStream<'static, io::Result<Bytes>> {
        let reading = self.clone();
        let state = (reading, range, course, 0);
        stream::try_unfold(state, |(reading, range, course, unchecked)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            match reading.next(&range, &course, unchecked).await {
                Ok((piece, unchecked)) => {
                    let rest = range.start + piece.len() as u64..range.end;
                    reading.witness.left(piece.len() as u64);
                    Ok(Some((piece, (reading, rest, course, unchecked))))
                }
                Err(failure) => {
                    course.fail(failure);
                    Err(io::ErrorKind::Other.into())
                }
            }
        })
        .boxed()
    }

    /// The next piece, and how many bytes have not been checked since.
    async fn next(
        &self,
        range: &Range<u64>,
        course: &Course,
        unchecked: u64,
    ) -> Result<(Bytes, u64), Failure> {
        let segment = self.content.segment(range.start);
        let end = range.end.min(segment.start + segment.length);
        let wanted = usize::try_from(end - range.start).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let granted = {
            let _own = course.hold();
            self.rate.acquire(wanted).await
        };
        let within = range.start - segment.start;
        let piece = match &segment.bytes {
            SegmentBytes::Memory(bytes) => {
                let at = usize::try_from(within).expect("a segment in memory is small");
                bytes.slice(at..at + granted)
            }
            SegmentBytes::File(file) => self.read(file, within, granted, course).await?,
        };
        self.rate.give_back(granted - piece.len());
        let unchecked = unchecked + piece.len() as u64;
        if range.start + piece.len() as u64 == range.end {
            self.content.check()?;
            if self.notes_last {
                let _own = course.hold();
                self.witness.last().await?;
            }
            return Ok((piece, 0));
        }
        if unchecked >= CHECK_BYTES {
            if let SegmentBytes::File(file) = &segment.bytes {
                file.check()?;
            }
            return Ok((piece, 0));
        }
        Ok((piece, unchecked))
    }

    async fn read(
        &self,
        file: &Arc<SourceFile>,
        offset: u64,
        wanted: usize,
        course: &Course,
    ) -> Result<Bytes, Failure> {
        let mut buffer = self.buffers.take();
        if let Some(read) = file.read_now(offset, &mut buffer[..wanted]) {
            return read.map(|count| self.buffers.lend(buffer, count));
        }
        let _own = course.hold();
        let file = Arc::clone(file);
        let read = tokio::task::spawn_blocking(move || {
            let count = file.read(offset, &mut buffer[..wanted])?;
            Ok((buffer, count))
        });
        match read.await {
            Ok(Ok((buffer, count))) => Ok(self.buffers.lend(buffer, count)),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(transient(Cause::FileIo, "reading the source was broken off")),
        }
    }
}

fn unsound(what: &str) -> Failure {
    needs_input(Cause::InvalidName, what)
}

/// RFC 2046 section 5.1.1.
fn multipart_type(sub_type: &str, boundary: &str) -> Result<String, Failure> {
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let is_boundary = (1..=70).contains(&boundary.len())
        && !boundary.ends_with(' ')
        && boundary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte));
    if !is_token(sub_type) || !is_boundary {
        return Err(unsound("the multipart subtype or the boundary is not allowed (RFC 2046)"));
    }
    Ok(format!("multipart/{sub_type}; boundary=\"{boundary}\""))
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
