//! The Open Inference Protocol at `/v2`: each form of a request, each refusal, and what is said of models; real clients are in
//! `clients`.

mod clients;

use crate::serve_support::{Reply, Served, settings};
use crate::service_support::eventually;
use crate::support::{onnx, serving::Folder};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};

const LENGTH: &str = "Inference-Header-Content-Length";

/// A server of models: `line` takes two features and answers `2 * x[0] + 1` in version 1, `2 * x[0] + 2` in version 2, the
/// newer; `one` is `line` for one feature; `log` answers NaN for what is negative, `slow` never.
fn served() -> (Served, Folder) {
    let folder = Folder::new();
    let two = "features = [\"ret_1\", \"ret_5\"]\n";
    let line = |version: u32| {
        let toml = format!("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\n{two}");
        folder
            .write(&format!("line/{version}/model.onnx"), onnx::linear(2, 2.0, version as f32))
            .write(&format!("line/{version}/model.toml"), toml);
    };
    line(1);
    line(2);
    folder.promote("line", &[1, 2]);
    folder.version("one", 1, onnx::linear(1, 2.0, 1.0), "").promote("one", &[1]);
    folder.version("log", 1, onnx::nan_when_negative(1), "").promote("log", &[1]);
    folder.version("slow", 1, onnx::slow_when_negative(1), "").promote("slow", &[1]);
    folder.version("broken", 1, b"no model".to_vec(), "").promote("broken", &[1]);
    let mut settings = settings();
    settings.models.path = folder.path("");
    settings.predict.deadline_ms = 500;
    (Served::with(settings), folder)
}

/// A request for two rows of `line`, as JSON.
fn two_rows() -> Value {
    json!({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1.5, 0.0], [-3.0, 9.0]]}]})
}

fn error_of(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.json()["error"].as_str().unwrap().to_owned()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// An answer's JSON, and what follows it.
fn parts(reply: &Reply) -> (Value, Vec<u8>) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let Some(length) = reply.header(LENGTH) else {
        assert_eq!(reply.header("content-type"), Some("application/json"));
        return (reply.json(), Vec::new());
    };
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    let (json, rest) = reply.body.split_at(length.parse().unwrap());
    (serde_json::from_slice(json).unwrap(), rest.to_vec())
}

#[test]
fn what_there_is_is_described() {
    let (served, _folder) = served();
    let server = served.get("/v2").json();
    assert_eq!(
        (server["name"].as_str(), server["version"].as_str()),
        (Some("vela"), Some(env!("CARGO_PKG_VERSION")))
    );
    for extension in ["binary_tensor_data", "model_configuration", "statistics", "model_repository"] {
        assert!(server["extensions"].as_array().unwrap().contains(&json!(extension)), "{server}");
    }
    assert_eq!(served.get("/v2/health/live").json(), json!({"live": true}));
    assert_eq!(served.get("/v2/health/ready?x=y").json(), json!({"ready": true}));
    assert_eq!(served.get("/v2/models/line/ready").json(), json!({"name": "line", "ready": true}));
    let model = served.get("/v2/models/line").json();
    assert_eq!(
        model,
        json!({
            "name": "line", "versions": ["1", "2"], "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
        })
    );
    assert_eq!(served.get("/v2/models/l%69ne/versions/1").json(), model);
    let config = served.get("/v2/models/line/config").json();
    assert_eq!(config["max_batch_size"], json!(settings().batch_size_max));
    assert_eq!(config["input"], json!([{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}]));
    assert_eq!(config["output"], json!([{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}]));
}

