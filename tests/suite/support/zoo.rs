//! Models that real exporters wrote, with what is known of them.

use super::{put_model, reference, series_of};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A model of the zoo.
pub struct Model {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// Its `meta.json`.
    pub meta: Value,
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The models that are to work, by name.
pub fn good_models() -> Vec<Model> {
    models(true)
}

/// The models that are broken or hostile, by name.
pub fn broken_models() -> Vec<Model> {
    models(false)
}

fn models(good: bool) -> Vec<Model> {
    let Some(folder) = reference("zoo/models") else { return Vec::new() };
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let model = |folder: PathBuf| {
        let meta: Value = serde_json::from_slice(&std::fs::read(folder.join("meta.json")).unwrap()).unwrap();
        Model { name: meta["name"].as_str().unwrap().to_owned(), folder, meta }
    };
    let mut models: Vec<Model> = folders.map(model).filter(|model| model.meta["good"] == good).collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    models
}

impl Model {
    /// The files of bars it was tried on, with their `file_index`.
    pub fn data(&self) -> Vec<(usize, &str)> {
        match &self.meta["eval_data"] {
            Value::Array(files) => {
                files.iter().enumerate().filter_map(|(i, file)| Some((i, file.as_str()?))).collect()
            }
            file => file.as_str().map(|file| (0, file)).into_iter().collect(),
        }
    }

    /// Puts it into the models folder `folder`, to serve bars of `timeframe` of `symbol` (`*` for any).
    pub fn put(&self, folder: &Path, symbol: &str, timeframe: &str) {
        let files = texts(&self.meta["files"]);
        put_model(folder, &self.name, &self.folder, &files, &self.manifest(symbol, timeframe));
    }

    fn manifest(&self, symbol: &str, timeframe: &str) -> String {
        let Self { meta, .. } = self;
        let features = texts(&meta["features"]);
        let context = meta.get("context_features").map(texts).unwrap_or_default();
        let mut all = features.clone();
        all.extend(context.iter().filter(|name| !features.contains(name)));
        let window = meta["seq_len"].as_u64().unwrap_or(1);
        let mut text = format!(
            "symbol = {symbol:?}\ntimeframe = {timeframe:?}\nhorizon = {}\nfeatures = {all:?}\nwindow = {window}\n",
            meta["horizon"],
        );
        let score = &meta["score"];
        writeln!(text, "[output]\nvalue = {}", score["output"]).unwrap();
        match &score["map_key"] {
            Value::Null => writeln!(text, "column = {}", score["column"]).unwrap(),
            key => writeln!(text, "class = {key}").unwrap(),
        }
        let inputs: Vec<&str> =
            meta["inputs"].as_array().unwrap().iter().map(|input| input["name"].as_str().unwrap()).collect();
        for name in inputs.iter().filter(|_| inputs.len() > 1) {
            writeln!(text, "[[input]]\nname = {name:?}").unwrap();
            match *name {
                "symbol_id" => {
                    let ids = meta["symbol_ids"].as_object().unwrap().iter();
                    let symbol = |series: &str| series_of(Path::new(series)).0;
                    let ids: Vec<String> = ids.map(|(key, id)| format!("{:?} = {id}", symbol(key))).collect();
                    writeln!(text, "symbol_ids = {{ {} }}", ids.join(", ")).unwrap();
                }
                "context" => writeln!(text, "features = {context:?}\nwindow = 1").unwrap(),
                // One input a feature.
                name if features.contains(&name) => writeln!(text, "features = [{name:?}]").unwrap(),
                _ => writeln!(text, "features = {features:?}").unwrap(),
            }
        }
        text
    }
}
