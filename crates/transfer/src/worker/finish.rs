//! The end of a download: its digests are compared, and the file gets its name.

use std::sync::Arc;

use longhaul_contract::{Cause, ChecksumAlgorithm, DigestVerdict, Failure, RangeSet, Receipt, ReceiptDigest};

use super::attempt::Attempt;
use crate::http::failure::permanent;

impl Attempt {
    /// Compares the digests of the file with all that is known of it. A failure means that its bytes are wrong.
    pub(super) async fn verify(&mut self) -> Result<Option<Failure>, Failure> {
        let total = self.desk.plan().total().unwrap_or_default();
        if let Some(expected) = self.job.expect.as_ref().and_then(|expect| expect.size)
            && expected != total
        {
            return Ok(Some(permanent(
                Cause::SizeMismatch,
                format!("{} sent {total} bytes where {expected} are expected", self.host()),
            )));
        }
        let algorithms = self.algorithms();
        if algorithms.is_empty() {
            self.desk.receipt().digests.clear();
            return Ok(None);
        }
        let part = self.desk.part().expect("the file is complete").clone();
        part.start_digests(algorithms);
        let computed = part.finish_digests(total).await?;
        let mut digests = Vec::new();
        if let Some(checksum) = &self.job.checksum {
            digests.extend(compare(&computed, checksum.algorithm, &checksum.hex, "caller"));
        }
        for announced in &self.announced {
            let expected = hex::encode(&announced.value);
            digests.extend(compare(&computed, announced.algorithm, &expected, "Repr-Digest"));
        }
        let wrong = digests.iter().find(|digest| digest.verdict == DigestVerdict::Different).cloned();
        self.desk.receipt().digests = digests;
        Ok(wrong.map(|digest| {
            permanent(
                Cause::DigestMismatch,
                format!(
                    "the {} of what {} sent is {}, which is not what the {} says",
                    digest.algorithm.word(),
                    self.host(),
                    digest.value,
                    if digest.source == "caller" { "caller's checksum" } else { digest.source.as_str() },
                ),
            )
        }))
    }

    /// Gives the complete and checked file its name. The intent is recorded first, so that a crash on either side of
    /// the rename is told apart.
    pub(super) async fn publish(&mut self) -> Result<Receipt, Failure> {
        let part = self.desk.part().expect("the file is complete").clone();
        let total = self.desk.plan().total().unwrap_or_default();
        let whole: RangeSet = std::iter::once(longhaul_contract::ByteRange::new(0, total)).collect();
        let mut record = self.record(&part, whole);
        record.receipt.size = Some(total);
        let (journal, id) = (Arc::clone(&self.journal), self.job.id);
        let name = part.name().to_owned();
        let published = self
            .files
            .publish(part, &name, self.job.if_exists, move |name| {
                let mut record = record.clone();
                record.publish_as = Some(name);
                journal.save(id, record)
            })
            .await?;
        let mut receipt = self.desk.receipt().clone();
        receipt.size = Some(published.size);
        receipt.path = Some(published.path);
        Ok(receipt)
    }
}

fn compare(
    computed: &[(ChecksumAlgorithm, Vec<u8>)],
    algorithm: ChecksumAlgorithm,
    expected: &str,
    source: &str,
) -> Option<ReceiptDigest> {
    let (_, value) = computed.iter().find(|(known, _)| *known == algorithm)?;
    let value = hex::encode(value);
    let verdict = if value == expected { DigestVerdict::Equal } else { DigestVerdict::Different };
    Some(ReceiptDigest { algorithm, value, source: source.to_owned(), verdict })
}
