//! Any bytes as what people write by hand: names, times, manifests, lists of promoted versions.
//!
//! Nothing panics, and what parses prints (or is written down again) as something that parses to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use vela::domain::{Aliases, Bar, SeriesKey, Timeframe, Timestamp};
use vela::export::Label;
use vela::feature::{FeatureError, Plan};
use vela::predict::Registry;
use vela::predict::manifest::{BatchingPolicy, Kind, Manifest, Reads, Symbols};
use vela::predict::registry::{MANIFEST_FILE, MODEL_FILE, PROMOTED, is_model_name};

/// A folder with one model of a few versions; its list of promoted ones is written anew by every run.
static MODELS: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let models = folder.join(format!("vela-fuzz-models-{}", std::process::id()));
    for version in ["0", "1", "2", "10", "4294967295"] {
        let folder = models.join("m").join(version);
        std::fs::create_dir_all(&folder).expect("the folder is made");
        for file in [MODEL_FILE, MANIFEST_FILE] {
            std::fs::write(folder.join(file), "").expect("the file is written");
        }
    }
    models
});

fn feature(text: &str) {
    match Plan::new(&[text], Timeframe::MINUTE) {
        Ok(plan) => {
            assert_eq!(&*plan.names()[0], text);
            let mut state = plan.state();
            state.update(&Bar { open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 1.0, ..Bar::default() });
            assert!(!state.values()[0].is_infinite());
        }
        Err(FeatureError::Empty) => assert!(text.is_empty() || text.starts_with('@'), "{text}"),
        Err(error) => assert!(error.to_string().contains('`'), "{error}"),
    }
}

fn label(text: &str) {
    match text.parse::<Label>() {
        Ok(label) => {
            assert_eq!(label.to_string().parse(), Ok(label));
            assert!(label.horizon > 0 && label.column().starts_with("label_"));
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{:?}", error.to_string()),
    }
}

fn timeframe(text: &str) {
    if let Ok(timeframe) = text.parse::<Timeframe>() {
        assert_eq!(timeframe.to_string().parse(), Ok(timeframe));
        assert!(timeframe.as_secs() > 0);
    }
}

fn timestamp(text: &str) {
    if let Ok(ts) = text.parse::<Timestamp>() {
        assert_eq!(ts.to_string().parse(), Ok(ts), "{text} is {ts}");
    }
}

fn symbol(text: &str) {
    match SeriesKey::new(text, Timeframe::MINUTE) {
        Ok(key) => assert_eq!(key.to_string(), format!("{text} 1m")),
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
    if is_model_name(text) {
        assert_eq!(Path::new(text).components().count(), 1, "{text}");
    }
}

fn aliases(text: &str) {
    match text.parse::<Aliases>() {
        Ok(aliases) => assert_eq!(aliases.to_string().parse(), Ok(aliases), "{text}"),
        Err(error) => assert!(!error.contains(char::is_control), "{error:?}"),
    }
}

/// `text` as TOML writes it, with every character that could mean something escaped.
fn toml_string(text: &str) -> String {
    let escaped = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\U{:08X}", u32::from(c)) });
    format!("\"{}\"", escaped.collect::<String>())
}

fn toml_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", texts.into_iter().map(toml_string).collect::<Vec<_>>().join(", "))
}

fn written(manifest: &Manifest) -> String {
    let names: Vec<&str> = manifest.features.names().iter().map(|name| &**name).collect();
    let symbol = match &manifest.symbols {
        Symbols::Any => "\"*\"".to_owned(),
        Symbols::Listed(symbols) => toml_list(symbols.iter().map(String::as_str)),
    };
    let mut text = format!(
        "symbol = {symbol}\ntimeframe = \"{}\"\nhorizon = {}\nfeatures = {}\nwindow = {}\n",
        manifest.timeframe,
        manifest.horizon,
        toml_list(names.iter().copied()),
        manifest.window
    );
    if let Some(kind) = manifest.kind {
        let kind = match kind {
            Kind::Regression => "regression",
            Kind::Classification => "classification",
            Kind::Quantiles => "quantiles",
        };
        text.push_str(&format!("kind = \"{kind}\"\n"));
    }
    let batching = match manifest.batching {
        BatchingPolicy::Auto => "auto",
        BatchingPolicy::Approximate => "approximate",
        BatchingPolicy::Off => "off",
    };
    let Manifest { tolerance, pinned, .. } = manifest;
    text.push_str(&format!(
        "batching = \"{batching}\"\npinned = {pinned}\n[check]\ntolerance = {tolerance:?}\n[output]\n"
    ));
    let output = &manifest.output;
    if let Some(value) = &output.value {
        text.push_str(&format!("value = {}\n", toml_string(value)));
    }
    if let Some(column) = output.column {
        text.push_str(&format!("column = {column}\n"));
    }
    if let Some(class) = &output.class {
        text.push_str(&format!("class = {}\n", toml_string(class)));
    }
    for input in &manifest.inputs {
        text.push_str(&format!("[[input]]\nname = {}\n", toml_string(&input.name)));
        match &input.reads {
            Reads::Features { columns, window } => {
                if let Some(columns) = columns {
                    let columns = columns.iter().map(|column| names[*column]);
                    text.push_str(&format!("features = {}\n", toml_list(columns)));
                }
                if let Some(window) = window {
                    text.push_str(&format!("window = {window}\n"));
                }
            }
            Reads::SymbolIds(ids) => {
                let ids = ids.iter().map(|(symbol, id)| format!("{} = {id}", toml_string(symbol)));
                text.push_str(&format!("symbol_ids = {{ {} }}\n", ids.collect::<Vec<_>>().join(", ")));
            }
        }
    }
    text
}

fn manifest(text: &str) {
    let file = Path::new("model.toml");
    match Manifest::parse(text, file) {
        Ok(manifest) => {
            let text = written(&manifest);
            assert_eq!(Manifest::parse(&text, file).as_ref(), Ok(&manifest), "{text}");
            assert!(manifest.row_len() > 0);
        }
        Err(error) => {
            let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error}");
            assert!(!error.to_string().contains(char::is_control), "{:?}", error.to_string());
        }
    }
}

fn promoted(text: &[u8]) {
    let scan = |text: &[u8]| {
        std::fs::write(MODELS.join("m").join(PROMOTED), text).expect("the list is written");
        Registry::scan(&MODELS)
    };
    let registry = scan(text);
    let [model] = registry.models.as_slice() else { panic!("one model is there: {registry:?}") };
    for problem in &registry.problems {
        assert!(!problem.to_string().contains(char::is_control), "{:?}", problem.to_string());
    }
    let list: String = model.promoted.iter().map(|version| format!("{version}\n")).collect();
    let again = scan(list.as_bytes());
    // The stamp of the file is another one; what it says is the same.
    assert_eq!(again.models.len(), 1);
    assert_eq!((&again.models[0].promoted, &again.problems[..]), (&model.promoted, &[][..]));
}

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else { return };
    if *what == b'p' {
        return promoted(rest);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match what {
        b'f' => feature(text),
        b'y' => label(text),
        b't' => timestamp(text),
        b'l' => timeframe(text),
        b's' => symbol(text),
        b'a' => aliases(text),
        _ => manifest(text),
    }
});
