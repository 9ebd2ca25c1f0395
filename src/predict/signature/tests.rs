//! The shapes that real exporters write, and what is made of them.

use super::*;
use crate::predict::manifest::Manifest;
use std::path::Path;

fn manifest(features: &[&str], tail: &str) -> Manifest {
    let text = format!("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = {features:?}\n{tail}\n");
    Manifest::parse(&text, Path::new("model.toml")).unwrap()
}

fn tensor(name: &str, element: Element, dims: &[i64]) -> Port {
    Port { name: name.to_owned(), shape: Shape::Tensor(element, dims.to_vec()) }
}

fn f32s(name: &str, dims: &[i64]) -> Port {
    tensor(name, Element::F32, dims)
}

fn maps(name: &str, key: Element, keys: &[&str]) -> Port {
    Port { name: name.to_owned(), shape: Shape::Maps(key, keys.iter().map(ToString::to_string).collect()) }
}

const ABC: &[&str] = &["a", "b", "c"];

#[test]
fn inputs_of_real_exports_are_fed() {
    let all = Source::Features { columns: vec![0, 1, 2], window: 1 };
    for (dims, tail, batch_max) in [
        (&[-1, 3][..], vec![3], usize::MAX),
        (&[1, 3], vec![3], 1),
        (&[-1, -1], vec![3], usize::MAX),
        (&[], vec![3], usize::MAX),
        (&[-1, 1, 3], vec![1, 3], usize::MAX),
    ] {
        let plan = plan_inputs(&manifest(ABC, ""), &[f32s("X", dims)]).unwrap();
        assert_eq!((&plan.feeds[0].tail, plan.batch_max), (&tail, batch_max), "{dims:?}");
        assert_eq!(plan.feeds[0].source, all);
    }
    for (dims, tail) in
        [(&[-1, 8, 3][..], vec![8, 3]), (&[-1, 24], vec![24]), (&[-1, -1, 3], vec![8, 3]), (&[], vec![8, 3])]
    {
        let plan = plan_inputs(&manifest(ABC, "window = 8"), &[tensor("x", Element::F64, dims)]).unwrap();
        assert_eq!(plan.feeds[0].tail, tail, "{dims:?}");
    }
    let single = plan_inputs(&manifest(&["a"], ""), &[f32s("x", &[-1])]).unwrap();
    assert_eq!((single.feeds[0].tail.len(), single.feeds[0].len()), (0, 1));
}

#[test]
fn one_input_a_feature_and_several_inputs_are_fed() {
    let columns = [f32s("c", &[-1, 1]), f32s("a", &[-1, 1]), f32s("b", &[-1, 1])];
    let plan = plan_inputs(&manifest(ABC, ""), &columns).unwrap();
    let read: Vec<_> = plan.feeds.iter().map(|f| f.source.clone()).collect();
    let column = |c| Source::Features { columns: vec![c], window: 1 };
    assert_eq!(read, [column(2), column(0), column(1)]);

    let two = manifest(ABC, "window = 4\n[[input]]\nname = \"now\"\nfeatures = [\"c\"]\nwindow = 1");
    let plan = plan_inputs(&two, &[f32s("seq", &[-1, 4, 3]), f32s("now", &[-1, 1])]).unwrap();
    assert_eq!(plan.feeds[0].source, Source::Features { columns: vec![0, 1, 2], window: 4 });
    assert_eq!(plan.feeds[1].source, Source::Features { columns: vec![2], window: 1 });

    let ids = manifest(ABC, "[[input]]\nname = \"id\"\nsymbol_ids = { A = 3 }");
    for (element, dims, tail) in
        [(Element::I64, &[-1][..], vec![]), (Element::I32, &[-1, 1], vec![1]), (Element::I64, &[], vec![])]
    {
        let plan = plan_inputs(&ids, &[f32s("x", &[-1, 3]), tensor("id", element, dims)]).unwrap();
        assert_eq!(plan.feeds[1].tail, tail);
        assert!(matches!(&plan.feeds[1].source, Source::SymbolIds(ids) if ids["A"] == 3));
    }
}

