//! The data of a tensor in JSON: nested or flat, whatever it holds, read in one pass.

use super::datatype::unknown;
use crate::predict::TensorData;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;

/// The values, row after row.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Whole numbers, as long as no other was seen.
    Whole(Vec<i64>),
    /// Numbers.
    Real(Vec<f64>),
    /// Truths.
    Truths(Vec<bool>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Whole(Vec::new())
    }
}

impl Numbers {
    fn is_empty(&self) -> bool {
        match self {
            Self::Whole(values) => values.is_empty(),
            Self::Real(values) => values.is_empty(),
            Self::Truths(values) => values.is_empty(),
        }
    }

    fn push_real(&mut self, value: f64) -> Result<(), &'static str> {
        match self {
            Self::Real(values) => values.push(value),
            Self::Whole(values) => {
                let mut reals: Vec<f64> = Vec::with_capacity(values.capacity().max(16));
                reals.extend(values.iter().map(|value| *value as f64));
                reals.push(value);
                *self = Self::Real(reals);
            }
            Self::Truths(_) => return Err("numbers and truths are mixed"),
        }
        Ok(())
    }

    fn push_whole(&mut self, value: i64) -> Result<(), &'static str> {
        match self {
            Self::Whole(values) => values.push(value),
            Self::Real(values) => values.push(value as f64),
            Self::Truths(_) => return Err("numbers and truths are mixed"),
        }
        Ok(())
    }

    fn push_truth(&mut self, value: bool) -> Result<(), &'static str> {
        if self.is_empty() {
            *self = Self::Truths(Vec::new());
        }
        match self {
            Self::Truths(values) => values.push(value),
            _ => return Err("numbers and truths are mixed"),
        }
        Ok(())
    }

    /// As a tensor's data of a type of the protocol.
    ///
    /// # Errors
    /// When they are no values of that type.
    pub fn into_data(self, datatype: &str) -> Result<TensorData, String> {
        let wrong = || format!("`data` holds what is no {datatype}");
        Ok(match (datatype, self) {
            ("FP32", Self::Real(values)) => TensorData::F32(values.iter().map(|v| *v as f32).collect()),
            ("FP32", Self::Whole(values)) => TensorData::F32(values.iter().map(|v| *v as f32).collect()),
            ("FP64", Self::Real(values)) => TensorData::F64(values),
            ("FP64", Self::Whole(values)) => TensorData::F64(values.iter().map(|v| *v as f64).collect()),
            ("INT64", Self::Whole(values)) => TensorData::I64(values),
            ("INT32", Self::Whole(values)) => {
                let narrow = values.iter().map(|value| i32::try_from(*value));
                TensorData::I32(narrow.collect::<Result<_, _>>().map_err(|_| wrong())?)
            }
            ("BOOL", Self::Truths(values)) => TensorData::Bool(values),
            ("FP16", _) => return Err("FP16 has no JSON form: send it in binary".to_owned()),
            ("FP32" | "FP64" | "INT64" | "INT32" | "BOOL", _) => return Err(wrong()),
            (other, _) => return Err(unknown(other)),
        })
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = Self::default();
        Into(&mut numbers).deserialize(deserializer)?;
        Ok(numbers)
    }
}

/// Reads a value, or a list of them at any depth, into the numbers.
struct Into<'a>(&'a mut Numbers);

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or true and false, in lists")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Into(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push_real(value).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push_whole(value).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.0.push_whole(value).map_err(E::custom),
            Err(_) => self.0.push_real(value as f64).map_err(E::custom),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push_truth(value).map_err(E::custom)
    }
}
