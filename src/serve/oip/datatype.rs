//! The protocol's names of what tensors hold.

use crate::predict::Element;

/// The name of a type in the protocol.
pub fn datatype(element: &Element) -> &'static str {
    match element {
        Element::F16 => "FP16",
        Element::F32 => "FP32",
        Element::F64 => "FP64",
        Element::I32 => "INT32",
        Element::I64 => "INT64",
        Element::Bool => "BOOL",
        Element::Text | Element::Other(_) => "BYTES",
    }
}

/// What is said of a type that no model here takes.
pub fn unknown(datatype: &str) -> String {
    format!(
        "the datatype `{datatype}` is taken by no model here: FP32, FP64, FP16, INT64, INT32 and BOOL are"
    )
}