#[test]
fn inputs_that_cannot_be_fed_are_refused_with_what_to_do() {
    let cases: &[(&str, &[Port], &str)] = &[
        ("", &[f32s("x", &[-1, 4])], "3 features, it takes 4"),
        ("", &[tensor("x", Element::Text, &[-1, 3])], "float, double"),
        ("", &[tensor("x", Element::I64, &[-1, 3])], "symbol_ids"),
        ("", &[f32s("x", &[8, 3])], "exactly 8 rows"),
        ("", &[f32s("x", &[-1, 4, 3])], "4 bars"),
        ("", &[f32s("x", &[-1, 1, 1, 3])], "rank"),
        ("", &[f32s("x", &[-1])], "rank"),
        ("", &[f32s("x", &[-1, 3]), f32s("y", &[-1, 2])], "[[input]] name = \"x\""),
        ("", &[], "no input"),
        ("window = 4", &[f32s("x", &[-1, 3])], "window = 1"),
        ("window = 4", &[f32s("x", &[-1, 4, 5])], "takes 5"),
        ("[[input]]\nname = \"z\"", &[f32s("x", &[-1, 3])], "`x`"),
        ("[[input]]\nname = \"x\"\nsymbol_ids = { A = 0 }", &[f32s("x", &[-1])], "int64"),
        (
            "[[input]]\nname = \"x\"\nsymbol_ids = { A = 0 }",
            &[tensor("x", Element::I64, &[-1])],
            "no input takes features",
        ),
        ("", &[Port { name: "x".into(), shape: Shape::Other("sequence".into()) }], "only tensors"),
    ];
    for (tail, inputs, expected) in cases {
        let error = plan_inputs(&manifest(ABC, tail), inputs).unwrap_err().to_string();
        assert!(error.contains(expected), "{tail} {inputs:?}: {error}");
    }
}

/// Which value of the row is the prediction, and the names of all.
fn read(tail: &str, outputs: &[Port]) -> Result<(usize, String), String> {
    let plan = plan_outputs(&manifest(ABC, tail), outputs).map_err(|e| e.to_string())?;
    assert_eq!(plan.values_per_row, plan.names.len().max(1));
    assert_eq!(plan.reads.iter().map(|r| r.columns).sum::<usize>(), plan.values_per_row);
    Ok((plan.value_index, plan.names.join(",")))
}

#[test]
fn outputs_of_real_exports_are_read() {
    let i64s = |name: &str, dims: &[i64]| tensor(name, Element::I64, dims);
    let texts = |name: &str| tensor(name, Element::Text, &[1]);
    let cases: &[(&str, &[Port], usize, &str)] = &[
        ("", &[f32s("variable", &[1, 1])], 0, ""),
        ("", &[f32s("output", &[1])], 0, ""),
        ("", &[f32s("output", &[])], 0, ""),
        ("", &[tensor("y", Element::F64, &[1, 1, 1])], 0, ""),
        ("", &[i64s("class", &[1])], 0, ""),
        ("", &[i64s("label", &[1]), f32s("probabilities", &[1, 2])], 1, "p_0,p_1,label"),
        ("", &[i64s("label", &[1]), f32s("probabilities", &[1, 3])], 2, "p_0,p_1,p_2,label"),
        ("", &[f32s("probabilities", &[1, 2]), i64s("label", &[1])], 1, "p_0,p_1,label"),
        (
            "",
            &[i64s("output_label", &[1]), maps("output_probability", Element::I64, &["0", "1"])],
            1,
            "p_0,p_1,label",
        ),
        (
            "",
            &[texts("output_label"), maps("output_probability", Element::Text, &["down", "up"])],
            1,
            "p_0,p_1",
        ),
        ("[output]\nclass = \"down\"", &[maps("p", Element::Text, &["down", "up"])], 0, "p_0,p_1"),
        ("[output]\nclass = -1", &[maps("p", Element::I64, &["-1", "1"])], 0, "p_0,p_1"),
        ("[output]\nclass = 0", &[f32s("probabilities", &[1, 2])], 0, "p_0,p_1"),
        ("", &[f32s("q10", &[1, 1]), f32s("q50", &[1, 1]), f32s("q90", &[1, 1])], 1, "q10,q50,q90"),
        ("", &[f32s("low", &[1]), f32s("high", &[1])], 0, "low,high"),
        ("kind = \"quantiles\"", &[f32s("l", &[1]), f32s("m", &[1]), f32s("h", &[1])], 1, "l,m,h"),
        ("kind = \"quantiles\"", &[f32s("q", &[1, 3])], 1, "q_0,q_1,q_2"),
        ("kind = \"classification\"", &[f32s("logits", &[1, 3])], 2, "logits_0,logits_1,logits_2"),
        ("", &[f32s("prob_down", &[1, 1]), f32s("prob_up", &[1, 1])], 1, "prob_down,prob_up"),
        ("", &[f32s("scale", &[1, 1]), f32s("prediction", &[1, 1])], 1, "scale,prediction"),
        ("", &[i64s("label", &[1, 1]), f32s("scores", &[1, 1])], 0, "scores,label"),
        (
            "[output]\nvalue = \"b\"\ncolumn = 2",
            &[f32s("a", &[1, 2]), f32s("b", &[1, 3])],
            4,
            "a_0,a_1,b_0,b_1,b_2",
        ),
        ("[output]\nvalue = \"label\"", &[i64s("label", &[1]), f32s("scores", &[1, 1])], 1, "scores,label"),
        // A recurrent network's hidden state is no value of the row.
        ("", &[f32s("prediction", &[1, 1]), f32s("h", &[2, 1, 8]), f32s("attention", &[1, 4, 4])], 0, ""),
    ];
    for (tail, outputs, index, names) in cases {
        assert_eq!(read(tail, outputs), Ok((*index, (*names).to_owned())), "{tail} {outputs:?}");
    }
}

