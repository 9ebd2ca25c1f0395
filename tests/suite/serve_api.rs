//! The REST interface: what is asked comes back, refusals say what to do, and the description is true.

use crate::serve_support::{Reply, SOON, Served, own_models, settings};
use crate::service_support::eventually;
use crate::support::promtool::promtool;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use vela::domain::Timeframe;
use vela::serve::{DOCUMENT, ROUTES};

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Every operation of the description: method and path.
fn described() -> BTreeSet<(String, String)> {
    let document = document();
    let mut all = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            all.insert((method.to_uppercase(), path.clone()));
        }
    }
    all
}

#[test]
fn the_description_has_every_route_and_no_other() {
    let routes: BTreeSet<_> =
        ROUTES.iter().map(|route| (route.method.name().to_owned(), route.pattern.to_owned())).collect();
    assert_eq!(routes, described());
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// What a request of an operation needs so that it is answered well: the target and the body.
fn example(method: &str, path: &str) -> (String, Option<Value>) {
    let question = json!({"symbol": "BTCUSD", "timeframe": "1m", "horizon": 5});
    let target = path.replace("{name}", "demo-1m-h1").replace("{file}", "main.js");
    let target = target.replace("{model}", "demo-1m-h1").replace("{version}", "1");
    match (method, path) {
        ("GET", "/api/predict") => (format!("{target}?symbol=BTCUSD&timeframe=1m&horizon=5"), None),
        ("POST", "/api/predict") => (target, Some(question)),
        ("POST", "/api/predict/batch") => (target, Some(json!({"requests": [question]}))),
        ("POST", "/api/bars") => {
            let mut bar = json!({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 0.0});
            (bar["symbol"], bar["timeframe"]) = (json!("A"), json!("1m"));
            bar["ts"] = json!("2024-06-01T12:34:00Z");
            (target, Some(json!({"bars": [bar]})))
        }
        ("POST", "/api/models/{name}/promote") => (target, Some(json!({"version": 1, "unchecked": true}))),
        ("POST", "/api/models/{name}/rollback") => (target, Some(json!({"reason": "a test"}))),
        ("POST", path) if path.ends_with("/infer") => {
            let row =
                json!({"name": "features", "shape": [1, 13], "datatype": "FP32", "data": vec![0.5; 13]});
            (target, Some(json!({"inputs": [row]})))
        }
        ("PATCH", "/api/config") => (target, Some(json!({"max_latency_ms": 100}))),
        _ => (target, None),
    }
}

/// `value` is what `schema` says: types, required members, enumerations and constants.
fn assert_fits(value: &Value, schema: &Value, at: &str) {
    let document = document();
    if let Some(reference) = schema["$ref"].as_str() {
        return assert_fits(value, document.pointer(&reference[1..]).expect(reference), at);
    }
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(all) = schema[alternatives].as_array() {
            let fits = |one: &&Value| {
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_fits(value, one, at))).is_ok()
            };
            assert!(all.iter().any(|one| fits(&one)), "{at}: {value} fits none");
        }
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    match &schema["type"] {
        Value::String(name) => assert!(is(name), "{at}: {value} is no {name}"),
        Value::Array(names) => assert!(names.iter().any(|name| is(name.as_str().unwrap())), "{at}: {value}"),
        _ => {}
    }
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{at}");
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value}");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(
            !value[name.as_str().unwrap()].is_null() || value.get(name.as_str().unwrap()).is_some(),
            "{at}: {name} is missing in {value}"
        );
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(member) = value.get(name) {
            assert_fits(member, property, &format!("{at}/{name}"));
        }
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        assert_fits(item, &schema["items"], &format!("{at}/{n}"));
    }
}

/// The answer is one that the description has for this operation.
pub fn assert_described(method: &str, path: &str, reply: &Reply) {
    let document = document();
    let responses = &document["paths"][path][method.to_lowercase()]["responses"];
    let response = &responses[reply.status.to_string()];
    assert!(response.is_object(), "{method} {path} answers {}: {}", reply.status, reply.text());
    let Some(content) = response["content"].as_object() else { return };
    let media = reply.header("content-type").unwrap_or("").split(';').next().unwrap().trim();
    assert!(content.contains_key(media), "{method} {path} answers {media}, described: {:?}", content.keys());
    if media.ends_with("json") {
        assert_fits(&reply.json(), &content[media]["schema"], path);
    }
}

