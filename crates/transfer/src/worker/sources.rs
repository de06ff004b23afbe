//! The addresses of one file: the one that was asked for, and its mirrors.

use std::sync::Arc;

use longhaul_contract::Failure;
use ring::digest::{SHA256, digest};
use url::Url;

use crate::http::follow::Source;
use crate::journal::{JournalRecord, Validators};

pub(crate) struct Sources {
    list: Vec<Candidate>,
}

/// Which of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceIndex(usize);

pub(crate) struct Candidate {
    pub(crate) source: Arc<Source>,
    pub(crate) fingerprint: String,
    /// Of the version of the bytes at hand, as this address names it.
    pub(crate) validators: Option<Validators>,
    /// It was unreachable or refused in this attempt.
    failure: Option<Failure>,
    /// Its bytes are not those of the others.
    is_quarantined: bool,
    /// It brought bytes that fit those of the others.
    pub(crate) is_proved: bool,
}

impl Sources {
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let list = sources
            .into_iter()
            .map(|source| Candidate {
                fingerprint: fingerprint(source.url()),
                source: Arc::new(source),
                validators: None,
                failure: None,
                is_quarantined: false,
                is_proved: false,
            })
            .collect();
        Self { list }
    }

    pub(crate) fn get(&self, index: SourceIndex) -> &Candidate {
        &self.list[index.0]
    }

    pub(crate) fn get_mut(&mut self, index: SourceIndex) -> &mut Candidate {
        &mut self.list[index.0]
    }

    /// The first that neither failed nor lied.
    pub(crate) fn best(&self) -> Option<SourceIndex> {
        self.list.iter().position(Candidate::is_usable).map(SourceIndex)
    }

    /// A usable one beside `first`, each in turn.
    pub(crate) fn other(&self, first: SourceIndex, turn: usize) -> Option<SourceIndex> {
        let others: Vec<usize> =
            (0..self.list.len()).filter(|index| *index != first.0 && self.list[*index].is_usable()).collect();
        if others.is_empty() { None } else { Some(SourceIndex(others[turn % others.len()])) }
    }

    pub(crate) fn has_failed(&mut self, index: SourceIndex, failure: Failure) {
        self.list[index.0].failure = Some(failure);
    }

    /// Leaves `index` aside for this attempt, unless it is the only one left.
    pub(crate) fn quarantine(&mut self, index: SourceIndex) {
        self.list[index.0].is_quarantined |= self.other(index, 0).is_some();
    }

    /// Its bytes are not those at hand, so its name for their version says nothing.
    pub(crate) fn distrust(&mut self, index: SourceIndex) {
        self.quarantine(index);
        self.list[index.0].validators = None;
    }

    /// The bytes turned out wrong: whoever helped `index` is suspected first, else `index` itself.
    pub(crate) fn suspect(&mut self, index: SourceIndex) {
        let helpers: Vec<usize> = (0..self.list.len())
            .filter(|number| *number != index.0 && self.list[*number].is_proved)
            .collect();
        if helpers.is_empty() {
            self.quarantine(index);
        }
        for number in helpers {
            self.list[number].is_quarantined = true;
        }
    }

    /// Why none is left: what the first had to say counts most.
    pub(crate) fn first_failure(&self) -> Option<Failure> {
        self.list.iter().find_map(|candidate| candidate.failure.clone())
    }

    /// The versions that an earlier attempt recorded belong to the addresses they came from.
    pub(crate) fn remember(&mut self, record: &JournalRecord) {
        let first = record.source.as_ref().map(|source| (source, &record.validators));
        let others = record.others.iter().map(|(source, validators)| (source, validators));
        for (fingerprint, validators) in others.chain(first) {
            for candidate in self.list.iter_mut().filter(|known| known.fingerprint == *fingerprint) {
                candidate.validators = Some(validators.clone());
            }
        }
    }

    /// The version of the bytes at hand as the addresses beside `current` name it.
    pub(crate) fn other_versions(&self, current: SourceIndex) -> Vec<(String, Validators)> {
        let others = self.list.iter().enumerate().filter(|(number, _)| *number != current.0);
        others.filter_map(|(_, known)| Some((known.fingerprint.clone(), known.validators.clone()?))).collect()
    }

    pub(crate) fn forget_versions(&mut self) {
        for candidate in &mut self.list {
            candidate.validators = None;
        }
    }
}

impl Candidate {
    const fn is_usable(&self) -> bool {
        self.failure.is_none() && !self.is_quarantined
    }
}

/// Tells whether two requests went to the same address, without keeping the address.
fn fingerprint(url: &Url) -> String {
    hex::encode(&digest(&SHA256, url.as_str().as_bytes()).as_ref()[..16])
}
