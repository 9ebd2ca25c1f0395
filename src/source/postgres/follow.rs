//! What is known of every series, what is to be read next, and what a bar that was read is: pure bookkeeping.

use super::look::{Ask, Found, NEVER, Named, Told};
use super::recent::{By, News, Recent};
use super::table::Table;
use crate::config::CatchUp;
use crate::domain::{Bar, Origin, SeriesKey, Timestamp};
use crate::source::history::Given;
use crate::source::{History, SourceBar};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Series that one look asks for at most, so that what is announced meanwhile waits for no more than those.
const ASKS_MAX: usize = 128;

/// How long after it was told a bar is looked up: not while its prediction is under way.
const LOOKED_UP_MS: i64 = 1000;

/// All series of all tables.
pub(super) struct Follow {
    history: History,
    overlap_bars: i64,
    revision_bars: i64,
    watermarks: HashMap<Arc<SeriesKey>, Timestamp>,
    series: HashMap<Named, Standing>,
    /// Whose history is read next.
    starts: VecDeque<Named>,
    asks: VecDeque<Ask>,
    /// What is read again, when, and from which bar on: bars that had not closed, and those that were only told.
    again: HashMap<Named, Again>,
    pub ready: VecDeque<SourceBar>,
}

/// A series that is to be read again.
struct Again {
    at: Timestamp,
    /// From which bar on, and from which on bars count as announced.
    since: Timestamp,
    announced: Timestamp,
}

enum Standing {
    /// It is not wanted, or its name is that of no series.
    LeftOut,
    /// Its history was not read yet; bars from `live_from` on were announced meanwhile.
    Waiting {
        key: Arc<SeriesKey>,
        live_from: Timestamp,
    },
    Followed {
        key: Arc<SeriesKey>,
        recent: Recent,
    },
}

/// The question for the history of a series.
pub(super) struct Start {
    pub series: Named,
    /// How many bars, at most.
    pub count: i64,
    /// Further ones that are newer than this.
    pub watermark: Option<Timestamp>,
    /// At most so many.
    pub newer_max: i64,
}

fn key_of(series: &Named) -> Result<Arc<SeriesKey>, String> {
    let timeframe = series.timeframe.parse().map_err(|error| format!("timeframe: {error}"))?;
    SeriesKey::new(&series.symbol, timeframe).map(Arc::new).map_err(|error| format!("symbol: {error}"))
}

impl Follow {
    pub(super) fn new(
        history: History,
        (overlap_bars, revision_bars): (usize, usize),
        watermarks: &[(Arc<SeriesKey>, Timestamp)],
    ) -> Self {
        Self {
            history,
            overlap_bars: i64::try_from(overlap_bars).unwrap_or(i64::MAX),
            revision_bars: i64::try_from(revision_bars).unwrap_or(i64::MAX),
            watermarks: watermarks.iter().cloned().collect(),
            series: HashMap::new(),
            starts: VecDeque::new(),
            asks: VecDeque::new(),
            again: HashMap::new(),
            ready: VecDeque::new(),
        }
    }

    fn overlap_ms(&self, key: &SeriesKey) -> i64 {
        self.overlap_bars.saturating_mul(key.timeframe.as_millis())
    }

    /// What was to be read is asked for anew when there is a connection again.
    pub(super) fn lost(&mut self) {
        self.starts.clear();
        self.asks.clear();
    }

    /// These are all series there are: new ones start, others are read again.
    pub(super) fn listed(&mut self, all: Vec<Named>) {
        self.lost();
        for series in all {
            match self.series.get(&series) {
                None => self.enter(series, NEVER),
                Some(Standing::Waiting { .. }) => self.starts.push_back(series),
                Some(Standing::Followed { recent, .. }) => {
                    let since = recent.since().unwrap_or(Timestamp::from_millis(i64::MIN));
                    self.asks.push_back(Ask { series, since, announced: NEVER });
                }
                Some(Standing::LeftOut) => {}
            }
        }
    }

    /// The series of the tables that `is_polled` are read from their newest bar on.
    pub(super) fn polled(&mut self, is_polled: impl Fn(usize) -> bool) {
        for (series, standing) in &self.series {
            if let Standing::Followed { recent, .. } = standing
                && is_polled(series.table)
            {
                let since = recent.newest().unwrap_or(Timestamp::from_millis(i64::MIN));
                self.asks.push_back(Ask { series: series.clone(), since, announced: since });
            }
        }
    }

    /// A series that was not known.
    fn enter(&mut self, series: Named, live_from: Timestamp) {
        let standing = match key_of(&series) {
            Ok(key) if !self.history.wants(&key) => Standing::LeftOut,
            Ok(key) => {
                self.starts.push_back(series.clone());
                Standing::Waiting { key, live_from }
            }
            Err(problem) => {
                tracing::warn!(problem, "a series of the bar table is left out");
                Standing::LeftOut
            }
        };
        self.series.insert(series, standing);
    }