#[test]
fn every_route_answers_as_it_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.models.path = own_models(folder.path());
    let served = Served::with(settings);
    served.feed(&crate::service_support::market(2, 80));
    for (method, path) in described().into_iter().filter(|(_, path)| !path.contains("/stream")) {
        let (target, body) = example(&method, &path);
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        let reply = served.ask(&method, &target, "", bytes.as_bytes());
        assert_described(&method, &path, &reply);
        assert!(reply.status < 300, "{method} {target}: {} {}", reply.status, reply.text());
        // Nonsense is refused, and as described.
        if method != "GET" {
            let reply = served.ask(&method, &target, "", b"{\"nonsense\": [1, 2");
            assert!((400..500).contains(&reply.status), "{method} {target}: {}", reply.status);
            assert_described(&method, &path, &reply);
        }
    }
}

#[test]
fn predictions_are_those_of_the_engine() {
    let (served, bars) = Served::fed(3, 90);
    let (series, bar) = bars.last().unwrap();
    let symbol = &series.symbol;
    let asked = served.engine.predict(symbol, Timeframe::MINUTE, 5).wait(SOON).unwrap();
    let expected = asked.result.unwrap();
    let target = format!("/api/predict?symbol={symbol}&timeframe=1m&horizon=5");
    let found = served.get(&target);
    assert_eq!(found.status, 200, "{}", found.text());
    let found = found.json();
    assert_eq!(found["value"].as_f64(), Some(expected.value));
    assert_eq!(found["model"].as_str(), Some(&*expected.model));
    assert_eq!(found["version"].as_u64(), Some(expected.version.into()));
    assert_eq!(found["ts"].as_str(), Some(bar.ts.to_string().as_str()));
    let question = json!({"symbol": &**symbol, "timeframe": "1m", "horizon": 5});
    assert_eq!(served.post("/api/predict", &question).json()["value"], found["value"]);

    let reply = served.get(&format!("{target}&wait=0"));
    assert_eq!((reply.status, reply.json()["status"].as_str()), (202, Some("prediction_requested")));

    let next = bar.ts.plus_millis(60_000).to_string();
    let price = bar.close;
    let mut provisional = question.clone();
    provisional["ts"] = json!(next);
    provisional["bar"] =
        json!({"open": price, "high": price * 1.01, "low": price * 0.99, "close": price, "volume": 1.0});
    let reply = served.post("/api/predict", &provisional);
    assert_eq!(
        (reply.status, reply.json()["origin"].as_str()),
        (200, Some("provisional")),
        "{}",
        reply.text()
    );
    assert_eq!(reply.json()["ts"].as_str(), Some(next.as_str()));

    let batch = json!({"requests": [question, {"symbol": "NONE", "timeframe": "1m", "horizon": 5}]});
    let results = served.post("/api/predict/batch", &batch).json();
    assert_eq!(results["results"][0]["value"], found["value"]);
    assert_eq!(results["results"][1]["reason"], "no_bar");

    for (target, body, words) in [
        ("/api/predict?symbol=A", question.clone(), "leave the query away"),
        ("/api/predict/batch?wait=0", batch.clone(), "leave the query away"),
        ("/api/predict", json!([&**symbol, "1m", 5, null, null, null]), "no JSON object"),
        ("/api/predict/batch", json!([question]), "no JSON object"),
        ("/api/predict/batch", json!({"requests": [5]}), "an object with symbol, timeframe and horizon"),
        ("/api/predict", json!({"symbol": "A", "timeframe": "1m", "horizon": 5.5}), "5.5 is no whole number"),
        ("/api/predict", json!({"symbol": "A", "timeframe": "1m", "horizon": 1_u64 << 40}), "is too large"),
    ] {
        let reply = served.post(target, &body);
        assert!(reply.status == 400 && reply.text().contains(words), "{target} {body}: {}", reply.text());
    }
    for (target, status, reason) in [
        ("/api/predict?symbol=NONE&timeframe=1m&horizon=5".to_owned(), 404, "no_bar"),
        (format!("/api/predict?symbol={symbol}&timeframe=1m&horizon=7"), 404, "no_model"),
        (format!("/api/predict?symbol={symbol}&timeframe=1m"), 400, "bad_request"),
        (format!("/api/predict?symbol={symbol}&timeframe=60&horizon=5"), 400, "bad_request"),
        (format!("{target}&wait=60001"), 400, "bad_request"),
        (format!("{target}&hroizon=3"), 400, "bad_request"),
        (format!("{target}&symbol=A"), 400, "bad_request"),
        ("/api/predictions?limit=0".to_owned(), 400, "bad_request"),
    ] {
        let reply = served.get(&target);
        assert_eq!((reply.status, reply.json()["reason"].as_str()), (status, Some(reason)), "{target}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    }

    let newest = eventually("the newest predictions are seen", || {
        let reply = served.get(&format!("/api/predictions?symbol={symbol}&horizon=5&limit=3")).json();
        (reply["predictions"].as_array()?.len() == 3).then_some(reply)
    });
    assert!(newest["predictions"].as_array().unwrap().iter().all(|one| one["symbol"] == **symbol));
    let all = served.get("/api/predictions?limit=10000&refusals=true").json();
    let kinds: BTreeSet<_> =
        all["predictions"].as_array().unwrap().iter().map(|one| one["type"].to_string()).collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
}

#[test]
fn versions_are_promoted_and_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.models.path = own_models(folder.path());
    settings.models.look_interval_ms = 20;
    let served = Served::with(settings);
    let serves = || {
        let models = served.get("/api/models").json();
        let all = models["models"].as_array().unwrap().clone();
        all.iter().find(|model| model["name"] == "demo-1m-h1").unwrap()["serves"].as_u64()
    };
    assert_eq!(serves(), Some(2));
    let reply = served.post("/api/models/demo-1m-h1/rollback", &json!({"reason": "worse"}));
    assert_eq!((reply.status, reply.json()["serves"].as_u64()), (200, Some(1)), "{}", reply.text());
    eventually("version 1 serves", || (serves() == Some(1)).then_some(()));
    let reply = served.post("/api/models/demo-1m-h1/rollback", &json!({}));
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (409, Some("nothing_before")));
    let reply = served.post("/api/models/demo-1m-h1/promote", &json!({"version": 2, "reason": "better"}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    eventually("version 2 serves", || (serves() == Some(2)).then_some(()));
    let history = std::fs::read_to_string(folder.path().join("models/demo-1m-h1/history.jsonl")).unwrap();
    assert!(history.contains("\"worse\"") && history.contains("127.0.0.1"), "{history}");

    std::fs::write(folder.path().join("models/demo-1m-h1/1/model.onnx"), b"no model").unwrap();
    let promote = |name: &str, body: Value| served.post(&format!("/api/models/{name}/promote"), &body);
    let reply = promote("demo-1m-h1", json!({"version": 1}));
    assert_eq!(
        (reply.status, reply.json()["reason"].as_str()),
        (422, Some("check_failed")),
        "{}",
        reply.text()
    );
    assert_eq!(promote("demo-1m-h1", json!({"version": 9})).status, 404);
    assert_eq!(promote("none", json!({"version": 1})).status, 404);
    assert_eq!(promote("..", json!({"version": 1})).status, 404);
    assert_eq!(promote("demo-1m-h1", json!({"version": 1, "force": true})).status, 400);
    assert_eq!(promote("demo-1m-h1", json!({"version": 2, "reason": "two\nlines"})).status, 400);
}

/// The value of a line of the exposition.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{name} is missing")).rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn prometheus_gets_what_the_json_says() {
    let (served, bars) = Served::fed(3, 80);
    let reply = served.get("/metrics");
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = reply.text();
    let json = served.get("/api/metrics").json();
    let performance = &json["performance"];
    assert_eq!(sample(&text, "vela_bars_total"), bars.len() as f64);
    assert_eq!(Some(sample(&text, "vela_predictions_total")), performance["total_predictions"].as_f64());
    assert_eq!(sample(&text, "vela_stage_items_total{stage=\"ingest\"}"), bars.len() as f64);
    assert_eq!(sample(&text, "vela_stage_queue_wait_seconds_count{stage=\"ingest\"}"), bars.len() as f64);
    let count = sample(&text, "vela_prediction_latency_seconds_count");
    assert_eq!(count, sample(&text, "vela_prediction_latency_seconds_bucket{le=\"+Inf\"}"));
    assert_eq!(Some(count), performance["total_predictions"].as_f64());
    let mean = sample(&text, "vela_prediction_latency_seconds_sum") / count;
    let expected = performance["avg_latency_ms"].as_f64().unwrap() / 1e3;
    assert!((mean / expected - 1.0).abs() < 0.05, "{mean} {expected}");
    assert!(sample(&text, "process_resident_memory_bytes") > 1e6 && sample(&text, "process_threads") > 5.0);
    let limit = json["system"]["memory_limit_mb"].as_f64().unwrap() * 1_048_576.0;
    assert_eq!(sample(&text, "vela_memory_limit_bytes"), limit);
    assert_eq!(sample(&text, "vela_process_generation"), 0.0);
    let refused = json["reasons"]["warming_up"].as_f64();
    assert_eq!(Some(sample(&text, "vela_refusals_total{reason=\"warming_up\"}")), refused);
    // No name of a symbol: their number has no bound.
    assert!(!text.contains(&*bars[0].0.symbol));
    if let Some(said) = promtool(&["check", "metrics"], &reply.body) {
        assert!(said.trim().is_empty(), "{said}");
    }
}

#[test]
fn a_stopping_engine_is_not_ready() {
    let (served, _) = Served::fed(1, 3);
    assert_eq!(served.get("/readyz").status, 200);
    served.engine.stop().unwrap();
    let reply = served.get("/readyz");
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert_eq!(served.get("/livez").status, 200);
    let reply = served.get("/api/predict?symbol=BTCUSD&timeframe=1m&horizon=5");
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (503, Some("stopping")));
    let begin = std::time::Instant::now();
    served.server.stop();
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert!(std::net::TcpStream::connect(served.address()).is_err() || cfg!(not(target_os = "linux")));
}

