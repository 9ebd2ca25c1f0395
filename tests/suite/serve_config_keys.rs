//! `PATCH /api/config` key by key, as the table of keys has them: nonsense is refused with what was tried and what is
//! allowed, and changes nothing; what is good for a live key takes effect. A key that is added is covered by its row.

use crate::live::other;
use crate::serve_support::{Client, Served, settings};
use crate::service_support::{Home, OUTCOMES_PER_BAR, Service, eventually, market};
use serde_json::{Value as Json, json};
use vela::config::{Allowed, Change, KEYS, Key, Value};

/// So many arrays and objects in each other.
fn nested(depth: usize) -> Json {
    (0..depth).fold(json!(1), |inner, at| if at % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) })
}

/// What `key` cannot be, whatever it is otherwise: by the kind of its values, not by what reads them.
fn nonsense(key: &Key) -> Vec<Json> {
    let long = "x".repeat(100_000);
    let mut all = vec![json!([null]), json!([[]]), nested(20), nested(120), json!([{}])];
    let texts = ["\u{0}\u{1b}[31m", "💥\n", "'; DROP TABLE ohlcv; --", long.as_str()];
    let no_numbers = [json!(-1), json!(0.5), json!(1e308), json!(i64::MIN), json!(u64::MAX), json!(true)];
    let numbers_as_texts = ["7", "0.5", "", " ", "true", "1e9", "0x10", "NaN", "-Infinity"];
    let strings = |texts: &[&str]| texts.iter().map(|text| json!(text)).collect::<Vec<_>>();
    let more = match &key.allowed {
        Allowed::Whole(range) => {
            all.extend([
                json!({}),
                json!([7]),
                json!(0.5),
                json!(-1),
                json!(-0.0),
                json!(1e30),
                json!(i64::MIN),
            ]);
            all.extend([json!(true), json!(range.end() + 1), json!(u64::MAX), json!(-1e308)]);
            all.extend(range.start().checked_sub(1).map(|below| json!(below)));
            strings(&numbers_as_texts)
        }
        Allowed::Fraction(range) => {
            all.extend([json!({}), json!([0.5]), json!(range.start() - 1.0), json!(range.end() * 1.001)]);
            all.extend([
                json!(1e308),
                json!(-1e308),
                json!(5e-324 - range.end()),
                json!(u64::MAX),
                json!(false),
            ]);
            strings(&numbers_as_texts)
        }
        Allowed::Bool => {
            all.extend([json!({}), json!(0), json!(1), json!(-1), json!(1e308), json!([true])]);
            strings(&["true", "false", "", "yes"])
        }
        Allowed::OneOf(words) => {
            all.extend([
                json!({}),
                json!([words[0]]),
                json!(words[0].to_uppercase()),
                json!(format!("{} ", words[0])),
            ]);
            all.extend(no_numbers);
            strings(&["", "loud"])
        }
        Allowed::Path | Allowed::PathOrEmpty => {
            all.extend(no_numbers);
            strings(&["", "/etc/passwd", "../..", "other"])
        }
        Allowed::SqlName => strings(&["", " ", "7", "a b", "a.b.c", "a;"]),
        Allowed::Store => strings(&["", "sqlite:", "mysql://a/b", "postgres://"]),
        Allowed::Listen => {
            strings(&["127.0.0.1", "127.0.0.1:65536", "localhost:80", ":80", "http://127.0.0.1:80"])
        }
        Allowed::Hosts => strings(&["a b", "a,,b", "a/b", "http://a"]),
        Allowed::Symbols => strings(&["a,,b", ",", "a b\u{7f}"]),
        Allowed::PostgresOrEmpty => strings(&["mysql://a/b", "postgres:/a", "other"]),
        Allowed::Tables => {
            all.extend([json!({}), json!([{"nam": "a"}]), json!([{"name": 7}]), json!([""])]);
            all.extend(no_numbers);
            strings(&["", "other"])
        }
        Allowed::Hours => strings(&["", "never", "mon 25:00-fri 16:00", "mon-fri", "always,always"]),
        Allowed::Events => strings(&[
            "AAPL",
            "AAPL yesterday 0.25 4",
            "AAPL 2020-08-31T13:30:00Z 0 4",
            "AAPL 2020-08-31T13:30:00Z nan 4",
        ]),
        Allowed::Names => strings(&["FB", "FB META until", "FB META from now", "FB FB"]),
        Allowed::Lanes => {
            all.extend([
                json!({"BTCUSD": "top"}),
                json!({"BTCUSD": 1}),
                json!({"": "high"}),
                json!({"A": {"B": "low"}}),
            ]);
            all.extend(no_numbers);
            strings(&["", "BTCUSD=high"])
        }
        Allowed::HttpUrlOrEmpty => {
            strings(&["ftp://a/", "http://", "127.0.0.1:80", "http://a b/", "file:///etc/passwd"])
        }
        Allowed::Rules => {
            all.extend([json!({"cpu": 3}), json!({"cpu": {"over": -1}}), json!({"cpu": {"over": 1e308}})]);
            all.extend([
                json!({"cpu": {"over": "NaN"}}),
                json!({"cpu": {"ovr": 1}}),
                json!({"new": {"over": 1}}),
            ]);
            all.extend([
                json!({"cpu": {"severity": "loud"}}),
                json!({"cpu": {"for_s": -1}}),
                json!({long.clone(): {}}),
            ]);
            all.extend(no_numbers);
            strings(&["", "memory.over=80"])
        }
    };
    all.extend(more);
    all.extend(strings(&texts));
    if key.allowed == Allowed::Bool || matches!(key.allowed, Allowed::Whole(_) | Allowed::Fraction(_)) {
        return all;
    }
    // What is a text, and no table: neither a number nor several.
    if !matches!(key.allowed, Allowed::Lanes | Allowed::Rules | Allowed::Tables) {
        all.extend([json!({}), json!([]), json!(7), json!(0.5), json!(false), json!(["other"])]);
    }
    all
}

