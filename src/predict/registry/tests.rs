//! What a models folder may look like.

use super::*;

const TOML: &str = "symbol = \"BTCUSDT\"\ntimeframe = \"1m\"\nhorizon = 5\nfeatures = [\"ret_1\"]\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("models").join(name)
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn version(&self, model: &str, version: u32) -> &Self {
        self.file(&format!("{model}/{version}/{MODEL_FILE}"), "graph")
            .file(&format!("{model}/{version}/{MANIFEST_FILE}"), TOML)
    }

    fn scan(&self) -> Registry {
        Registry::scan(&self.path(""))
    }
}

#[test]
fn promoted_versions_come_newest_last() {
    let folder = Folder::new();
    folder.version("b", 3).version("b", 4).version("b", 5).file("b/promoted", "3\n5\r\n\n4\n3\n");
    folder.version("a", 1).file("README.md", "x").file(".git/config", "x");
    let registry = folder.scan();
    assert_eq!(registry.problems, []);
    let found: Vec<_> = registry.models.iter().map(|m| (&*m.name, m.promoted.clone())).collect();
    assert_eq!(found, [("a", vec![]), ("b", vec![5, 4, 3])]);
    let b = &registry.models[1];
    assert_eq!(b.newest(), Some(3));
    assert_eq!(b.manifest(3).unwrap().horizon, 5);
    assert!(b.model_file(3).is_file() && b.golden_file(3).is_none());
}

#[test]
fn what_is_broken_is_told_and_the_rest_is_found() {
    let folder = Folder::new();
    folder.version("good", 1).file("good/promoted", "1\n");
    folder.version("typo", 1).file("typo/promoted", "v2\n01\n1\n-3\n");
    folder.version("gone", 1).file("gone/promoted", "1\n2\n");
    folder.file("half/1/model.onnx", "graph").file("half/promoted", "1\n");
    folder.version("bad name", 1).version("folder", 1);
    fs::create_dir(folder.path("folder/promoted")).unwrap();
    let registry = folder.scan();
    let promoted = |name: &str| registry.models.iter().find(|m| &*m.name == name).map(|m| m.promoted.clone());
    assert_eq!(promoted("good"), Some(vec![1]));
    assert_eq!(promoted("typo"), Some(vec![1]));
    assert_eq!(promoted("gone"), Some(vec![1]));
    assert_eq!(promoted("half"), Some(vec![]));
    assert_eq!(promoted("folder"), Some(vec![]));
    assert_eq!(promoted("bad name"), None);
    let told = registry.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for part in [
        "`v2`",
        "`01`",
        "`-3`",
        "gone/2: is promoted",
        "half/1/model.toml: is missing",
        "bad name: is no model name",
        "folder/promoted",
    ] {
        assert!(told.contains(part), "{part} in:\n{told}");
    }
    assert_eq!(registry.problems.len(), 7, "{told}");
    let missing = Registry::scan(Path::new("/no/such/models"));
    assert!(missing.models.is_empty() && missing.problems[0].detail.contains("create it"));
}

#[test]
fn links_out_of_the_folder_are_not_followed() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let outside = folder.0.path().join("outside");
    fs::create_dir_all(outside.join("1")).unwrap();
    for (name, text) in [("promoted", "1\n"), ("1/model.onnx", "x"), ("1/model.toml", TOML)] {
        fs::write(outside.join(name), text).unwrap();
    }
    folder.version("inside", 1).file("inside/promoted", "1\n");
    symlink(&outside, folder.path("link")).unwrap();
    symlink(folder.path("inside"), folder.path("alias")).unwrap();
    folder.file("partly/promoted", "1\n");
    symlink(outside.join("1"), folder.path("partly/1")).unwrap();
    folder.version("list", 1);
    symlink(outside.join("promoted"), folder.path("list/promoted")).unwrap();
    let registry = folder.scan();
    let promoted: Vec<_> = registry.models.iter().map(|m| (&*m.name, m.promoted.len())).collect();
    assert_eq!(promoted, [("alias", 1), ("inside", 1), ("list", 0), ("partly", 0)]);
    assert_eq!(registry.problems.len(), 3, "{:?}", registry.problems);
}

#[test]
fn names_that_are_allowed() {
    for (name, allowed) in [
        ("btcusdt-1m-h5", true),
        ("A.b_c-1", true),
        (".x", false),
        ("", false),
        ("a/b", false),
        ("ä", false),
        ("..", false),
    ] {
        assert_eq!(is_model_name(name), allowed, "{name}");
    }
    assert!(!is_model_name(&"a".repeat(129)));
}

#[test]
fn a_symbols_own_models_go_before_those_for_any() {
    let manifest = |symbol: &str, timeframe: &str, horizon: u32, tail: &str| {
        let text = format!(
            "symbol = {symbol}\ntimeframe = \"{timeframe}\"\nhorizon = {horizon}\nfeatures = [\"a\"]\n{tail}"
        );
        Manifest::parse(&text, Path::new("model.toml")).unwrap()
    };
    let ids = "[[input]]\nname = \"id\"\nsymbol_ids = { SOL = 0 }\n";
    let manifests = [
        manifest("\"*\"", "1m", 1, ""),
        manifest("\"BTC\"", "1m", 1, ""),
        manifest("[\"ETH\", \"BTC\"]", "1m", 1, ""),
        manifest("\"*\"", "1m", 5, ""),
        manifest("\"*\"", "5m", 1, ""),
        manifest("\"*\"", "1m", 1, ids),
    ];
    let serve = |symbol: &str, timeframe: &str| serving(&manifests, symbol, timeframe.parse().unwrap());
    assert_eq!(serve("BTC", "1m"), [1, 2, 3]);
    assert_eq!(serve("ETH", "1m"), [2, 3]);
    assert_eq!(serve("XRP", "1m"), [0, 3]);
    assert_eq!(serve("SOL", "1m"), [0, 3, 5]);
    assert_eq!(serve("BTC", "5m"), [4]);
    assert!(serve("BTC", "1h").is_empty());
}
