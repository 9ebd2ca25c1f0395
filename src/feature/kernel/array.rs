//! Arrays of any length for serde, which itself knows those of up to 32 numbers by name, and none by a parameter.

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple as _;
use serde::{Deserializer, Serializer};
use std::fmt;

pub fn serialize<S: Serializer, const N: usize>(array: &[f64; N], to: S) -> Result<S::Ok, S::Error> {
    let mut tuple = to.serialize_tuple(N)?;
    array.iter().try_for_each(|number| tuple.serialize_element(number))?;
    tuple.end()
}

pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[f64; N], D::Error> {
    from.deserialize_tuple(N, Numbers)
}

struct Numbers<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for Numbers<N> {
    type Value = [f64; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<[f64; N], A::Error> {
        let mut array = [0.0; N];
        for (at, place) in array.iter_mut().enumerate() {
            *place = numbers.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        Ok(array)
    }
}
