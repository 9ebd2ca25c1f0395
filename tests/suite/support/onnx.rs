//! Small ONNX graphs, written byte by byte: models that fail when they are told to, or say which version they are.

/// Element types of ONNX.
const FLOAT: u64 = 1;
const INT64: u64 = 7;
const BOOL: u64 = 9;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn field(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn attribute(name: &str, kind: u64, content: &[u8]) -> Vec<u8> {
    field(5, &[field(1, name.as_bytes()), content.to_vec(), number(20, kind)].concat())
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: &[u8]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    node.extend(field(2, output.as_bytes()));
    node.extend(field(4, op.as_bytes()));
    node.extend(attributes);
    field(1, &node)
}

/// A port; `None` is a dimension that varies.
fn port(name: &str, element: u64, dims: &[Option<u64>]) -> Vec<u8> {
    let dim = |dim: &Option<u64>| match dim {
        Some(size) => field(1, &number(1, *size)),
        None => field(1, &field(2, b"N")),
    };
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [number(1, element), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn floats(name: &str, dims: &[u64], values: &[f32]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| number(1, *dim)).collect();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    field(5, &[dims, number(2, FLOAT), field(8, name.as_bytes()), field(9, &raw)].concat())
}

fn wholes(name: &str, values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let dims = number(1, values.len() as u64);
    field(5, &[dims, number(2, INT64), field(8, name.as_bytes()), field(9, &raw)].concat())
}

/// A model that reads `x` of [N, features] and gives `y` of [N, 1].
fn model(features: usize, nodes: &[Vec<u8>], initialisers: &[Vec<u8>]) -> Vec<u8> {
    let graph = [
        nodes.concat(),
        field(2, b"g"),
        initialisers.concat(),
        field(11, &port("x", FLOAT, &[None, Some(features as u64)])),
        field(12, &port("y", FLOAT, &[None, Some(1)])),
    ];
    [number(1, 8), field(7, &graph.concat()), field(8, &number(2, 13))].concat()
}

/// Weights that read the first feature alone, times `scale`.
fn first(features: usize, scale: f32) -> Vec<u8> {
    let mut weights = vec![0.0; features];
    weights[0] = scale;
    floats("w", &[features as u64, 1], &weights)
}

/// `y = scale * x[0] + constant`.
pub fn linear(features: usize, scale: f32, constant: f32) -> Vec<u8> {
    let nodes = [node("MatMul", &["x", "w"], "s", &[]), node("Add", &["s", "b"], "y", &[])];
    model(features, &nodes, &[first(features, scale), floats("b", &[1], &[constant])])
}

/// `y = ln(x[0])`: NaN where the first feature is negative.
pub fn nan_when_negative(features: usize) -> Vec<u8> {
    let nodes = [node("MatMul", &["x", "w"], "s", &[]), node("Log", &["s"], "y", &[])];
    model(features, &nodes, &[first(features, 1.0)])
}

/// `y = x[0]`, after a time that grows without end where the first feature of a row is negative.
pub fn slow_when_negative(features: usize) -> Vec<u8> {
    slow_by(features, 1e15)
}

/// `y = x[0]`, after `-x[0] * trips` products of small matrices, none where that is negative.
pub fn slow_by(features: usize, trips: f32) -> Vec<u8> {
    let side = 64;
    let body = [
        node("MatMul", &["state", "m"], "next", &[]),
        node("Identity", &["go"], "go_on", &[]),
        field(2, b"body"),
        field(11, &port("i", INT64, &[])),
        field(11, &port("go", BOOL, &[])),
        field(11, &port("state", FLOAT, &[Some(side), Some(side)])),
        field(12, &port("go_on", BOOL, &[])),
        field(12, &port("next", FLOAT, &[Some(side), Some(side)])),
    ];
    let no_dims = attribute("keepdims", 2, &number(3, 0));
    let to_whole = attribute("to", 2, &number(3, INT64));
    let nodes = [
        node("MatMul", &["x", "w"], "s", &[]),
        node("Neg", &["s"], "n", &[]),
        node("Mul", &["n", "many"], "t", &[]),
        node("Relu", &["t"], "r", &[]),
        node("ReduceMax", &["r"], "top", &no_dims),
        node("Cast", &["top"], "trips", &to_whole),
        node("Loop", &["trips", "", "m"], "end", &attribute("body", 5, &field(6, &body.concat()))),
        node("ReduceMin", &["end"], "low", &no_dims),
        node("Mul", &["low", "none"], "nothing", &[]),
        node("Add", &["s", "nothing"], "y", &[]),
    ];
    let square = vec![1.0 / side as f32; (side * side) as usize];
    let constants = [
        first(features, 1.0),
        floats("m", &[side, side], &square),
        floats("many", &[1], &[trips]),
        floats("none", &[1], &[0.0]),
    ];
    model(features, &nodes, &constants)
}

/// `y = x[0] + 0`, where the nought is worked out, for minutes, while a session of it is created: `rounds` LSTMs
/// over constants, which ONNX Runtime folds then.
pub fn hangs_when_loaded(features: usize, rounds: usize, salt: f32) -> Vec<u8> {
    let (steps, side) = (3_600_i64, 768_i64);
    let zeros = |name: &str, shape: &str| node("ConstantOfShape", &[shape], name, &[]);
    let mut nodes = vec![
        node("MatMul", &["x", "w"], "s", &[]),
        zeros("X", "X_shape"),
        zeros("W", "W_shape"),
        zeros("R", "R_shape"),
        zeros("h_0", "h_shape"),
    ];
    for round in 0..rounds {
        let before = format!("h_{round}");
        let inputs = ["X", "W", "R", "", "", &before];
        let mut lstm: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
        lstm.extend([field(2, b""), field(2, format!("h_{}", round + 1).as_bytes())].concat());
        lstm.extend(field(4, b"LSTM"));
        lstm.extend(attribute("hidden_size", 2, &number(3, side as u64)));
        nodes.push(field(1, &lstm));
    }
    let no_dims = attribute("keepdims", 2, &number(3, 0));
    nodes.extend([
        node("ReduceMax", &[&format!("h_{rounds}")], "top", &no_dims),
        node("Mul", &["top", "none"], "nothing", &[]),
        node("Add", &["s", "nothing"], "y", &[]),
    ]);
    let constants = [
        first(features, 1.0),
        floats("none", &[1], &[0.0]),
        // So that two have different contents.
        floats("salt", &[1], &[salt]),
        wholes("X_shape", &[steps, 1, 1]),
        wholes("W_shape", &[1, 4 * side, 1]),
        wholes("R_shape", &[1, 4 * side, side]),
        wholes("h_shape", &[1, 1, side]),
    ];
    model(features, &nodes, &constants)
}

/// A model that makes `times` values of each row before it says anything: where it `reduces`, the largest of them, `x[0]`.
pub fn grows(features: usize, times: i64, reduces: bool) -> Vec<u8> {
    let columns = attribute("axes", 7, &number(8, 1));
    let last = if reduces { "large" } else { "y" };
    let mut nodes = vec![
        node("MatMul", &["x", "w"], "s", &[]),
        node("Shape", &["s"], "is", &[]),
        node("Mul", &["is", "times"], "to", &[]),
        node("Expand", &["s", "to"], last, &[]),
    ];
    if reduces {
        nodes.push(node("ReduceMax", &["large"], "y", &columns));
    }
    model(features, &nodes, &[first(features, 1.0), wholes("times", &[1, times])])
}

/// `y = x[0] + 0`, where the nought is the largest of so many `values` that can be worked out while it is loaded.
pub fn folds(features: usize, values: i64) -> Vec<u8> {
    let columns = attribute("axes", 7, &number(8, 1));
    let nodes = [
        node("MatMul", &["x", "w"], "s", &[]),
        node("ConstantOfShape", &["shape"], "noughts", &[]),
        node("Sqrt", &["noughts"], "roots", &[]),
        node("ReduceMax", &["roots"], "top", &columns),
        node("Add", &["s", "top"], "y", &[]),
    ];
    model(features, &nodes, &[first(features, 1.0), wholes("shape", &[1, values])])
}

/// `y = w * x[0] + 0`, where `w` is the first number of the file `weights` beside the model.
pub fn weighs_from(features: usize, weights: &str) -> Vec<u8> {
    let entry = [field(1, b"location"), field(2, weights.as_bytes())].concat();
    let dims = [number(1, features as u64), number(1, 1)].concat();
    let outside = [dims, number(2, FLOAT), field(8, b"w"), field(13, &entry), number(14, 1)].concat();
    let nodes = [node("MatMul", &["x", "w"], "s", &[]), node("Add", &["s", "b"], "y", &[])];
    model(features, &nodes, &[field(5, &outside), floats("b", &[1], &[0.0])])
}

/// `y = x[0]` and the smallest whole number divided by -1, by what is only known when it runs: no processor has it.
pub fn divides_the_smallest(features: usize) -> Vec<u8> {
    let whole = attribute("to", 2, &number(3, INT64));
    let float = attribute("to", 2, &number(3, FLOAT));
    let nodes = [
        node("MatMul", &["x", "w"], "s", &[]),
        node("Cast", &["s"], "i", &whole),
        node("Sub", &["i", "i"], "nought", &[]),
        node("Add", &["nought", "smallest"], "a", &[]),
        node("Add", &["nought", "minus"], "b", &[]),
        node("Div", &["a", "b"], "d", &[]),
        node("Cast", &["d"], "f", &float),
        node("Mul", &["f", "none"], "nothing", &[]),
        node("Add", &["s", "nothing"], "y", &[]),
    ];
    let constants = [
        first(features, 1.0),
        wholes("smallest", &[i64::MIN]),
        wholes("minus", &[-1]),
        floats("none", &[1], &[0.0]),
    ];
    model(features, &nodes, &constants)
}

/// `y = x`, one number a row, with an input called `input`, and `keys` values of the exporter's own.
pub fn named(input: &str, keys: usize) -> Vec<u8> {
    let graph = [
        node("Identity", &[input], "y", &[]),
        field(2, b"g"),
        field(11, &port(input, FLOAT, &[None, Some(1)])),
        field(12, &port("y", FLOAT, &[None, Some(1)])),
    ];
    let own = |n| field(14, &[field(1, format!("key {n}").as_bytes()), field(2, b"value")].concat());
    let own: Vec<u8> = (0..keys).flat_map(own).collect();
    [number(1, 8), field(7, &graph.concat()), field(8, &number(2, 13)), own].concat()
}