    /// The next series whose history is wanted, with those under other names of it: they come in one order.
    pub(super) fn next_starts(&mut self) -> Vec<Start> {
        let Some(first) = self.starts.pop_front() else { return Vec::new() };
        let mut all = Vec::from_iter(self.start(&first));
        let Some(Standing::Waiting { key, .. }) = self.series.get(&first) else { return all };
        let names = self.history.together(key);
        if names.len() > 1 {
            let together = |other: &Named| {
                names.contains(&&*other.symbol)
                    && matches!(self.series.get(other), Some(Standing::Waiting { key: of, .. }) if of.timeframe == key.timeframe)
            };
            let (others, rest) = self.starts.iter().cloned().partition::<Vec<_>, _>(together);
            all.extend(others.iter().filter_map(|series| self.start(series)));
            self.starts = rest.into();
        }
        all
    }

    fn start(&self, series: &Named) -> Option<Start> {
        let Some(Standing::Waiting { key, .. }) = self.series.get(series) else { return None };
        let history = self.history.of_series(key);
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        // 0 is all there is; half of what a number holds, as the database adds to it.
        let count = if history.history_bars == 0 { i64::MAX / 2 } else { whole(history.history_bars) };
        let newer_max = match history.catch_up {
            CatchUp::All => whole(history.catch_up_bars_max),
            CatchUp::Latest => 1,
            CatchUp::None => 0,
        };
        Some(Start { watermark: self.done(key), series: series.clone(), count, newer_max })
    }

    /// Up to which bar a series need not be predicted again. Where all are caught up on, what may have been committed
    /// late before the last that is stored is predicted again: what is stored already stays as it is.
    fn done(&self, key: &Arc<SeriesKey>) -> Option<Timestamp> {
        let watermark = *self.watermarks.get(key)?;
        let again = if self.history.catch_up == CatchUp::All { self.overlap_ms(key) } else { 0 };
        Some(watermark.plus_millis(-again))
    }

    /// Whether a bar of a series' history may have been answered in an earlier run: what is answered from is so many bars
    /// behind what was.
    fn may_be_answered(&self, key: &Arc<SeriesKey>, ts: Timestamp) -> bool {
        let behind = self.revision_bars.saturating_mul(key.timeframe.as_millis());
        self.watermarks.get(key).is_some_and(|watermark| ts <= watermark.plus_millis(behind))
    }

    /// The next series to be asked for; none: nothing is to be read but what is announced.
    pub(super) fn next_asks(&mut self, now: Timestamp) -> Vec<Ask> {
        let mut due = Vec::new();
        self.again.retain(|series, again| {
            if again.at <= now {
                due.push(Ask { series: series.clone(), since: again.since, announced: again.announced });
            }
            again.at > now
        });
        self.asks.extend(due);
        let count = self.asks.len().min(ASKS_MAX);
        self.asks.drain(..count).collect()
    }

    /// When a series is next to be read again.
    pub(super) fn next_again(&self) -> Option<Timestamp> {
        self.again.values().map(|again| again.at).min()
    }

    /// Has `series` read again.
    fn read_again(&mut self, series: &Named, Again { at, since, announced }: Again) {
        let known = self.again.entry(series.clone()).or_insert(Again { at, since, announced });
        known.at = known.at.min(at);
        known.since = known.since.min(since);
        known.announced = known.announced.min(announced);
    }

    /// Takes histories that come in one order, each newest first.
    pub(super) fn started(&mut self, all: Vec<(Named, Vec<Bar>)>, tables: &[Arc<Table>], now: Timestamp) {
        let mut ready = Vec::new();
        let several = all.len() > 1;
        for (series, bars) in all {
            let table = &tables[series.table];
            self.start_with(series, bars, table, now, &mut ready);
        }
        if several {
            ready.sort_by_key(|bar| bar.bar.ts);
        }
        self.ready.extend(ready);
    }

    fn start_with(
        &mut self,
        series: Named,
        mut bars: Vec<Bar>,
        table: &Table,
        now: Timestamp,
        ready: &mut Vec<SourceBar>,
    ) {
        let Some(Standing::Waiting { key, live_from }) = self.series.get(&series) else { return };
        let (key, live_from) = (Arc::clone(key), *live_from);
        let (watermark, history) = (self.done(&key), self.history.of_series(&key));
        let mut given = Given::default();
        bars.retain(|bar| !self.is_forming(&series, &key, bar, table, now));
        let mut origins = Vec::with_capacity(bars.len());
        for bar in &bars {
            let origin = match history.origin(bar.ts, watermark, &mut given) {
                Some(_) if bar.ts >= live_from && self.may_be_answered(&key, bar.ts) => Origin::CatchUp,
                Some(_) if bar.ts >= live_from => Origin::Live,
                Some(origin) => origin,
                None => break,
            };
            origins.push(origin);
        }
        let mut recent = Recent::new(self.overlap_ms(&key));
        for (bar, origin) in bars.iter().zip(origins).rev() {
            if recent.take(bar, By::Announcement) != News::Known {
                ready.push(SourceBar { series: Arc::clone(&key), bar: *bar, origin });
            }
        }
        self.series.insert(series, Standing::Followed { key, recent });
    }

