//! One symbol's minutes: how its volatility, its price and its trading go on.

use super::Instrument;
use super::random::{Autoregression, Random, exp, fnv1a, power_of_ten};
use crate::domain::{Bar, SeriesKey, Timestamp};
use std::sync::Arc;

const MINUTES_PER_DAY: i64 = 1440;
/// Trades per minute: enough for highs and lows that look like a path's, not like a formula's.
pub(super) const STEPS: usize = 12;

/// Share of the noise variance that fades again.
const TRANSITORY_SHARE: f64 = 0.5;
/// Share of the transitory part that is gone after a minute: half-life about 11 minutes.
const TRANSITORY_DECAY: f64 = 0.06;
/// Share of a minute's lasting move that the next minute repeats.
const MOMENTUM_GAIN: f64 = 0.08;
/// Share of the momentum that is left after a minute: half-life a minute.
const MOMENTUM_KEPT: f64 = 0.5;
/// Pull of the fair value to its starting point, per minute: half-life about 20 days.
const FAIR_VALUE_PULL: f64 = 2.4e-5;

/// A symbol's own volatility: half-life about half an hour.
const OWN_VOLATILITY: Autoregression = Autoregression { kept: 0.977, deviation: 0.30 };
/// Trading beyond what volatility explains: half-life about a quarter of an hour.
const OWN_ACTIVITY: Autoregression = Autoregression { kept: 0.955, deviation: 0.30 };
/// The logarithm of a volatility stays within this many units of its mean.
const LOG_VOLATILITY_MAX: f64 = 1.5;
/// One minute in this many has a jump.
const JUMP_ONE_IN: u64 = 4096;
/// Size of a jump, in standard deviations of a minute.
const JUMP_SIZE: f64 = 6.0;

/// What one minute has in common for all symbols.
pub(super) struct Minute {
    /// Open time of the bar it belongs to.
    pub(super) bar_ts: Timestamp,
    /// Whether it is the bar's last.
    pub(super) closes_bar: bool,
    /// Relative trading at this time of day.
    pub(super) season: f64,
    /// Logarithm of the shared volatility.
    pub(super) volatility: f64,
    /// The market's own move, by step.
    pub(super) shocks: [f64; STEPS],
}

/// Relative volume by time of day, UTC: a U with mean 1, from 0.55 at noon to 1.9 at midnight.
pub(super) fn season(ts: Timestamp) -> f64 {
    let minute = ts.as_secs().div_euclid(60).rem_euclid(MINUTES_PER_DAY);
    let x = minute as f64 / 720.0 - 1.0;
    0.55 + 1.35 * x * x
}

/// One symbol's state.
#[derive(Clone, Debug)]
pub(super) struct Trader {
    series: Arc<SeriesKey>,
    random: Random,
    /// What it was made of.
    instrument: Instrument,
    /// Mean traded value per minute.
    quote_volume: f64,
    /// Ticks per unit of price.
    ticks: f64,
    /// Lots per unit of volume.
    lots: f64,
    /// Share of its noise that is its own.
    own_share: f64,
    /// Logarithm of its own volatility, relative to its mean.
    volatility: f64,
    /// Logarithm of its own trading, relative to its mean.
    activity: f64,
    /// Logarithm of the fair value over the starting price.
    fair_value: f64,
    /// Logarithm of the price over the fair value.
    deviation: f64,
    /// The return that is expected of the next minute.
    momentum: f64,
    /// The bar that is being formed.
    forming: Option<Bar>,
}

impl Trader {
    pub(super) fn new(series: Arc<SeriesKey>, instrument: Instrument, quote_volume: f64, seed: u64) -> Self {
        Self {
            series,
            random: Random::new(seed ^ fnv1a(&instrument.symbol)),
            quote_volume,
            ticks: power_of_ten(instrument.price_decimals),
            lots: power_of_ten(instrument.volume_decimals),
            own_share: (1.0 - instrument.market_beta * instrument.market_beta).sqrt(),
            volatility: 0.0,
            activity: 0.0,
            fair_value: 0.0,
            deviation: 0.0,
            momentum: 0.0,
            forming: None,
            instrument,
        }
    }