#[test]
fn every_form_of_a_request_is_answered() {
    let (served, _folder) = served();
    let infer = |target: &str, headers: &str, body: &[u8]| served.ask("POST", target, headers, body);
    let all_json = two_rows().to_string();
    let expected = json!({
        "model_name": "line", "model_version": "2",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [5.0, -4.0]}],
    });
    // All JSON: without the header, with it, in chunks.
    assert_eq!(parts(&infer("/v2/models/line/infer", "", all_json.as_bytes())).0, expected);
    let length = format!("{LENGTH}: {}\r\n", all_json.len());
    assert_eq!(parts(&infer("/v2/models/line/infer?a=b", &length, all_json.as_bytes())).0, expected);
    let mut client = served.connect();
    let (first, second) = all_json.split_at(7);
    let head = "POST /v2/models/line/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked =
        format!("{head}{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    // Twice, the second before the first was answered.
    client.send(chunked.repeat(2).as_bytes());
    assert_eq!(parts(&client.reply(false).unwrap()).0, expected);
    assert_eq!(parts(&client.reply(false).unwrap()).0, expected);
    // Flat data, an id that is empty, a version of one's own choice.
    let mut flat = two_rows();
    flat["inputs"][0]["data"] = json!([1.5, 0, -3, 9]);
    flat["id"] = json!("");
    flat["parameters"] = json!({"priority": "1", "timeout": 5000, "anything": true});
    let reply = parts(&infer("/v2/models/line/versions/1/infer", "", flat.to_string().as_bytes())).0;
    assert_eq!((&reply["id"], &reply["model_version"]), (&json!(""), &json!("1")));
    assert_eq!(reply["outputs"][0]["data"], json!([4.0, -5.0]));

    // Binary in, JSON and binary out.
    let values = bytes(&[1.5, 0.0, -3.0, 9.0]);
    let mut header = two_rows();
    header["inputs"][0].as_object_mut().unwrap().remove("data");
    header["inputs"][0]["parameters"] = json!({"binary_data_size": values.len()});
    let with = |change: Value| {
        let mut header = header.clone();
        header.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let json = header.to_string();
        let length = format!("{LENGTH}: {}\r\n", json.len());
        infer("/v2/models/line/infer", &length, &[json.as_bytes(), &values].concat())
    };
    assert_eq!(parts(&with(json!({}))).0, expected);
    assert_eq!(parts(&with(json!({"outputs": []}))).0, expected, "none named is all");
    let binary_y =
        json!({"name": "y", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": 8}});
    for wanted in [
        json!({"parameters": {"binary_data_output": true}}),
        json!({"outputs": [{"name": "y", "parameters": {"binary_data": true}}]}),
        json!({"outputs": [{"name": "y"}], "parameters": {"binary_data_output": true}}),
    ] {
        let (json, rest) = parts(&with(wanted));
        assert_eq!((&json["outputs"], floats(&rest)), (&json!([binary_y]), vec![5.0, -4.0]));
    }
    let not_y = json!({"outputs": [{"name": "y", "parameters": {"binary_data": false}}], "parameters": {"binary_data_output": true}});
    assert_eq!(parts(&with(not_y)).0, expected);
    // Raw: one row and nothing else.
    let raw = infer("/v2/models/line/infer", &format!("{LENGTH}: 0\r\n"), &bytes(&[4.0, 0.0]));
    let (json, rest) = parts(&raw);
    assert_eq!((json["outputs"][0]["shape"].clone(), floats(&rest)), (json!([1, 1]), vec![10.0]));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bodies_may_be_compressed_both_ways() {
    let (served, _folder) = served();
    let infer = |headers: &str, body: &[u8]| served.ask("POST", "/v2/models/line/infer", headers, body);
    let expected = json!([5.0, -4.0]);
    let small = infer(
        "Content-Encoding: gzip\r\nAccept-Encoding: gzip\r\n",
        &gzip(two_rows().to_string().as_bytes()),
    );
    assert_eq!(
        (parts(&small).0["outputs"][0]["data"].clone(), small.header("content-encoding")),
        (expected.clone(), None)
    );
    // An answer that is long: it says its id.
    let mut long = two_rows();
    long["id"] = json!("7".repeat(2000));
    long["parameters"] = json!({"binary_data_output": true});
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    deflated.write_all(long.to_string().as_bytes()).unwrap();
    let deflated = deflated.finish().unwrap();
    for coding in ["gzip", "deflate"] {
        let mut reply =
            infer(&format!("Content-Encoding: deflate\r\nAccept-Encoding: {coding}\r\n"), &deflated);
        assert_eq!((reply.status, reply.header("content-encoding")), (200, Some(coding)));
        let mut body = Vec::new();
        match coding {
            "gzip" => flate2::read::GzDecoder::new(&reply.body[..]).read_to_end(&mut body),
            _ => flate2::read::ZlibDecoder::new(&reply.body[..]).read_to_end(&mut body),
        }
        .unwrap();
        assert!(reply.body.len() * 5 < body.len(), "{} of {}", reply.body.len(), body.len());
        // The length of the JSON is that of what was compressed.
        reply.body = body;
        let (json, rest) = parts(&reply);
        assert_eq!((&json["id"], floats(&rest)), (&long["id"], vec![5.0, -4.0]));
    }
    assert_eq!(infer("Content-Encoding: deflate\r\n", &deflated).header("content-encoding"), None);
}

#[test]
fn a_caller_waits_for_a_busy_session_no_longer_than_it_says() {
    let folder = Folder::new();
    folder.version("slow", 1, onnx::slow_when_negative(1), "").promote("slow", &[1]);
    let mut settings = settings();
    settings.models.path = folder.path("");
    settings.predict.deadline_ms = 3000;
    settings.serve.sessions_max = 1;
    let served = Served::with(settings);
    let ask = |value: f64, timeout_us: u64| {
        let request = json!({
            "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}],
            "parameters": {"timeout": timeout_us},
        });
        served.post("/v2/models/slow/infer", &request)
    };
    assert_eq!(ask(1.0, 0).status, 200);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| ask(-1.0, 0));
        let reply = eventually("the only session is busy", || {
            Some(ask(1.0, 1000)).filter(|reply| reply.status != 200)
        });
        assert!(error_of(&reply, 503).contains("`timeout`"), "{}", reply.text());
        // Whoever says nothing waits.
        assert_eq!(ask(1.0, 0).status, 200);
        assert_eq!(busy.join().unwrap().status, 504);
    });
    assert_eq!(ask(1.0, 1000).status, 200, "a session that is there is not waited for");
}

