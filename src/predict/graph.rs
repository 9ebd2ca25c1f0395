//! What the bytes of an ONNX file tell before it is loaded: which other files it takes its weights from, and how
//! many operators it has.
//!
//! ONNX Runtime reads the weights itself. They are looked up beforehand because its versions differ in how
//! strictly they keep such a path inside the model's folder, and because two models with the same graph and
//! other weights are not the same model.

use std::collections::{BTreeMap, BTreeSet};

/// How deep graphs may nest; `If` and `Loop` bodies rarely go beyond three.
const DEPTH_MAX: usize = 32;
/// How deep functions that use functions are followed.
const FUNCTIONS_DEPTH_MAX: usize = 100;

/// What could be read of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphFacts {
    /// The locations of weights that its tensors name, as they stand there.
    pub locations: BTreeSet<String>,
    /// Its operators, those of the graphs inside it included, and those of its functions as often as they are used:
    /// ONNX Runtime puts each in its place.
    pub operators: usize,
}

/// What an operator, or a function, is called: its domain and its name.
type Name<'a> = (&'a [u8], &'a [u8]);
/// How often each is used.
type Uses<'a> = BTreeMap<Name<'a>, usize>;

/// What is seen on the way.
#[derive(Default)]
struct Seen<'a> {
    locations: BTreeSet<String>,
    /// By the graph itself.
    uses: Uses<'a>,
    functions: BTreeMap<Name<'a>, Uses<'a>>,
}

impl<'a> Seen<'a> {
    /// How many operators `uses` come to; `known` are the functions that were counted already. One that uses itself is
    /// refused by the library.
    fn count(&self, uses: &Uses<'a>, known: &mut BTreeMap<Name<'a>, usize>, depth: usize) -> usize {
        uses.iter().fold(0_usize, |sum, (name, times)| {
            let each = match (known.get(name), self.functions.get(name)) {
                (Some(each), _) => *each,
                (None, Some(uses)) if depth < FUNCTIONS_DEPTH_MAX => {
                    known.insert(*name, 1);
                    let each = self.count(uses, known, depth + 1);
                    known.insert(*name, each);
                    each
                }
                (None, Some(_)) => usize::MAX,
                (None, None) => 1,
            };
            sum.saturating_add(each.saturating_mul(*times))
        })
    }
}

/// The messages of ONNX's schema on the way to a tensor's external data, with the field numbers of the parts.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Entry,
}

impl Message {
    fn part(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Some(Self::Tensor),
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Some(Self::SparseTensor),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Tensor, 13) => Some(Self::Entry),
            _ => None,
        }
    }
}

/// What an ONNX file tells; bytes that are no ONNX file give what could be read of them.
pub fn look(model: &[u8]) -> GraphFacts {
    let mut seen = Seen::default();
    walk(model, Message::Model, 0, &mut seen);
    let operators = seen.count(&seen.uses, &mut BTreeMap::new(), 0);
    GraphFacts { locations: seen.locations, operators }
}

fn walk<'a>(bytes: &'a [u8], message: Message, depth: usize, seen: &mut Seen<'a>) {
    if depth > DEPTH_MAX {
        return;
    }
    match message {
        Message::Node => *seen.uses.entry(name(bytes, 7, 4)).or_default() += 1,
        Message::Function => {
            // What it uses counts as often as it is used.
            let around = std::mem::take(&mut seen.uses);
            parts(bytes, message, depth, seen);
            let uses = std::mem::replace(&mut seen.uses, around);
            seen.functions.insert(name(bytes, 10, 1), uses);
            return;
        }
        _ => {}
    }
    parts(bytes, message, depth, seen);
}

fn parts<'a>(bytes: &'a [u8], message: Message, depth: usize, seen: &mut Seen<'a>) {
    let (mut key, mut value) = (None, None);
    for (field, content) in Fields(bytes) {
        match (message, field) {
            (Message::Entry, 1) => key = Some(content),
            (Message::Entry, 2) => value = Some(content),
            _ => {
                if let Some(part) = message.part(field) {
                    walk(content, part, depth + 1, seen);
                }
            }
        }
    }
    if let (Some(b"location"), Some(value)) = (key, value) {
        seen.locations.insert(String::from_utf8_lossy(value).into_owned());
    }
}

/// What an operator or a function is called, by the numbers of the two fields.
fn name(bytes: &[u8], domain: u64, name: u64) -> Name<'_> {
    let of =
        |wanted| Fields(bytes).filter(|(field, _)| *field == wanted).last().map_or(&[][..], |(_, text)| text);
    (of(domain), of(name))
}

/// The length-delimited fields of a protobuf message; ends at the first byte that fits no field.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = self.varint()?;
            match tag & 7 {
                0 => {
                    self.varint()?;
                }
                1 => {
                    self.take(8)?;
                }
                2 => {
                    let len = usize::try_from(self.varint()?).ok()?;
                    return Some((tag >> 3, self.take(len)?));
                }
                5 => {
                    self.take(4)?;
                }
                _ => return None,
            }
        }
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    fn tensor(location: &str) -> Vec<u8> {
        let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
        let offset = [field(1, b"offset"), field(2, b"0")].concat();
        [vec![1 << 3, 29], field(13, &offset), field(13, &entry)].concat()
    }

    #[test]
    fn initialisers_and_constants_in_nested_graphs_are_found() {
        let constant = field(5, &field(5, &tensor("inner.bin")));
        let body = field(5, &field(6, &field(1, &constant)));
        let graph = [field(5, &tensor("weights.bin")), field(1, &body)].concat();
        let model = [vec![1 << 3, 8], field(7, &graph)].concat();
        let GraphFacts { locations, operators } = look(&model);
        assert_eq!(locations.into_iter().collect::<Vec<_>>(), ["inner.bin", "weights.bin"]);
        assert_eq!(operators, 2, "the one with a body, and the one in it");
        assert_eq!(look(&model[..model.len() - 1]), GraphFacts::default());
        assert_eq!(look(b""), GraphFacts::default());
    }

    #[test]
    fn functions_count_as_often_as_they_are_used() {
        let node = |op: &[u8]| [field(4, op), field(7, b"d")].concat();
        let function = |name: &[u8], uses: &[&[u8]]| {
            let nodes: Vec<u8> = uses.iter().flat_map(|op| field(7, &node(op))).collect();
            // The tag of field 25 has two bytes, that of 10 one.
            let content = [field(1, name), nodes, field(10, b"d")].concat();
            [&[0xca, 1, content.len() as u8][..], &content].concat()
        };
        let model = |functions: &[Vec<u8>]| {
            let graph = [field(1, &node(b"f0")), field(1, &node(b"Neg"))].concat();
            [field(7, &graph), functions.concat()].concat()
        };
        let doubled = |n: u8| function(format!("f{n}").as_bytes(), &[format!("f{}", n + 1).as_bytes(); 2]);
        let mut functions: Vec<Vec<u8>> = (0..9).map(doubled).collect();
        functions.push(function(b"f9", &[&b"Neg"[..]; 3]));
        assert_eq!(look(&model(&functions)).operators, 3 * 512 + 1);
        let many: Vec<Vec<u8>> = (0..80).map(doubled).collect();
        assert_eq!(look(&model(&many)).operators, usize::MAX, "more than can be counted");
        // Without end: the library refuses it.
        look(&model(&[function(b"f0", &[&b"f0"[..]])]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            look(&bytes);
        }
    }
}
