//! `Repr-Digest` and `Content-Digest` (RFC 9530): dictionaries of byte sequences (RFC 9651).

use longhaul_contract::ChecksumAlgorithm;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

/// The digest of one algorithm in a digest field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestField {
    pub algorithm: ChecksumAlgorithm,
    pub value: Vec<u8>,
}

/// The digests in a field's value that are worth comparing: sha-256 and sha-512 of the right length. Everything else
/// is ignored, as is a field that does not parse (RFC 9530 section 2, RFC 9651 section 4.2).
#[must_use]
pub fn parse_digest_field(value: &[u8]) -> Vec<DigestField> {
    let Ok(dictionary) = Parser::new(value).parse::<Dictionary>() else { return Vec::new() };
    let mut found = Vec::new();
    for (key, entry) in dictionary {
        let algorithm = match key.as_str() {
            "sha-256" => ChecksumAlgorithm::Sha256,
            "sha-512" => ChecksumAlgorithm::Sha512,
            _ => continue,
        };
        if let ListEntry::Item(item) = entry
            && let BareItem::ByteSequence(value) = item.bare_item
            && value.len() == algorithm.length()
        {
            found.push(DigestField { algorithm, value });
        }
    }
    found
}