#[test]
fn what_cannot_be_answered_is_said() {
    let (served, _folder) = served();
    let ask = |target: &str, headers: &str, body: &[u8], status: u16, words: &str| {
        let reply = served.ask("POST", target, headers, body);
        let error = error_of(&reply, status);
        assert!(error.contains(words), "{target}: {error}");
    };
    let line = "/v2/models/line/infer";
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut request = two_rows();
        change(&mut request);
        request.to_string()
    };
    let said =
        |change: &dyn Fn(&mut Value), words: &str| ask(line, "", changed(change).as_bytes(), 400, words);
    let x = |request: &mut Value, name: &str, value: Value| request["inputs"][0][name] = value;

    // What Triton has beyond it.
    for (target, words) in [
        ("/v2/systemsharedmemory/region/a/register", "shared memory is not offered"),
        ("/v2/cudasharedmemory/unregister", "shared memory is not offered"),
        ("/v2/models/line/trace/setting", "traces are not offered"),
        ("/v2/logging", "log.level"),
        ("/v2/models/line/generate", "…/infer is"),
        ("/v2/anything", "there is nothing here; GET /v2 names the extensions"),
    ] {
        ask(target, "", b"{}", 404, words);
    }
    let stats = error_of(&served.get("/v2/models/line/versions/9/stats"), 404);
    assert_eq!(stats, "version 9 of `line` is not promoted: 2, 1 are");

    ask(line, "", b"{", 400, "no inference request");
    ask(line, "", b"", 400, "no inference request");
    ask(line, "", &[b'['; 100_000], 400, "no inference request");
    said(&|r| r["inputs"] = json!([]), "`x` has to be given");
    said(&|r| x(r, "name", json!("z")), "there is no input `z`: `x` are there");
    said(&|r| r["inputs"] = json!([r["inputs"][0], r["inputs"][0]]), "once");
    said(&|r| x(r, "datatype", json!("FP64")), "float [N, 2] is taken, double was sent");
    said(&|r| x(r, "datatype", json!("INT8")), "taken by no model here");
    said(&|r| x(r, "datatype", json!("FP16")), "no JSON form");
    said(&|r| x(r, "datatype", json!("INT64")), "what is no INT64");
    said(&|r| x(r, "shape", json!([2, 3])), "the shape [2, 3] was sent");
    said(&|r| x(r, "shape", json!([0, 2])), "the shape [0, 2] was sent");
    said(&|r| x(r, "shape", json!([-1, 2])), "the shape [-1, 2] was sent");
    said(&|r| x(r, "shape", json!([i64::MAX, 2])), "do not fill the shape");
    said(&|r| x(r, "shape", json!([3, 2])), "4 values do not fill the shape [3, 2]");
    said(&|r| x(r, "data", json!([1e300, 0, 0, 0])), "value 0 is NaN or infinite");
    said(&|r| x(r, "data", json!(["a", 0, 0, 0])), "numbers, or true and false");
    said(&|r| x(r, "data", json!([true, 0, 0, 0])), "numbers and truths are mixed");
    said(&|r| x(r, "data", Value::Null), "neither `data` nor `binary_data_size`");
    said(&|r| x(r, "parameters", json!({"binary_data_size": 16})), "exclude each other");
    said(&|r| r["outputs"] = json!([{"name": "z"}]), "there is no output `z`");
    said(
        &|r| r["outputs"] = json!([{"name": "y", "parameters": {"classification": 2}}]),
        "`classification` is not offered",
    );
    let region = || json!({"shared_memory_region": "r", "shared_memory_byte_size": 16});
    said(&|r| x(r, "parameters", region()), "input `x`: shared memory is not offered");
    said(
        &|r| r["outputs"] = json!([{"name": "y", "parameters": region()}]),
        "output `y`: shared memory is not offered",
    );
    said(&|r| r["parameters"] = json!({"triton_enable": true}), "reserved");
    said(&|r| r["parameters"] = json!({"priority": "high"}), "`priority` must be a whole number");
    said(&|r| r["parameters"] = json!({"binary_data_output": "yes"}), "true or false");
    let rows = settings().batch_size_max + 1;
    let many =
        json!({"inputs": [{"name": "x", "shape": [rows, 2], "datatype": "FP32", "data": vec![0; 2 * rows]}]});
    ask(line, "", many.to_string().as_bytes(), 400, "at most 100 are run at once");

    // Binary: one byte too few, one too many, a length that cannot be.
    let header =
        br#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let length = format!("{LENGTH}: {}\r\n", header.len());
    ask(line, &length, &[&header[..], &[0; 7]].concat(), 400, "8 bytes are announced, 7 came");
    ask(line, &length, &[&header[..], &[0; 9]].concat(), 400, "1 bytes are left behind the last tensor");
    for wrong in ["-1", "x", "99999", "1 2", "+1"] {
        ask(line, &format!("{LENGTH}: {wrong}\r\n"), header, 400, "Inference-Header-Content-Length is");
    }
    let nan = [&header[..], &bytes(&[f32::NAN, 0.0])].concat();
    ask(line, &length, &nan, 400, "value 0 is NaN or infinite");
    let raw = format!("{LENGTH}: 0\r\n");
    ask(line, &raw, &[0; 12], 400, "raw bytes are one row, of the shape [1, 2]: 3 values came");
    ask(line, &raw, &[0; 9], 400, "no whole number of values");
    ask(line, "Content-Encoding: br\r\n", two_rows().to_string().as_bytes(), 415, "`br` is not taken");
    ask(line, "Content-Encoding: gzip\r\n", two_rows().to_string().as_bytes(), 400, "no gzip");
    let bomb = gzip(&vec![b' '; settings().serve.body_bytes_max + 1]);
    assert!(bomb.len() < 10_000, "it passes every other bound");
    ask(line, "Content-Encoding: gzip\r\n", &bomb, 413, "serve.body_bytes_max");

    // Models, versions, routes.
    ask("/v2/models/none/infer", "", two_rows().to_string().as_bytes(), 404, "there is no model `none`");
    ask(
        "/v2/models/line/versions/9/infer",
        "",
        two_rows().to_string().as_bytes(),
        404,
        "version 9 of `line` is not promoted: 2, 1 are",
    );
    ask("/v2/models/line/versions/latest/infer", "", b"{}", 404, "versions are whole numbers");
    ask("/v2/models/broken/infer", "", two_rows().to_string().as_bytes(), 503, "");
    assert!(error_of(&served.get("/v2/models/line/infer"), 405).contains("but POST"));
    for nothing in ["/v2/nothing", "/v2/models/a%2Fb", "/v2/models/none/stats"] {
        error_of(&served.get(nothing), 404);
    }
    for extension in ["systemsharedmemory/status", "cudasharedmemory/status", "trace/setting", "logging"] {
        let error = error_of(&served.get(&format!("/v2/{extension}")), 404);
        assert!(error.contains("GET /v2 names the extensions"), "{error}");
    }
    assert!(!error_of(&served.get("/v2/models/broken/ready"), 503).is_empty());

    // What the model itself answers: NaN is no answer, and neither is none.
    let one = |value: f64| {
        json!({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}]}).to_string()
    };
    ask(
        "/v2/models/log/infer",
        "",
        one(-1.0).as_bytes(),
        500,
        "the model answered NaN or infinity: output `y`, value 0",
    );
    assert_eq!(served.ask("POST", "/v2/models/log/infer", "", one(1.0).as_bytes()).status, 200);
    ask("/v2/models/slow/infer", "", one(-1.0).as_bytes(), 504, "predict.deadline_ms");
    assert_eq!(served.ask("POST", "/v2/models/slow/infer", "", one(1.0).as_bytes()).status, 200);
    // Bars are not concerned: no version lost its standing by it.
    let models = served.get("/api/models").json();
    for model in models["models"].as_array().unwrap().iter().filter(|model| model["name"] != "broken") {
        assert_eq!(model["versions"][0]["failure"], Value::Null, "{model}");
    }
}

