//! Whether a bar's numbers make sense: a pure function of the bar.

use crate::domain::{Bar, Reason, Refusal, Timeframe, Timestamp};

/// What a bar is held against besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The wall clock, where bars of the future are to be refused.
    pub now: Option<Timestamp>,
    /// How far the source's clock may be ahead, in ms.
    pub clock_skew_ms_max: i64,
    /// Whether prices may be 0 or below.
    pub any_price: bool,
}

/// The symbols whose prices may be 0 or below.
#[derive(Clone, Debug, Default)]
pub struct AnyPrice {
    symbols: Box<[Box<str>]>,
}

impl AnyPrice {
    /// Those in `symbols`, separated by commas.
    pub fn of(symbols: &str) -> Self {
        Self { symbols: symbols.split(',').map(|symbol| symbol.trim().into()).collect() }
    }

    /// Whether `symbol` is one of them.
    pub fn allows(&self, symbol: &str) -> bool {
        self.symbols.iter().any(|allowed| **allowed == *symbol)
    }
}

/// Accepts a closed bar or says why not. The first reason in the order of `Reason` is given.
///
/// # Errors
/// The reason, with the values and what is allowed.
pub fn validate(bar: &Bar, timeframe: Timeframe, limits: Limits) -> Result<(), Refusal> {
    let refuse = |reason, detail: String| Err(Refusal::new(reason, detail));
    let Bar { ts, open, high, low, close, volume } = *bar;
    let named = [("open", open), ("high", high), ("low", low), ("close", close), ("volume", volume)];
    if let Some((name, value)) = named.iter().find(|(_, value)| !value.is_finite()) {
        return refuse(Reason::NotFinite, format!("{name} is {value}: every number of a bar must be finite"));
    }
    if !limits.any_price
        && let Some((name, value)) = named[..4].iter().find(|(_, value)| *value <= 0.0)
    {
        let rule = "prices must be above 0, but of the symbols that ingest.any_price_symbols names";
        return refuse(Reason::PriceNotPositive, format!("{name} is {value}: {rule}"));
    }
    if volume < 0.0 {
        return refuse(Reason::NegativeVolume, format!("volume is {volume}: it must be 0 or more"));
    }
    if high < low {
        return refuse(Reason::HighBelowLow, format!("high {high} is below low {low}"));
    }
    if let Some((name, value)) = [named[0], named[3]].iter().find(|(_, value)| !(low..=high).contains(value))
    {
        return refuse(Reason::OutsideRange, format!("{name} {value} lies outside low {low} .. high {high}"));
    }
    if !timeframe.is_aligned(ts) {
        let grid = timeframe.open_of(ts);
        return refuse(
            Reason::Unaligned,
            format!("a {timeframe} bar cannot open at {ts}; the bar that covers this time opens at {grid}"),
        );
    }
    if let Some(now) = limits.now {
        let closes = ts.plus_millis(timeframe.as_millis());
        if closes > now.plus_millis(limits.clock_skew_ms_max) {
            let skew = limits.clock_skew_ms_max;
            return refuse(
                Reason::Future,
                format!("closes at {closes}, but it is {now}; up to {skew} ms of clock skew are allowed"),
            );
        }
    }
    Ok(())
}

/// Moves the low and high of a bar of finite numbers so that they hold its open and close.
pub fn hold_open_and_close(bar: &mut Bar) {
    if [bar.open, bar.high, bar.low, bar.close].iter().all(|price| price.is_finite()) {
        bar.high = bar.high.max(bar.open).max(bar.close);
        bar.low = bar.low.min(bar.open).min(bar.close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Bar = Bar {
        ts: Timestamp::from_secs(1_700_000_040),
        open: 10.0,
        high: 12.0,
        low: 9.0,
        close: 11.0,
        volume: 5.0,
    };

    fn verdict(bar: Bar, now_s: Option<i64>) -> Result<(), Reason> {
        let now = now_s.map(Timestamp::from_secs);
        let limits = Limits { now, clock_skew_ms_max: 2000, any_price: false };
        validate(&bar, Timeframe::MINUTE, limits).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn every_reason_has_its_bar() {
        use Reason::*;
        for (name, bar, expected) in [
            ("good", GOOD, Ok(())),
            (
                "flat and without volume",
                Bar { open: 9.0, high: 9.0, low: 9.0, close: 9.0, volume: 0.0, ..GOOD },
                Ok(()),
            ),
            ("NaN price", Bar { close: f64::NAN, ..GOOD }, Err(NotFinite)),
            ("infinite volume", Bar { volume: f64::INFINITY, ..GOOD }, Err(NotFinite)),
            ("zero price", Bar { low: 0.0, ..GOOD }, Err(PriceNotPositive)),
            ("negative price", Bar { open: -1.0, low: -1.0, ..GOOD }, Err(PriceNotPositive)),
            ("negative volume", Bar { volume: -0.1, ..GOOD }, Err(NegativeVolume)),
            ("high below low", Bar { high: 8.0, ..GOOD }, Err(HighBelowLow)),
            ("open above high", Bar { open: 12.5, ..GOOD }, Err(OutsideRange)),
            ("close below low", Bar { close: 8.5, ..GOOD }, Err(OutsideRange)),
            ("between the minutes", Bar { ts: GOOD.ts.plus_millis(1), ..GOOD }, Err(Unaligned)),
        ] {
            assert_eq!(verdict(bar, None), expected, "{name}");
        }
    }

    #[test]
    fn a_bar_of_the_future_is_refused_beyond_the_clock_skew() {
        let closes_s = GOOD.ts.as_secs() + 60;
        assert_eq!(verdict(GOOD, Some(closes_s)), Ok(()));
        assert_eq!(verdict(GOOD, Some(closes_s - 2)), Ok(()));
        assert_eq!(verdict(GOOD, Some(closes_s - 3)), Err(Reason::Future));
    }

    #[test]
    fn prices_of_zero_and_below_are_for_the_symbols_that_are_named() {
        let any_price = AnyPrice::of("CL, BRENT-WTI");
        for (symbol, allowed) in [("CL", true), ("BRENT-WTI", true), ("BRENT", false), ("", false)] {
            let limits = Limits { now: None, clock_skew_ms_max: 0, any_price: any_price.allows(symbol) };
            for bar in [Bar { open: -1.0, low: -37.63, ..GOOD }, Bar { low: 0.0, ..GOOD }] {
                let verdict = validate(&bar, Timeframe::MINUTE, limits).map_err(|refusal| refusal.reason);
                let expected = if allowed { Ok(()) } else { Err(Reason::PriceNotPositive) };
                assert_eq!(verdict, expected, "{symbol}: {bar:?}");
            }
        }
        assert!(!AnyPrice::of("").allows("CL"));
    }
}