/// A refusal of `value` for `key` says which key, what it was given, and what it may be.
fn says_what_is_allowed(key: &Key, value: &Json, detail: &str) {
    let written = value.to_string();
    let shown: String = written.chars().take(30).flat_map(char::escape_debug).collect();
    let shown = shown.replace("\\\"", "\"").replace("\\\\", "\\").replace("\\'", "'");
    let tried = format!("request: {} = {shown}", key.name);
    assert!(detail.contains(&tried), "`{tried}` is missing: {detail}");
    let allowed = match key.allowed {
        Allowed::Path | Allowed::PathOrEmpty => detail.contains("names a file, which no request may"),
        // Of what has entries, the entry says what it may be.
        Allowed::Events
        | Allowed::Names
        | Allowed::Symbols
        | Allowed::Tables
        | Allowed::Lanes
        | Allowed::Rules => {
            let says = [
                "expected",
                "allowed",
                "write ",
                "is missing",
                "has name,",
                "a table is NAME",
                "name another",
                "says what it measures",
            ];
            says.iter().any(|word| detail.contains(word)) || detail.contains("a rule has")
        }
        _ => detail.contains(&key.allowed_text()) || detail.contains(&key.allowed.to_string()),
    };
    assert!(allowed, "{} is not said: {detail}", key.allowed_text());
    assert!(detail.chars().count() < 1500 && !detail.contains('\u{1b}'), "{detail}");
}

#[test]
fn nonsense_for_any_key_is_refused_says_what_is_allowed_and_changes_nothing() {
    let served = Served::with(settings());
    let bars = market(1, 130);
    served.feed(&bars[..100]);
    let (before, wanted) = (served.engine.settings(), served.engine.settings_wanted());
    let alerts = served.engine.alerts().len();
    let mut client = served.connect();
    for key in KEYS {
        let (section, name) = key.parts();
        for (nth, value) in nonsense(key).into_iter().enumerate() {
            // By its name with dots, or in its section; something good goes along.
            let mut body = json!({ "max_latency_ms": 7, "log.performance_interval_s": 7 });
            body.as_object_mut().unwrap().remove(key.name);
            if section.is_empty() || nth % 2 == 0 {
                body[key.name] = value.clone();
            } else {
                body[section] = json!({ name: value.clone() });
            }
            let reply = client.ask("PATCH", "/api/config", "", body.to_string().as_bytes());
            let said = reply.json();
            assert_eq!((reply.status, &said["reason"]), (422, &json!("not_allowed")), "{body}");
            says_what_is_allowed(key, &value, said["detail"].as_str().unwrap());
            assert!(
                *served.engine.settings() == *before && served.engine.settings_wanted() == wanted,
                "{body}"
            );
        }
        // What no JSON has, or no JSON that is read: numbers that are none, thousands of arrays in each other.
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        for raw in ["NaN", "1e999", "-Infinity", "", "01", "'a'", "\"\u{1}\"", deep.as_str()] {
            let body = format!("{{\"{}\": {raw}}}", key.name);
            let reply = client.ask("PATCH", "/api/config", "", body.as_bytes());
            assert_eq!(
                (reply.status, &reply.json()["reason"]),
                (400, &json!("bad_request")),
                "{}",
                &body[..40.min(body.len())]
            );
        }
    }
    assert!(*served.engine.settings() == *before && served.engine.settings_wanted() == wanted);
    assert_eq!(served.engine.alerts().len(), alerts, "who asked was told, nobody else");
    // It goes on predicting.
    served.feed(&bars[100..]);
    eventually("an answer for every bar", || {
        let all = served.get("/api/predictions?limit=10000&refusals=true").json();
        (all["predictions"].as_array().unwrap().len() == bars.len() * OUTCOMES_PER_BAR).then_some(())
    });
    let metrics = served.get("/api/metrics").json();
    assert_eq!(metrics["performance"]["total_bars"], json!(bars.len()));
    assert!(metrics["performance"]["total_predictions"].as_u64() > Some(0), "{metrics}");
}