#[test]
fn what_was_asked_is_counted() {
    let (served, _folder) = served();
    let of = |target: &str| served.get(target).json()["model_stats"].clone();
    let fresh = of("/v2/models/line/versions/2/stats");
    assert_eq!((&fresh[0]["inference_count"], &fresh[0]["execution_count"]), (&json!(0), &json!(0)));
    for _ in 0..3 {
        assert_eq!(served.post("/v2/models/line/infer", &two_rows()).status, 200);
    }
    let all = of("/v2/models/line/stats");
    assert_eq!((&all[0]["version"], &all[0]["execution_count"]), (&json!("1"), &json!(0)));
    let stats = &all[1];
    assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(6), &json!(3)));
    let spent = |name: &str| stats["inference_stats"][name]["ns"].as_u64().unwrap();
    for name in ["success", "queue", "compute_input", "compute_infer", "compute_output"] {
        assert_eq!(stats["inference_stats"][name]["count"], json!(3), "{name}");
        assert!(spent(name) > 0, "{name}");
    }
    let parts = spent("queue") + spent("compute_input") + spent("compute_infer") + spent("compute_output");
    assert!(parts <= spent("success"), "{stats}");
    for name in ["fail", "cache_hit", "cache_miss"] {
        assert_eq!(stats["inference_stats"][name], json!({"count": 0, "ns": 0}), "{name}");
    }
    let every = of("/v2/models/stats");
    assert!(every.as_array().unwrap().contains(stats));
}

