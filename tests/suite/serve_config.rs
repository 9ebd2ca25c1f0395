//! The configuration over HTTP: what is shown, and what a merge patch changes or does not.

use crate::serve_api::assert_described;
use crate::serve_support::{Served, settings};
use serde_json::{Value, json};
use vela::domain::{Lane, SeriesKey, Timeframe};

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let mut settings = settings();
    settings.priority.pinned.insert("BTCUSD".into(), Lane::High);
    let served = Served::with(settings);
    let shown = served.get("/api/config").json();
    let keys = shown["keys"].as_array().unwrap();
    assert_eq!(keys.len(), vela::config::KEYS.len());
    let value = |name: &str| keys.iter().find(|key| key["name"] == name).unwrap()["value"].clone();
    assert_eq!(value("max_latency_ms"), json!(5000));
    assert_eq!(value("priority.pinned"), json!({"BTCUSD": "high"}));
}

#[test]
fn the_configuration_is_changed_by_a_merge_patch_or_not_at_all() {
    let served = Served::with(settings());
    let patch = |body: &Value| {
        let headers = "Content-Type: application/merge-patch+json\r\n";
        served.ask("PATCH", "/api/config", headers, body.to_string().as_bytes())
    };
    let value_in = |shown: &Value, name: &str| {
        shown["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap().clone()
    };
    let reply = patch(&json!({"max_latency_ms": 123, "priority": {"pinned": {"ETHUSD": "low"}}}));
    assert_described("PATCH", "/api/config", &reply);
    let said = reply.json();
    assert_eq!((reply.status, &said["changed"]), (200, &json!(["max_latency_ms", "priority.pinned"])));
    assert_eq!(value_in(&said, "max_latency_ms")["value"], json!(123));
    // It is in effect, not only said to be.
    assert_eq!(served.get("/api/metrics").json()["performance"]["budget_ms"], json!(123));
    served.feed(&crate::service_support::market(2, 1));
    let lane = |symbol| served.engine.lane(&SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
    assert_eq!(lane("ETHUSD"), Some(Lane::Low));
    let told = served.engine.alerts();
    let last = told.last().unwrap();
    assert!(last.code == "config_changed" && last.detail.contains("127.0.0.1"), "{last:?}");
    // Entries are merged; null is the default.
    let reply = patch(&json!({"priority.pinned": {"BTCUSD": "high"}, "max_latency_ms": null})).json();
    assert_eq!(value_in(&reply, "priority.pinned")["value"], json!({"BTCUSD": "high", "ETHUSD": "low"}));
    assert_eq!(value_in(&reply, "max_latency_ms")["value"], json!(5000));
    assert_eq!(patch(&json!({})).json()["changed"], json!([]), "nothing is asked, nothing is changed");
    // What has its value already is no change, whatever key it is.
    assert_eq!(patch(&json!({"workers_max": 8})).json()["changed"], json!([]));

    let before = served.engine.settings();
    let alerts = served.engine.alerts().len();
    for (body, status, reason, says) in [
        (
            json!({"max_latency_ms": 7, "workers_max": 9}),
            409,
            "needs_restart",
            "workers_max: takes effect at",
        ),
        (json!({"max_latency_ms": 7, "serve": {"listen": ""}}), 409, "needs_restart", "serve.listen"),
        (json!({"max_latency_ms": 0}), 422, "not_allowed", "allowed is 1 to 3600000 ms"),
        (
            json!({"max_latency_ms": 7, "cache_ttl_seconds": "long"}),
            422,
            "not_allowed",
            "expected a whole number",
        ),
        (json!({"max_latency_ms": 7, "nonsense": 1}), 422, "not_allowed", "unknown key"),
        (
            json!({"max_latency_ms": 7, "workers_min": 9}),
            422,
            "not_allowed",
            "must not exceed workers_initial",
        ),
        (json!({"alert": {"webhook_key_path": "/etc/passwd"}}), 422, "not_allowed", "names a file"),
        (json!([1]), 400, "bad_request", "no JSON object"),
    ] {
        let reply = patch(&body);
        assert_described("PATCH", "/api/config", &reply);
        let said = reply.json();
        assert_eq!((reply.status, said["reason"].as_str()), (status, Some(reason)), "{body}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert!(said["detail"].as_str().unwrap().contains(says), "{said}");
        assert_eq!(*served.engine.settings(), *before, "{body}");
    }
    assert_eq!(served.engine.alerts().len(), alerts, "who asked was told, nobody else");
    // What a file asked for meanwhile is shown, and a patch does not take it away.
    let mut wanted = (*before).clone();
    wanted.workers_max = 9;
    served.engine.reconfigure(wanted).unwrap();
    let said = patch(&json!({"max_latency_ms": 8})).json();
    assert_eq!(said["changed"], json!(["max_latency_ms"]));
    let workers = value_in(&said, "workers_max");
    assert_eq!((&workers["value"], &workers["at_restart"]), (&json!(8), &json!(9)));
    assert_eq!(served.engine.settings_wanted().workers_max, 9);
}

#[test]
fn a_page_of_another_origin_and_whoever_has_no_token_change_nothing() {
    let body = br#"{"max_latency_ms": 7}"#;
    let served = Served::with(settings());
    let ask = |headers: &str| served.ask("PATCH", "/api/config", headers, body).status;
    assert_eq!(ask("Origin: http://evil.example\r\n"), 403);
    assert_eq!(ask("Origin: null\r\n"), 403);
    assert_eq!(ask("Host: evil.example\r\n"), 421);
    assert_eq!(served.engine.settings().max_latency_ms, 5000);
    assert_eq!(ask(&format!("Origin: http://{}\r\n", served.address())), 200);
    assert_eq!(served.engine.settings().max_latency_ms, 7);

    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "0123456789abcdef\n").unwrap();
    let mut settings = settings();
    settings.serve.token_file = token.path().to_owned();
    let served = Served::with(settings);
    let ask = |headers: &str| served.ask("PATCH", "/api/config", headers, body).status;
    assert_eq!(ask(""), 401);
    assert_eq!(ask("Authorization: Bearer 0123456789abcdee\r\n"), 401);
    assert_eq!(served.engine.settings().max_latency_ms, 5000);
    assert_eq!(ask("Authorization: Bearer 0123456789abcdef\r\n"), 200);
    assert_eq!(served.engine.settings().max_latency_ms, 7);
}