/// A value as a patch has it, of the text that `--set` takes.
fn json_of(key: &Key, text: &str) -> Json {
    match key.allowed {
        Allowed::Whole(_) | Allowed::Fraction(_) | Allowed::Bool => serde_json::from_str(text).unwrap(),
        Allowed::Tables => json!([text]),
        Allowed::Lanes => text.split_once('=').map(|(symbol, lane)| json!({ symbol: lane })).unwrap(),
        Allowed::Rules => {
            let (rule, over) = text.split_once(".over=").unwrap();
            json!({ rule: { "over": over.parse::<f64>().unwrap() } })
        }
        _ => json!(text),
    }
}

#[test]
fn a_good_value_for_any_key_takes_effect_or_is_said_to_need_a_restart() {
    let home = Home::new();
    // What a patch is not to find changed already is all that is left to its default.
    home.write("vela.toml", "source.kind = \"none\"\nmodels.path = \"models\"\n");
    let mut command = home.vela(&["run", "--config", "vela.toml"]);
    let mut service = Service::start(&home, command.env("VELA_SERVE__LISTEN", "127.0.0.1:0"));
    let mut client = Client::connect(service.address().parse().unwrap());
    let shown = |client: &mut Client, key: &Key| {
        let all = client.ask("GET", "/api/config", "", b"").json();
        all["keys"].as_array().unwrap().iter().find(|shown| shown["name"] == key.name).unwrap()["value"]
            .clone()
    };
    for key in KEYS.iter().filter(|key| !matches!(key.allowed, Allowed::Path | Allowed::PathOrEmpty)) {
        let before = shown(&mut client, key);
        let value = json_of(key, &if key.name == "source.kind" { "csv".to_owned() } else { other(key) });
        let body = json!({ key.name: value.clone() }).to_string();
        let reply = client.ask("PATCH", "/api/config", "", body.as_bytes());
        let said = reply.json();
        if key.change == Change::Restart {
            assert_eq!((reply.status, &said["reason"]), (409, &json!("needs_restart")), "{body}");
            let detail = said["detail"].as_str().unwrap();
            assert!(detail.starts_with(key.name) && detail.contains("start again"), "{detail}");
            assert_eq!(shown(&mut client, key), before, "{body}");
            continue;
        }
        assert_eq!((reply.status, &said["changed"]), (200, &json!([key.name])), "{body}");
        let after = shown(&mut client, key);
        match (&key.allowed, key.default_value()) {
            // As the configuration file has it.
            (Allowed::Rules, Value::Rules(_)) => {
                assert!(
                    after != before && after.as_str().unwrap().contains("measure = \"memory\", over = 80"),
                    "{after}"
                );
            }
            _ => assert_eq!(after, value, "{}", key.name),
        }
        // `null` is the default.
        let back = client.ask("PATCH", "/api/config", "", json!({ key.name: null }).to_string().as_bytes());
        assert_eq!(back.status, 200, "{}: {}", key.name, back.text());
        assert_eq!(shown(&mut client, key), before, "{}", key.name);
    }
    service.lives();
    let alerts = service.stop().stderr;
    assert!(!alerts.contains("panicked"), "{alerts}");
}
