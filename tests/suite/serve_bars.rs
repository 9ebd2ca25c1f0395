//! Bars by HTTP: the same as bars from anywhere else, all of a request or none, and pushed back where there is no room.

use crate::serve_support::{SOON, Served, settings};
use crate::service_support::{Fed, OUTCOMES_PER_BAR, market};
use crossbeam::channel::{Receiver, bounded};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use vela::domain::{Outcome, Reason};
use vela::persist::Subscription;
use vela::serve::Server;
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides};

fn posted(bars: &[Fed]) -> Value {
    let bar = |(series, bar): &Fed| {
        json!({
            "symbol": &*series.symbol, "timeframe": series.timeframe.to_string(), "ts": bar.ts.to_string(),
            "open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close, "volume": bar.volume,
        })
    };
    json!({"bars": bars.iter().map(bar).collect::<Vec<_>>()})
}

/// What came of every bar and horizon: the value's bits, or the reason why there is none. Each came once.
fn answers(outcomes: &Subscription) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for Outcome { series, horizon, ts, result, .. } in outcomes.receiver().try_iter() {
        let answer = match result {
            Ok(prediction) => format!("{:x}", prediction.value.to_bits()),
            Err(refusal) if refusal.reason == Reason::Duplicate => continue,
            Err(refusal) => refusal.reason.code().to_owned(),
        };
        let before = all.insert(format!("{series} {horizon} {ts}"), answer);
        assert_eq!(before, None, "{series} {horizon} {ts} came twice");
    }
    all
}

#[test]
fn posted_bars_are_predicted_like_bars_from_anywhere_else() {
    let bars = market(3, 90);
    let [by_http, by_hand] = [(), ()].map(|()| Served::with(settings()));
    let outcomes = [&by_http, &by_hand].map(|served| served.engine.subscribe(10_000));
    by_hand.feed(&bars);
    for some in bars.chunks(100) {
        let reply = by_http.post("/api/bars", &posted(some));
        assert_eq!(
            (reply.status, reply.json()),
            (202, json!({"bars_taken": some.len()})),
            "{}",
            reply.text()
        );
    }
    assert!(by_http.engine.drain(SOON));
    let [found, expected] = outcomes.each_ref().map(answers);
    assert_eq!(expected.len(), bars.len() * OUTCOMES_PER_BAR);
    assert_eq!(found, expected);
}

#[test]
fn a_request_with_a_bar_that_cannot_be_read_takes_none() {
    let served = Served::with(settings());
    let good = posted(&market(1, 3));
    let with = |member: &str, value: Value| {
        let mut request = good.clone();
        request["bars"][2][member] = value;
        request
    };
    for (request, said) in [
        (with("ts", json!("yesterday")), "bars[2]: ts: `yesterday` is not a time: write RFC 3339"),
        (with("timeframe", json!("60")), "bars[2]: timeframe: "),
        (with("symbol", json!("A B")), "bars[2]: symbol: "),
        (with("close", Value::Null), "the body is not what is expected here"),
        (with("closed", json!(true)), "the body is not what is expected here: unknown field `closed`"),
        (json!({"bars": []}), "bars has 0 entries: 1 to 10000 are allowed"),
        (json!({"bars": vec![good["bars"][0].clone(); 10_001]}), "bars has 10001 entries"),
    ] {
        let reply = served.post("/api/bars", &request);
        let detail = reply.json()["detail"].to_string();
        assert_eq!(reply.status, 400, "{detail}");
        assert!(detail.contains(said), "{detail} / {said}");
    }
    assert_eq!(served.engine.bars(), 0);
    // Prices that no bar has are no matter of the request: their bar has a reason instead of a prediction.
    let outcomes = served.engine.subscribe(100);
    assert_eq!(served.post("/api/bars", &with("high", json!(0.5))).status, 202);
    assert!(served.engine.drain(SOON));
    let answers: Vec<_> = answers(&outcomes).into_values().collect();
    assert!(answers.iter().any(|answer| answer == "high_below_low"), "{answers:?}");
}

/// A store that takes nothing until it is let.
struct Shut(Receiver<()>);

impl Store for Shut {
    fn write(&mut self, _: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        let _ = self.0.recv();
        Ok(())
    }
}

#[test]
fn without_room_nobody_waits_and_what_is_sent_again_comes_once() {
    let mut settings = settings();
    (settings.ingest.queue_bars_max, settings.feature.queue_bars_max) = (4, 4);
    (settings.predict.queue_rows_max, settings.persist.queue_rows_max) = (4, 4);
    let (open, shut) = bounded::<()>(0);
    let overrides = Overrides { store: Some(Box::new(Shut(shut))), ..Overrides::default() };
    let engine = Arc::new(Engine::start_with(settings, overrides).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start_on(&engine, listener).unwrap();
    let served = Served { engine, server };
    let outcomes = served.engine.subscribe(10_000);

    let bars = market(2, 40);
    let reply = served.post("/api/bars", &posted(&bars));
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{}", reply.text());
    assert!(reply.text().contains("of 80 bars were taken; send those behind them again"), "{}", reply.text());
    drop(open);
    crate::service_support::eventually("all bars are taken", || {
        (served.post("/api/bars", &posted(&bars)).status == 202).then_some(())
    });
    assert!(served.engine.drain(SOON));
    assert_eq!(answers(&outcomes).len(), bars.len() * OUTCOMES_PER_BAR);
}