#[test]
fn a_choice_that_is_not_ours_is_refused_with_the_keys_that_make_it() {
    let cases: &[(&str, &[Port], &str)] = &[
        ("", &[f32s("output", &[1, 3])], "[output] value = \"output\", column = 0 to 2"),
        ("[output]\ncolumn = 3", &[f32s("output", &[1, 3])], "has 3"),
        ("[output]\nclass = \"x\"", &[maps("p", Element::Text, &["down", "up"])], "down, up"),
        ("[output]\nvalue = \"x\"", &[f32s("output", &[1, 1])], "the graph has `output`"),
        ("[output]\nvalue = \"l\"", &[tensor("l", Element::Text, &[1]), f32s("y", &[1])], "only numbers"),
        ("", &[f32s("a", &[1, 2]), f32s("b", &[1, 1])], "several outputs"),
        ("", &[f32s("output", &[1, 0])], "no value"),
        ("", &[f32s("output", &[1, 5_000_000])], "4096"),
        ("", &[f32s("output", &[3, 1])], "first dimension"),
        ("", &[tensor("l", Element::Text, &[1])], "only numbers"),
        ("", &[f32s("h", &[2, 1, 8]), f32s("c", &[2, 1, 8])], "no output"),
    ];
    for (tail, outputs, expected) in cases {
        let error = read(tail, outputs).unwrap_err();
        assert!(error.contains(expected), "{tail} {outputs:?}: {error}");
    }
}

#[test]
fn what_is_declared_empty_or_huge_never_runs() {
    assert!(check_declared(&[f32s("y", &[-1, 1])]).is_ok());
    assert!(check_declared(&[f32s("y", &[])]).is_ok());
    for dims in [&[-1, 0][..], &[-1, 5_000_000], &[-1, i64::MAX, i64::MAX]] {
        assert!(check_declared(&[f32s("y", dims)]).is_err(), "{dims:?}");
    }
    assert!(check_declared(&[]).is_err());
}

#[test]
fn what_may_hold_nothing_or_has_a_name_that_cannot_be_shown_is_refused() {
    let optional = Port { name: "y".to_owned(), shape: Shape::Other("Option<Tensor<f32>(N, 2)>".to_owned()) };
    let error = check_declared(&[optional]).unwrap_err().to_string();
    assert!(error.contains("may hold nothing"), "{error}");
    assert!(check_names(&[f32s("model/dense_1/BiasAdd:0", &[1])]).is_ok());
    for name in ["x\u{1b}[31m", "a\nb", &"y".repeat(2000)] {
        let error = check_names(&[f32s(name, &[1])]).unwrap_err().to_string();
        assert!(error.len() < 300 && !error.contains(char::is_control), "{error}");
    }
    // Of thousands of inputs some are listed.
    let many: Vec<Port> = (0..4000).map(|n| f32s(&format!("c{n}"), &[-1, 1])).collect();
    assert!(names(&many).ends_with("`c11` and 3988 more"), "{}", names(&many));
}
