//! How bars get in: numbered, stamped and put into the first stage; and the thread that reads the source.

use crate::config::Settings;
use crate::domain::{Bar, Incoming, Origin, SeriesKey, Stamps};
use crate::link::clock;
use crate::predict::Catalogue;
use crate::source::{self, History, Poll, Source, SourceBar, SourceError, Taken};
use crate::store::Watermark;
use crate::topology::{Resumed, Topology, TopologyError, feature_rules};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, select_biased};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Numbers bars and hands them to the topology, by vela's own names and prices; shared with the source's thread.
pub(super) struct Intake {
    pub(super) topology: Arc<Topology>,
    pub(super) next_seq: AtomicU64,
    pub(super) bars: AtomicU64,
}

/// The thread that reads the source.
pub(super) struct SourceThread {
    handle: JoinHandle<Result<(), SourceError>>,
    /// Dropped to end the thread.
    stop: Sender<()>,
    /// Ends when the source has ended by itself.
    pub(super) ended: Receiver<()>,
}

/// How much history a source delivers: as configured, and at least what the models of a series take until they
/// may predict.
pub fn history(settings: &Settings, catalogue: &Arc<Catalogue>) -> History {
    let (rules, catalogue) = (feature_rules(settings), Arc::clone(catalogue));
    History::of(&settings.source).under(&settings.ingest.symbol_aliases).with_needs(move |series| {
        let demands = catalogue.demands(series);
        let bars = demands.iter().map(|demand| rules.warm_up_bars(series.timeframe, demand));
        bars.max().unwrap_or(0).try_into().unwrap_or(usize::MAX)
    })
}

/// Opens the source that `settings` name, behind what is stored and what goes on where it was left.
pub(super) fn open_source(
    settings: &Settings,
    catalogue: &Arc<Catalogue>,
    watermarks: &[Watermark],
    resumed: &[Resumed],
) -> Result<Option<Box<dyn Source>>, SourceError> {
    let taken: Taken = resumed.iter().map(|it| (Arc::clone(&it.series), it.recent().to_vec())).collect();
    // All that was taken has come out; what is stored may lag behind, where bars were refused or only warmed up.
    let newest = taken.iter().filter_map(|(series, bars)| Some((Arc::clone(series), bars.last()?.ts)));
    let others = watermarks.iter().filter(|(series, _)| !taken.contains_key(series)).cloned();
    let watermarks: Vec<_> = others.chain(newest).collect();
    let history = history(settings, catalogue).resuming(taken.keys().cloned());
    let source = source::open(settings, history, &behind(&watermarks, settings.ingest.revision_bars))?;
    Ok(source.map(|source| match taken.is_empty() {
        true => source,
        false => Box::new(source::Resumed::new(source, taken, settings.dialect())),
    }))
}

/// From where the source's bars are answered: the newest that can change are once more, because a kill may have come
/// between a change and the answers it led to. What is stored of them stays where it says the same.
fn behind(watermarks: &[Watermark], revision_bars: usize) -> Vec<Watermark> {
    let bars = i64::try_from(revision_bars).unwrap_or(i64::MAX);
    let back = |(series, ts): &Watermark| {
        let ms = series.timeframe.as_millis().saturating_mul(bars);
        (Arc::clone(series), ts.plus_millis(ms.saturating_neg()))
    };
    watermarks.iter().map(back).collect()
}

/// The stamps of what comes in now.
pub(super) fn arrived() -> Stamps {
    Stamps { arrived_ns: clock::now_ns(), ..Stamps::default() }
}

impl Intake {
    /// Bars are taken in from now on: where this process replaced itself, its pause is over.
    pub(super) fn takes_bars(&self) {
        crate::control::reexec::generation().takes_bars();
    }

