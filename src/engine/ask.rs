//! Questions: what is predicted now, or would be if a bar closed as it is.

use super::{Engine, intake::arrived};
use crate::domain::{Ask, Bar, Origin, Outcome, Place, Reason, Refusal, SeriesKey, Timeframe, Timestamp};
use crate::topology::Asked;
use crossbeam::channel::{Receiver, bounded};
use std::sync::Arc;
use std::time::Duration;

/// A prediction that was asked for.
#[derive(Clone, Debug)]
pub struct Pending {
    receiver: Receiver<Outcome>,
}

impl Pending {
    /// Waits for the answer: a prediction, or the reason why there is none; `None` after `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<Outcome> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// The answer, if it is there already.
    pub fn try_wait(&self) -> Option<Outcome> {
        self.receiver.try_recv().ok()
    }
}

/// What is done while the first stage is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    Wait,
    GiveUp,
}

impl Engine {
    /// Asks for the newest closed bar's prediction, `horizon` bars ahead. It is computed behind the bars of
    /// that series that were taken before, stored like any other, and ahead of other work. Waits while the
    /// ingest stage is full.
    pub fn predict(&self, symbol: &str, timeframe: Timeframe, horizon: u32) -> Pending {
        self.ask((symbol, timeframe, horizon), None, Full::Wait).0
    }

    /// Asks what would be predicted if a bar that has not closed yet closed as it is now. Nothing changes and
    /// nothing is stored. The bar must be newer than the newest closed one of its series.
    pub fn peek(&self, symbol: &str, timeframe: Timeframe, horizon: u32, bar: Bar) -> Pending {
        self.ask((symbol, timeframe, horizon), Some(bar), Full::Wait).0
    }

    /// [`Engine::predict`], or with a bar [`Engine::peek`], for a caller that must not wait: `None` while the
    /// ingest stage is full.
    pub fn try_predict(
        &self,
        symbol: &str,
        timeframe: Timeframe,
        horizon: u32,
        provisional: Option<Bar>,
    ) -> Option<Pending> {
        let (pending, taken) = self.ask((symbol, timeframe, horizon), provisional, Full::GiveUp);
        taken.then_some(pending)
    }

    /// Puts a question in; false where the stage was full and it was given up.
    fn ask(
        &self,
        (symbol, timeframe, horizon): (&str, Timeframe, u32),
        provisional: Option<Bar>,
        full: Full,
    ) -> (Pending, bool) {
        let dialect = self.topology.dialect();
        let opens = provisional.map_or_else(Timestamp::now, |bar| bar.ts);
        let meant = dialect.aliases.symbol(symbol, opens);
        let provisional = provisional.map(|bar| dialect.bar(bar));
        let symbol = meant.map_or(symbol, |symbol| &**symbol);
        let (sender, receiver) = bounded(1);
        let answer = move |outcome: &Outcome| {
            // Nobody may be waiting any more.
            let _ = sender.try_send(Outcome { reply: None, ..outcome.clone() });
        };
        let pending = Pending { receiver };
        let ask = Ask { horizon: Some(horizon), provisional, reply: Arc::new(answer) };
        let reply = Arc::clone(&ask.reply);
        let refuse = |refusal| reply(&unanswerable(symbol, timeframe, horizon, refusal));
        let Some(_inside) = self.gate.enter() else {
            refuse(Refusal::new(Reason::Stopping, "the engine has stopped"));
            return (pending, true);
        };
        match SeriesKey::new(symbol, timeframe) {
            Err(error) => refuse(Refusal::new(Reason::NoBar, error.to_string())),
            Ok(series) => match self.topology.put_ask(&series, ask, arrived(), full == Full::Wait) {
                Asked::Taken => {}
                Asked::Full => return (pending, false),
                Asked::NoSeries => {
                    let mut detail = format!("no bar of {series} has been taken yet");
                    if let Some((symbol, since)) = dialect.aliases.ended(symbol, opens) {
                        detail.push_str(&format!("; it is {symbol} since {since} (ingest.symbol_aliases)"));
                    }
                    refuse(Refusal::new(Reason::NoBar, detail));
                }
            },
        }
        (pending, true)
    }

    /// [`Engine::predict`] for many at once, answered independently.
    pub fn predict_many(&self, requests: &[(&str, Timeframe, u32)]) -> Vec<Pending> {
        requests
            .iter()
            .map(|(symbol, timeframe, horizon)| self.predict(symbol, *timeframe, *horizon))
            .collect()
    }
}

fn unanswerable(symbol: &str, timeframe: Timeframe, horizon: u32, refusal: Refusal) -> Outcome {
    Outcome {
        series: Arc::new(SeriesKey { symbol: Arc::from(symbol), timeframe }),
        horizon,
        ts: Timestamp::default(),
        close: f64::NAN,
        revision: 0,
        place: Place::default(),
        origin: Origin::Asked,
        stamps: arrived(),
        result: Err(refusal),
        reply: None,
    }
}
