//! The bars of one series, each answered in its own terms.
//!
//! Behind a split or the like the bars before it are taken as changed by it. Features are never rescaled: they begin anew
//! from the bars that are kept, adjusted, so that they are what a replay of adjusted bars gives, whatever they compute. A
//! bar is always answered in the terms of the adjustments that are in force when it opens, however it comes: peeked at
//! before any bar behind the event has closed, late, revised, or the newest again because those behind it were
//! withdrawn. So features may have to be there in several terms at once. All that still reach a bar, or already will,
//! take it; there are more than one only around an event.

use super::{BARS_KEPT, Known, Part, SeriesState, WITHDRAWN_KEPT, bars_kept_to_adjust};
use crate::domain::{Bar, PriceChange, SeriesAdjustments, Timestamp};
use crate::feature::series::SeriesFeatures;

/// The features of a series over bars adjusted by the first so many of its adjustments.
#[derive(Default)]
pub(super) struct Terms {
    pub(super) by: usize,
    /// Of each part.
    pub(super) features: Vec<SeriesFeatures>,
}

impl Terms {
    fn newest(&self) -> Option<Timestamp> {
        self.features.first().and_then(SeriesFeatures::newest)
    }

    fn reaches(&self, ts: Timestamp) -> bool {
        self.features.iter().all(|features| features.reaches(ts))
    }
}

impl SeriesState {
    /// Takes in a bar that is newer than all before; its revision, which is 0 where it never was withdrawn, and which
    /// adjustments come in force with it, where some do.
    pub(in super::super) fn take_next(&mut self, bar: &Bar) -> (u32, Option<String>) {
        let by = self.adjustments.terms_at(bar.ts);
        let mut at = self.stand_at(by);
        for terms in &mut self.terms[at..] {
            let bar = self.adjustments.adjusted(bar, terms.by);
            terms.features.iter_mut().for_each(|features| features.take_next(&bar));
        }
        if at > 0 {
            at = self.forget_before(at);
        }
        debug_assert_eq!(self.terms[at].by, by);
        let news = !self.bars.is_empty() && self.stands < by;
        let in_force = news.then(|| self.what_came_in_force(by));
        if self.stands != by {
            self.stands = by;
            self.set_bars_max();
        }
        while self.bars.len() >= self.bars_max {
            self.bars.pop_front();
        }
        let revision = self.first_revision(bar.ts);
        self.bars.push_back(Known { bar: *bar, revision });
        (revision, in_force)
    }

    /// In words, up to the first `by` adjustments.
    fn what_came_in_force(&self, by: usize) -> String {
        let events = self.adjustments.all()[self.stands..by].iter().map(|event| {
            let price = match event.price {
                PriceChange::Times(factor) => format!("times {factor}"),
                PriceChange::Plus(difference) => format!("{difference:+}"),
            };
            format!("from {} on earlier prices are taken {price}, volumes times {}", event.from, event.volume)
        });
        let bars = self.bars.len();
        format!("in force: {}; {bars} bars were taken anew", events.collect::<Vec<_>>().join("; "))
    }

    /// Sets the newest bar's answers aside for what would be, if `bar`, which is newer, closed as it is now. What is known
    /// of closed bars stays as it is.
    pub(in super::super) fn peek(&mut self, bar: &Bar) {
        self.peeked = self.adjustments.terms_at(bar.ts).max(self.stands);
        // Those of an event that comes in force with the bar are begun once, and go on beside the others until it has.
        let at = self.stand_at(self.peeked);
        let bar = self.adjustments.adjusted(bar, self.peeked);
        self.terms[at].features.iter_mut().for_each(|features| features.peek(&bar));
    }