    /// Takes a bar that its announcement told. The table is the truth still: it is looked up a little later.
    pub(super) fn told(&mut self, Told { series, bar }: Told, table: &Table, now: Timestamp) {
        let ask = Ask { series, since: bar.ts, announced: bar.ts };
        let (key, can_be_told) = match self.series.get(&ask.series) {
            Some(Standing::Followed { key, recent }) => (Arc::clone(key), recent.can_be_told(bar.ts)),
            _ => return self.found(Found { ask, bars: vec![bar], more: false }, table, now),
        };
        if !can_be_told {
            return self.asks.push_back(ask);
        }
        if self.is_forming(&ask.series, &key, &bar, table, now) {
            return;
        }
        let again = Again { at: now.plus_millis(LOOKED_UP_MS), since: bar.ts, announced: NEVER };
        self.read_again(&ask.series, again);
        if let Some(Standing::Followed { recent, .. }) = self.series.get_mut(&ask.series)
            && recent.take(&bar, By::Telling) != News::Known
        {
            self.ready.push_back(SourceBar { series: key, bar, origin: Origin::Live });
        }
    }

    /// Takes bars that a look found.
    pub(super) fn found(&mut self, found: Found, table: &Table, now: Timestamp) {
        let Found { ask, mut bars, more } = found;
        let key = match self.series.get_mut(&ask.series) {
            None if bars.is_empty() => return,
            // Its history is read first, these bars among it.
            None => return self.enter(ask.series, ask.announced),
            Some(Standing::Waiting { live_from, .. }) => {
                *live_from = ask.announced.min(*live_from);
                return;
            }
            Some(Standing::LeftOut) => return,
            Some(Standing::Followed { key, .. }) => Arc::clone(key),
        };
        let last_read = bars.last().map(|bar| bar.ts);
        if ask.announced == NEVER && !more {
            self.not_there(&ask, &key, &bars, table);
        }
        bars.retain(|bar| !self.is_forming(&ask.series, &key, bar, table, now));
        let Some(Standing::Followed { recent, .. }) = self.series.get_mut(&ask.series) else { return };
        let last = if more { None } else { bars.last().map(|bar| bar.ts) };
        for bar in bars {
            let announced = bar.ts >= ask.announced;
            let by = if announced { By::Announcement } else { By::Reading };
            let origin = match recent.take(&bar, by) {
                News::Known => continue,
                // It closed while nobody heard of it.
                News::Newer if !announced && Some(bar.ts) != last => Origin::CatchUp,
                News::Newer | News::Changed => Origin::Live,
            };
            self.ready.push_back(SourceBar { series: Arc::clone(&key), bar, origin });
        }
        if let Some(last_read) = last_read
            && more
        {
            // In front, so that the series is read to its end before others.
            self.asks.push_front(Ask { since: last_read.plus_millis(1), ..ask });
        }
    }

    /// Takes back what was told and is not among `bars`, which are all that the table has since `ask.since`.
    fn not_there(&mut self, ask: &Ask, key: &Arc<SeriesKey>, bars: &[Bar], table: &Table) {
        let Some(Standing::Followed { recent, .. }) = self.series.get_mut(&ask.series) else { return };
        let (told, deleted) = recent.forget_others(ask.since, bars);
        if let Some(bar) = told.first() {
            tracing::warn!(
                "{} bars of {key} from {} on were announced and are not in {}: they are taken back",
                told.len(),
                bar.ts,
                table.name
            );
        }
        if deleted {
            tracing::warn!(
                "bars of {key} since {} are gone from {}: what was made of them stays",
                ask.since,
                table.name
            );
        }
        let taken_back = |bar| SourceBar { series: Arc::clone(key), bar, origin: Origin::Withdrawn };
        self.ready.extend(told.into_iter().map(taken_back));
    }

    /// Whether a bar of a table that does not say so has not closed yet: it is read again when it has.
    fn is_forming(
        &mut self,
        series: &Named,
        key: &SeriesKey,
        bar: &Bar,
        table: &Table,
        now: Timestamp,
    ) -> bool {
        let closes = bar.ts.plus_millis(key.timeframe.as_millis());
        let forming = table.closed.is_none() && closes > now;
        if forming {
            self.read_again(series, Again { at: closes, since: bar.ts, announced: bar.ts });
        }
        forming
    }
}