#[test]
fn what_the_controller_decided_is_told_with_what_it_saw() {
    let mut settings = settings();
    settings.controller_interval_ms = 20;
    settings.workers_initial = 6;
    let served = Served::with(settings);
    // Nothing comes: six workers are too many, whatever the machine.
    let decisions = eventually("workers are taken away", || {
        let decisions = served.get("/api/decisions").json()["decisions"].as_array().unwrap().clone();
        (!decisions.is_empty()).then_some(decisions)
    });
    for decision in &decisions {
        assert_eq!(decision["what"], "workers");
        assert!(decision["to"].as_u64() < decision["from"].as_u64(), "{decision}");
        assert!(decision["seen"]["depth"] == 0 && decision["at"].is_string(), "{decision}");
    }
    assert!(decisions.is_sorted_by_key(|decision| std::cmp::Reverse(decision["at"].to_string())));
    assert!(
        served.get("/api/metrics").json()["controller"]["decisions"].as_u64() >= Some(decisions.len() as u64)
    );
}

/// Every request with a body, as the fuzz target `requests` asks it.
#[test]
fn the_fuzzer_sends_every_request_that_has_a_body() {
    let source = include_str!("../../fuzz/fuzz_targets/requests.rs");
    let asked: Vec<(&str, Vec<&str>)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.strip_suffix("\"),")?.split_once("\", \""))
        .map(|(method, path)| (method, path.split('/').collect()))
        .collect();
    assert!(asked.len() > 10, "the table was not found: {asked:?}");
    for route in ROUTES.iter().filter(|route| !route.method.is_safe()) {
        let pattern: Vec<&str> = route.pattern.split('/').collect();
        let fits = |path: &[&str]| {
            path.len() == pattern.len()
                && path.iter().zip(&pattern).all(|(one, two)| one == two || two.starts_with('{'))
        };
        let fuzzed = asked.iter().any(|(method, path)| *method == route.method.name() && fits(path));
        assert!(fuzzed, "{} {} is sent by no fuzz target", route.method.name(), route.pattern);
    }
}
