//! Proof that a file put together from several responses is of one version, where no digest covers the whole. Servers
//! give equal names to unequal bytes (rows 30 and 133 of the faults), so only bytes are believed.

use longhaul_contract::{Cause, Failure};

use super::attempt::Attempt;
use super::further::repeat;
use super::pump::{FlowEnd, SEAM_BYTES};
use super::sources::SourceIndex;
use crate::http::accept::{Verdict, Version};
use crate::http::failure::{permanent, transient};
use crate::http::follow::{FollowError, Urgency};
use crate::http::head::strong_validator;
use crate::http::request::RangeFields;
use crate::journal::Validators;

enum Proof {
    /// Both sides are of one version.
    Equal,
    /// They are not, or nobody can tell any more.
    Void(String),
    /// Ask another time, or another address.
    Again,
}

impl Attempt {
    /// Fetches the bytes around each seam that nothing has proved yet, in one piece. A text says why the bytes at hand
    /// cannot be kept.
    pub(super) async fn prove_seams(&mut self) -> Result<Option<String>, Failure> {
        if !self.algorithms().is_empty() {
            return Ok(None);
        }
        let seams = self.desk.plan().seams();
        for seam in seams {
            loop {
                let index = self.sources.best().ok_or_else(|| {
                    let failure = self.sources.first_failure();
                    failure.unwrap_or_else(|| {
                        permanent(Cause::Internal, "no address of the file is left to ask")
                    })
                })?;
                match self.prove_seam(index, seam).await? {
                    Proof::Equal => break,
                    Proof::Void(why) => return Ok(Some(why)),
                    Proof::Again => {}
                }
            }
            self.desk.plan().prove_seam(seam);
        }
        Ok(None)
    }

    async fn prove_seam(&mut self, index: SourceIndex, seam: u64) -> Result<Proof, Failure> {
        let total = self.desk.plan().total().unwrap_or_default();
        let (from, to) = (seam.saturating_sub(SEAM_BYTES), seam.saturating_add(SEAM_BYTES).min(total));
        let known = self.sources.get(index).validators.clone();
        let known = known.unwrap_or(Validators { total: Some(total), ..Validators::default() });
        let if_range = strong_validator(&known).map(str::to_owned).filter(|_| !self.ignores_if_range(index));
        let is_conditional = if_range.is_some();
        let range = RangeFields { start: from, end: Some(to), if_range };
        let request = self.request(index, Some(range), Some(known));
        let (verdict, reached) = match request.make(&self.desk, &self.demands(), Urgency::First).await {
            Ok(answered) => answered,
            Err(FollowError::NoSeat) => return Ok(Proof::Again),
            Err(FollowError::Failed(failure)) => {
                self.give_up(index, failure)?;
                return Ok(Proof::Again);
            }
        };
        let proof = match verdict {
            Verdict::Part { start, end, .. } if end >= to => {
                let part = self.desk.part().expect("the file is complete").clone();
                return match repeat(&self.desk, &part, reached, start, to).await {
                    Ok(()) => Ok(Proof::Equal),
                    Err(FlowEnd::Mismatch(why)) => Ok(Proof::Void(why)),
                    Err(FlowEnd::File(failure)) => Err(failure),
                    Err(FlowEnd::Unwelcome(why)) => {
                        self.give_up(index, transient(Cause::ConnectionClosed, why))?;
                        Ok(Proof::Again)
                    }
                    Err(other) => Ok(Proof::Void(format!("the pieces cannot be compared: {other:?}"))),
                };
            }
            Verdict::Whole { versus_known: Version::Same, .. } if is_conditional => {
                self.learn_ignores_if_range(&reached);
                Proof::Again
            }
            Verdict::Whole { versus_known: Version::Other(why), .. }
            | Verdict::Changed(why)
            | Verdict::NoRange(why) => Proof::Void(why),
            Verdict::Part { .. } | Verdict::Whole { .. } | Verdict::Complete => Proof::Void(
                "the server no longer serves the parts that would prove it one version".to_owned(),
            ),
            Verdict::Refused(failure) => {
                self.give_up(index, failure)?;
                Proof::Again
            }
        };
        reached.answer.body.discard();
        Ok(proof)
    }
}