    /// Whose bars it makes.
    pub(super) fn series(&self) -> &Arc<SeriesKey> {
        &self.series
    }

    /// Trades through one minute; the bar, when it closes with it.
    pub(super) fn trade(&mut self, minute: &Minute) -> Option<Bar> {
        let bar = self.minute_bar(minute);
        let formed = match self.forming {
            None => bar,
            Some(before) => Bar {
                high: before.high.max(bar.high),
                low: before.low.min(bar.low),
                close: bar.close,
                volume: self.to_lots(before.volume + bar.volume),
                ..before
            },
        };
        self.forming = (!minute.closes_bar).then_some(formed);
        minute.closes_bar.then_some(formed)
    }

    fn minute_bar(&mut self, minute: &Minute) -> Bar {
        self.volatility = OWN_VOLATILITY.next(self.volatility, &mut self.random);
        self.activity = OWN_ACTIVITY.next(self.activity, &mut self.random);
        let excess = (minute.volatility + self.volatility).clamp(-LOG_VOLATILITY_MAX, LOG_VOLATILITY_MAX);
        let sigma = self.instrument.volatility * exp(excess) * minute.season.sqrt();

        let jump = self.jump();
        let per_step = sigma / (STEPS as f64).sqrt();
        let lasting_noise = per_step * (1.0 - TRANSITORY_SHARE).sqrt();
        let transitory_noise = per_step * TRANSITORY_SHARE.sqrt();
        let start = self.fair_value;
        let (mut first, mut last) = (0.0, 0.0);
        let (mut highest, mut lowest) = (f64::NEG_INFINITY, f64::INFINITY);
        for (step, shock) in minute.shocks.iter().enumerate() {
            let own = self.own_share * self.random.gaussian();
            let mut noise = lasting_noise * (self.instrument.market_beta * shock + own);
            if jump.0 == step {
                noise += jump.1 * sigma;
            }
            self.fair_value += self.momentum / STEPS as f64 + noise;
            self.deviation -= self.deviation * (TRANSITORY_DECAY / STEPS as f64);
            self.deviation += transitory_noise * self.random.gaussian();
            last = self.fair_value + self.deviation;
            if step == 0 {
                first = last;
            }
            highest = last.max(highest);
            lowest = last.min(lowest);
        }
        let moved = self.fair_value - start - self.momentum;
        self.momentum = MOMENTUM_KEPT * self.momentum + MOMENTUM_GAIN * moved;
        self.fair_value -= FAIR_VALUE_PULL * self.fair_value;

        let (open, close) = (self.to_price(first), self.to_price(last));
        Bar {
            ts: minute.bar_ts,
            open,
            // Rounding twice may not keep the order: the bar's own ends are the authority.
            high: self.to_price(highest).max(open).max(close),
            low: self.to_price(lowest).min(open).min(close),
            close,
            volume: self.volume(minute, excess, (moved / sigma.max(f64::MIN_POSITIVE)).abs(), close),
        }
    }

    /// The step of this minute's jump and its size in standard deviations; beyond the last step for none.
    fn jump(&mut self) -> (usize, f64) {
        let bits = self.random.bits();
        if !(bits >> 32).is_multiple_of(JUMP_ONE_IN) {
            return (STEPS, 0.0);
        }
        let size = if bits & 1 == 0 { JUMP_SIZE } else { -JUMP_SIZE };
        ((bits >> 1) as usize % STEPS, size)
    }

    /// Trading grows with the time of day's season, with volatility, and with the minute's own move.
    fn volume(&mut self, minute: &Minute, excess: f64, move_size: f64, price: f64) -> f64 {
        let grown = exp(0.7 * excess + self.activity + 0.25 * self.random.gaussian());
        let quote = self.quote_volume * minute.season * grown * (0.6 + 0.4 * move_size.min(8.0));
        self.to_lots(quote / price)
    }

    fn to_price(&self, log: f64) -> f64 {
        (self.instrument.price * exp(log) * self.ticks).round().max(1.0) / self.ticks
    }

    fn to_lots(&self, volume: f64) -> f64 {
        (volume * self.lots).round() / self.lots
    }
}