#[test]
fn a_model_that_was_unloaded_answers_bars_alone() {
    let (served, _folder) = served();
    let index = |body: Value| served.post("/v2/repository/index", &body).json();
    let state = |all: &Value, name: &str| {
        let entry = all.as_array().unwrap().iter().find(|entry| entry["name"] == name);
        entry.map(|entry| entry["state"].clone())
    };
    let post = |target: &str| served.ask("POST", target, "", b"");
    assert_eq!(served.post("/v2/models/line/infer", &two_rows()).status, 200);
    assert_eq!(post("/v2/repository/models/line/unload").status, 200);
    assert!(error_of(&served.post("/v2/models/line/infer", &two_rows()), 404).contains("was unloaded"));
    assert!(error_of(&served.get("/v2/models/line/ready"), 404).contains("/v2/repository/models/line/load"));
    let all = index(json!({}));
    assert_eq!(state(&all, "line"), Some(json!("UNAVAILABLE")));
    assert_eq!(state(&all, "one"), Some(json!("READY")));
    assert_eq!(state(&index(json!({"ready": true})), "line"), None);
    // Bars are predicted as before.
    let bars = crate::service_support::market(1, 80);
    served.feed(&bars);
    let target = format!("/api/predictions?symbol={}&limit=50", bars[0].0.symbol);
    // The newest are told by the stream's thread, behind the store.
    eventually("predictions of the model", || {
        served.get(&target).json().to_string().contains("\"line\"").then_some(())
    });
    let inline = json!({"parameters": {"file:1/model.onnx": "AAAA"}});
    let refused = served.post("/v2/repository/models/line/load", &inline);
    assert!(error_of(&refused, 400).contains("models folder"));
    assert_eq!(post("/v2/repository/models/line/load").status, 200);
    assert_eq!(served.post("/v2/models/line/infer", &two_rows()).status, 200);
    assert!(error_of(&post("/v2/repository/models/none/load"), 404).contains("none"));
    assert!(error_of(&post("/v2/repository/models/broken/load"), 503).contains("model"));
}