    /// Puts one bar in, as it came.
    pub(super) fn take(&self, series: &SeriesKey, bar: Bar, origin: Origin) -> Result<(), TopologyError> {
        let dialect = self.topology.dialect();
        let (meant, bar) = (dialect.series(series, bar.ts), dialect.bar(bar));
        self.topology.put_bar(meant.as_ref().unwrap_or(series), origin, || {
            // Bars that only warm features up have no outcome, and so no place in the order of outcomes.
            let numbered = origin != Origin::WarmUp;
            let seq = if numbered { self.next_seq.fetch_add(1, Ordering::Relaxed) } else { 0 };
            Incoming::Bar { bar, origin, seq, stamps: arrived() }
        })?;
        self.bars.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The source's thread: reads until the source ends or the engine stops.
    fn follow(&self, mut source: Box<dyn Source>, stop: &Receiver<()>) -> Result<(), SourceError> {
        let mut bars: Vec<SourceBar> = Vec::with_capacity(1024);
        let (mut refused, mut begun) = (0_u64, false);
        let news = source.news();
        loop {
            let poll = source.poll(&mut bars)?;
            coarser_first(&mut bars);
            let reading = matches!(poll, Poll::Ready | Poll::Reading(_));
            let history = reading && bars.iter().all(|bar| bar.origin == Origin::WarmUp);
            if !begun && !history {
                begun = true;
                self.takes_bars();
            }
            for SourceBar { series, bar, origin } in bars.drain(..) {
                if let Err(error) = self.take(&series, bar, origin) {
                    refused += 1;
                    if refused.is_power_of_two() {
                        tracing::error!(%error, refused, "a bar was not taken");
                    }
                }
            }
            let pause = match poll {
                Poll::Ready => Duration::ZERO,
                Poll::Idle(pause) | Poll::Reading(pause) => pause,
                Poll::End => return Ok(()),
            };
            select_biased! {
                recv(stop) -> _ => return Ok(()),
                recv(news) -> _ => {}
                default(pause) => {}
            }
        }
    }
}

/// Puts the coarser timeframe first where bars that came together close together: it has waited longest for its bar.
/// Bars of one series keep their order.
fn coarser_first(bars: &mut [SourceBar]) {
    let close = |bar: &SourceBar| bar.bar.ts.plus_millis(bar.series.timeframe.as_millis());
    for together in bars.chunk_by_mut(|a, b| close(a) == close(b)) {
        together.sort_by_key(|bar| std::cmp::Reverse(bar.series.timeframe));
    }
}

impl SourceThread {
    pub(super) fn start(source: Box<dyn Source>, intake: Arc<Intake>) -> Self {
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded(0);
        let follow = move || {
            let _alive: Sender<()> = alive;
            let result = intake.follow(source, &stopped);
            if let Err(error) = &result {
                tracing::error!(%error, "the source ended");
            }
            result
        };
        // The one thread that an engine has beside its pools; without it there is nothing to do.
        #[allow(clippy::expect_used)]
        let handle = std::thread::Builder::new()
            .name("vela-source".into())
            .spawn(follow)
            .expect("the system gives no thread for the source");
        Self { handle, stop, ended }
    }

    /// Ends the thread; why it ended, where that was an error. It may be waiting for room: `give_up` is
    /// called after `patience`, and must make some.
    pub(super) fn stop(self, patience: Duration, give_up: impl FnOnce()) -> Option<String> {
        drop(self.stop);
        if self.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            give_up();
        }
        match self.handle.join() {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the source panicked; the log has the message".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_bars_that_close_together_the_coarser_come_first_and_a_series_keeps_its_order() {
        let bar = |timeframe: &str, open_s: i64, close: f64| {
            let series = Arc::new(SeriesKey::new("A", timeframe.parse().unwrap()).unwrap());
            let ts = crate::domain::Timestamp::from_secs(open_s);
            let bar = Bar { ts, open: close, high: close, low: close, close, volume: 1.0 };
            SourceBar { series, bar, origin: Origin::Live }
        };
        let mut bars = vec![
            bar("1m", 3540, 1.0),
            bar("1m", 3540, 2.0),
            bar("5m", 3300, 3.0),
            bar("1h", 0, 4.0),
            bar("1m", 3600, 5.0),
            bar("5m", 3300, 6.0),
        ];
        coarser_first(&mut bars);
        let closes: Vec<f64> = bars.iter().map(|bar| bar.bar.close).collect();
        assert_eq!(closes, [4.0, 3.0, 1.0, 2.0, 5.0, 6.0]);
    }
}