    /// Goes back to before a changed or late bar. Returns how many bars are to be taken anew, it and those behind it;
    /// `None`, and nothing changed, where it comes too late.
    pub(in super::super) fn rewind(&mut self, bar: &Bar) -> Option<usize> {
        let first = self.stand_from(bar.ts);
        if !self.terms[first..].iter().all(|terms| terms.reaches(bar.ts)) {
            return None;
        }
        for terms in &mut self.terms[first..] {
            let bar = self.adjustments.adjusted(bar, terms.by);
            for features in &mut terms.features {
                features.rewind(&bar);
            }
        }
        let revision = self.first_revision(bar.ts);
        let at = self.bars.partition_point(|known| known.bar.ts < bar.ts);
        self.bars.range_mut(at..).for_each(|known| known.revision += 1);
        match self.bars.get_mut(at).filter(|known| known.bar.ts == bar.ts) {
            Some(known) => known.bar = *bar,
            None => self.bars.insert(at, Known { bar: *bar, revision }),
        }
        Some(self.bars.len() - at)
    }

    /// Takes a bar out. Gives it, its revision, and how many bars are to be taken anew, those behind it; `None` for these
    /// where it is older than what can be changed: the series begins anew from the bars that are kept then, and none is
    /// answered anew. `None` for all where it is not there.
    pub(in super::super) fn withdraw(&mut self, ts: Timestamp) -> Option<(Bar, u32, Option<usize>)> {
        let at = self.bars.binary_search_by_key(&ts, |known| known.bar.ts).ok()?;
        let first = self.stand_from(ts);
        let Known { bar, revision } = self.bars.remove(at)?;
        if self.withdrawn.len() == WITHDRAWN_KEPT {
            self.withdrawn.pop_front();
        }
        self.withdrawn.push_back((ts, revision + 1));
        if !self.terms[first..].iter().all(|terms| terms.reaches(ts)) {
            self.begin_anew();
            return Some((bar, revision, None));
        }
        self.bars.range_mut(at..).for_each(|known| known.revision += 1);
        for features in self.terms[first..].iter_mut().flat_map(|terms| &mut terms.features) {
            features.withdraw(ts);
        }
        let anew = self.bars.len() - at;
        // Where an event's first bar was the newest, it is in force no more.
        self.stand_at_newest();
        Some((bar, revision, Some(anew)))
    }

    /// Takes the bar anew that has `behind` newer ones, and says which it is; after a rewind each is taken, the oldest
    /// first. What is collected then is what a replay gives at this bar.
    pub(in super::super) fn retake(&mut self, behind: usize) -> (Bar, u32) {
        let (bar, revision) = self.stands(behind);
        self.stands = self.adjustments.terms_at(bar.ts);
        for at in self.terms_from(self.stands)..self.terms.len() {
            let beyond = self.beyond(self.terms[at].by);
            let behind = behind.saturating_sub(beyond);
            self.terms[at].features.iter_mut().for_each(|features| features.retake(behind));
        }
        (bar, revision)
    }

    /// The bar that has `behind` newer ones, and how often it has been answered anew.
    pub(in super::super) fn stands(&self, behind: usize) -> (Bar, u32) {
        let known = self.bars.iter().rev().nth(behind);
        known.map_or_else(|| (Bar::UNKNOWN, 0), |known| (known.bar, known.revision))
    }

    /// The open time of the newest bar.
    pub(in super::super) fn newest(&self) -> Option<Timestamp> {
        self.answering(false).newest()
    }

    /// The terms of the bar that was peeked at, if `provisional`, or of the one that is answered.
    pub(super) fn answering(&self, provisional: bool) -> &Terms {
        &self.terms[self.terms_from(if provisional { self.peeked } else { self.stands })]
    }

    /// Forgets all bars.
    pub(in super::super) fn reset(&mut self) {
        self.bars.clear();
        self.terms.retain(|terms| terms.by == self.stands);
        self.terms.iter_mut().flat_map(|terms| &mut terms.features).for_each(SeriesFeatures::reset);
        self.stand_at(self.stands);
    }

    /// Goes on with other adjustments. Where those change that came in force among the bars that are kept, these are taken
    /// anew: how many they are. The others are to come, or lie so far back that nothing here knows of them.
    pub(super) fn set_adjustments(&mut self, adjustments: SeriesAdjustments) -> Option<usize> {
        if adjustments == self.adjustments {
            return None;
        }
        let before = std::mem::replace(&mut self.adjustments, adjustments);
        let (Some(oldest), Some(newest)) = (self.bars.front(), self.bars.back()) else {
            self.begin_anew();
            return None;
        };
        let among = |of: &SeriesAdjustments| of.terms_at(oldest.bar.ts)..of.terms_at(newest.bar.ts);
        let (were, are) = (among(&before), among(&self.adjustments));
        let same = before.all()[were.clone()] == self.adjustments.all()[are.clone()];
        if same {
            // What no bar that is kept is answered in is begun anew, should one come that is.
            self.terms.retain(|terms| (were.start..=were.end).contains(&terms.by));
            self.terms.iter_mut().for_each(|terms| terms.by = terms.by - were.start + are.start);
            self.stands = are.end;
        } else {
            self.begin_anew();
        }
        self.set_bars_max();
        (!same).then_some(self.bars.len())
    }

