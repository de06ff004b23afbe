//! A member of a PATCH that may be absent, null or a number, which are three different things.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[expect(clippy::option_option, clippy::ref_option, reason = "absent and null differ in a PATCH")]
pub(crate) fn serialize<S: Serializer>(
    value: &Option<Option<u64>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.flatten().serialize(serializer)
}

#[expect(clippy::option_option, reason = "absent and null differ in a PATCH")]
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
