//! Short forms: `input = "X"` for one input that takes all features, `output = "y"` for the output's name.
//!
//! Visitors, because serde's untagged enums forget where in the text a value stands.

use super::{Inputs, RawInput, RawOutput};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use toml::Spanned;

/// Reads `input`.
pub(super) fn inputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Inputs, D::Error> {
    struct Seen;
    impl<'de> Visitor<'de> for Seen {
        type Value = Inputs;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of the only input, or [[input]] tables")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<Inputs, E> {
            Ok(Inputs::Named(name.to_owned()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, tables: A) -> Result<Inputs, A::Error> {
            let tables = Vec::<Spanned<RawInput>>::deserialize(SeqAccessDeserializer::new(tables))?;
            Ok(Inputs::Listed(tables))
        }
    }
    deserializer.deserialize_any(Seen)
}

/// Reads `output`.
pub(super) fn output<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RawOutput, D::Error> {
    struct Seen;
    impl<'de> Visitor<'de> for Seen {
        type Value = RawOutput;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of the output, or an [output] table")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<RawOutput, E> {
            Ok(RawOutput { value: Some(name.to_owned()), ..RawOutput::default() })
        }

        fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<RawOutput, A::Error> {
            RawOutput::deserialize(MapAccessDeserializer::new(table))
        }
    }
    deserializer.deserialize_any(Seen)
}
