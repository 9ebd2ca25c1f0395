//! Questions: what is predicted now, or would be if a bar closed as it is.

use super::{Engine, intake::arrived};
use crate::domain::{Ask, Bar, Origin, Outcome, Place, Reason, Refusal, SeriesKey, Timeframe, Timestamp};
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

impl Engine {
    /// Asks for the newest closed bar's prediction, `horizon` bars ahead. It is computed behind the bars of
    /// that series that were taken before, stored like any other, and ahead of other work.
    pub fn predict(&self, symbol: &str, timeframe: Timeframe, horizon: u32) -> Pending {
        self.ask(symbol, timeframe, horizon, None)
    }

    /// Asks what would be predicted if a bar that has not closed yet closed as it is now. Nothing changes and
    /// nothing is stored. The bar must be newer than the newest closed one of its series.
    pub fn peek(&self, symbol: &str, timeframe: Timeframe, horizon: u32, bar: Bar) -> Pending {
        self.ask(symbol, timeframe, horizon, Some(bar))
    }

    fn ask(&self, symbol: &str, timeframe: Timeframe, horizon: u32, provisional: Option<Bar>) -> Pending {
        let (sender, receiver) = bounded(1);
        let answer = move |outcome: &Outcome| {
            // Nobody may be waiting any more.
            let _ = sender.try_send(Outcome { reply: None, ..outcome.clone() });
        };
        let series = SeriesKey::new(symbol, timeframe);
        let ask = Ask { horizon: Some(horizon), provisional, reply: Arc::new(answer) };
        let reply = Arc::clone(&ask.reply);
        let inside = self.gate.enter();
        let known = inside.is_some()
            && series.as_ref().is_ok_and(|series| self.topology.put_ask(series, ask, arrived()));
        if !known {
            let refusal = match &series {
                _ if inside.is_none() => Refusal::new(Reason::Stopping, "the engine has stopped"),
                Ok(series) => Refusal::new(Reason::NoBar, format!("no bar of {series} has been taken yet")),
                Err(error) => Refusal::new(Reason::NoBar, error.to_string()),
            };
            reply(&unanswerable(symbol, timeframe, horizon, refusal));
        }
        Pending { receiver }
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