    /// Begins anew from the bars that are kept.
    fn begin_anew(&mut self) {
        self.terms.clear();
        self.stand_at_newest();
    }

    fn stand_at_newest(&mut self) {
        let by = self.bars.back().map_or(0, |known| self.adjustments.terms_at(known.bar.ts));
        self.stand_at(by);
        self.stands = by;
        self.set_bars_max();
    }

    /// Where the terms of the first `by` adjustments are, which begin from the bars that are kept where there were none.
    fn stand_at(&mut self, by: usize) -> usize {
        let at = self.terms_from(by);
        if self.terms.get(at).is_none_or(|terms| terms.by != by) {
            let features = self.parts.iter().map(|part| self.begun(part, by)).collect();
            self.terms.insert(at, Terms { by, features });
        }
        at
    }

    /// Sees to it that there are terms for the bar at `ts` and for all behind it; where the first of them are.
    fn stand_from(&mut self, ts: Timestamp) -> usize {
        let from = self.bars.partition_point(|known| known.bar.ts < ts);
        for at in from..self.bars.len() {
            self.stand_at(self.adjustments.terms_at(self.bars[at].bar.ts));
        }
        self.stand_at(self.adjustments.terms_at(ts))
    }

    /// Where the first terms are of at least `by` adjustments.
    fn terms_from(&self, by: usize) -> usize {
        self.terms.partition_point(|terms| terms.by < by)
    }

    /// A part's features in the terms of the first `by` adjustments, begun from the bars that are kept.
    pub(super) fn begun(&self, part: &Part, by: usize) -> SeriesFeatures {
        let mut features = part.features(&self.rules);
        let before_the_next = |known: &&Known| self.adjustments.terms_at(known.bar.ts) <= by;
        for known in self.bars.iter().take_while(before_the_next) {
            features.take_next(&self.adjustments.adjusted(&known.bar, by));
        }
        features
    }

    /// How many of the bars that are kept stand behind the terms of the first `by` adjustments.
    fn beyond(&self, by: usize) -> usize {
        let beyond = |known: &&Known| self.adjustments.terms_at(known.bar.ts) > by;
        self.bars.iter().rev().take_while(beyond).count()
    }

    /// Forgets the terms before those at `at` that no bar which can still change is answered in; where those are then.
    fn forget_before(&mut self, at: usize) -> usize {
        let in_force = &self.terms[at];
        let is_needed = |terms: &Terms| terms.newest().is_some_and(|ts| in_force.reaches(ts));
        let gone = self.terms[..at].iter().take_while(|terms| !is_needed(terms)).count();
        self.terms.drain(..gone);
        at - gone
    }

    /// Where adjustments are to come, keeps what features take to go on behind them as if they had never been otherwise.
    pub(super) fn set_bars_max(&mut self) {
        self.bars_max = BARS_KEPT.max(self.rules.revision_bars);
        if self.stands < self.adjustments.all().len() {
            let of = |part: &Part| bars_kept_to_adjust(&part.plan, &self.rules, part.rows_max);
            self.bars_max = self.parts.iter().map(of).fold(self.bars_max, usize::max);
        }
        if self.bars.capacity() > 2 * self.bars_max {
            self.bars.drain(..self.bars.len().saturating_sub(self.bars_max));
            self.bars.shrink_to(self.bars_max);
        }
    }

    /// The revision of a bar that is not there.
    fn first_revision(&self, ts: Timestamp) -> u32 {
        self.withdrawn.iter().rev().find(|(known, _)| *known == ts).map_or(0, |(_, next)| *next)
    }
}
