//! What the database announces: which series have new bars, and a lone bar itself.
//!
//! `[table's oid, [symbol, timeframe, time of the first], ...]` names series; where a fourth part follows, it is the bar's
//! open, high, low, close and volume as 80 hexadecimal digits, five IEEE 754 numbers in network order.

use super::look::{Ask, Named, Told};
use super::table::{Clock, Table};
use crate::database::Client;
use crate::domain::{Bar, Timestamp};
use postgres::Error;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::Oid;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Announcements that came.
#[derive(Debug)]
pub(super) struct Heard {
    /// None came.
    pub nothing: bool,
    /// One does not say what it is about.
    pub anything: bool,
    /// Bars, in the order of their commits.
    pub told: Vec<Told>,
    /// Series with bars that are to be read.
    pub asks: Vec<Ask>,
}

/// Waits for the first announcement, and takes what came with it.
pub(super) fn listen(client: &mut Client, tables: &[Arc<Table>], wait: Duration) -> Result<Heard, Error> {
    let mut notifications = client.driver().notifications();
    let mut heard = Heard { nothing: true, anything: false, told: Vec::new(), asks: Vec::new() };
    if !wait.is_zero()
        && let Some(first) = notifications.timeout_iter(wait).next()?
    {
        heard.take(first.payload(), tables);
    }
    let mut others = notifications.iter();
    while let Some(other) = others.next()? {
        heard.take(other.payload(), tables);
    }
    Ok(heard)
}

impl Heard {
    fn take(&mut self, payload: &str, tables: &[Arc<Table>]) {
        self.nothing = false;
        let values: Vec<Value> = serde_json::from_str(payload).unwrap_or_default();
        let Some((oid, series)) = values.split_first() else { return self.anything = true };
        let Some(oid) = oid.as_u64().and_then(|oid| Oid::try_from(oid).ok()) else {
            return self.anything = true;
        };
        // Somebody else's table is none of ours.
        let Some(table) = tables.iter().position(|table| table.oid == oid) else { return };
        for one in series {
            if self.one(one, table, &tables[table]).is_none() {
                self.anything = true;
            }
        }
    }

    /// Takes one series of table `number`; `None` where it does not say which.
    fn one(&mut self, one: &Value, number: usize, table: &Table) -> Option<()> {
        let (first, numbers) = match one.as_array()?.as_slice() {
            [first @ .., numbers] if first.len() == 3 => (first, bits(numbers)),
            first => (first, None),
        };
        let [symbol, timeframe, time] = first else { return None };
        let (symbol, timeframe, time) = (symbol.as_str()?, timeframe.as_str()?, time.as_i64()?);
        let since = match table.clock {
            Clock::Whole => match table.times.lock().read_integer(time) {
                Ok(since) => since,
                Err(_) => return Some(()),
            },
            _ => Timestamp::from_millis(time),
        };
        let series = Named { table: number, symbol: symbol.into(), timeframe: timeframe.into() };
        match numbers {
            Some([open, high, low, close, volume]) => {
                self.told.push(Told { series, bar: Bar { ts: since, open, high, low, close, volume } });
            }
            None => self.asks.push(Ask { series, since, announced: since }),
        }
        Some(())
    }
}

/// Five numbers of 16 hexadecimal digits each.
fn bits(text: &Value) -> Option<[f64; 5]> {
    let text = text.as_str().filter(|text| text.len() == 80 && text.is_ascii())?;
    let mut numbers = [0.0; 5];
    for (place, number) in numbers.iter_mut().enumerate() {
        *number = f64::from_bits(u64::from_str_radix(&text[place * 16..][..16], 16).ok()?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::postgres::tests::table;

    fn heard(payload: &str) -> String {
        let mut heard = Heard { nothing: true, anything: false, told: Vec::new(), asks: Vec::new() };
        heard.take(payload, &[Arc::new(table(true))]);
        assert!(!heard.nothing);
        let told = heard.told.iter().map(|told| format!("{} {}", told.series.symbol, told.bar.close));
        let asks = heard.asks.iter().map(|ask| format!("{}? {}", ask.series.symbol, ask.since.as_millis()));
        let anything = heard.anything.then(|| "anything".to_owned());
        told.chain(asks).chain(anything).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn an_announcement_names_series_or_tells_a_bar_or_says_that_there_is_something() {
        let hex =
            |close: f64| [1.0, 2.0, 0.5, close, 10.0].map(|n: f64| format!("{:016x}", n.to_bits())).concat();
        let (bits, tiny) = (hex(1.5), hex(f64::MIN_POSITIVE / 8.0));
        assert_eq!(heard(&format!(r#"[1,["A","1m",60000,"{bits}"]]"#)), "A 1.5");
        let tiny = heard(&format!(r#"[1,["A","1m",60000,"{tiny}"]]"#));
        assert_eq!(tiny, format!("A {}", f64::MIN_POSITIVE / 8.0), "bit for bit");
        assert_eq!(heard(r#"[1,["A","1m",60000],["B","1m",0]]"#), "A? 60000, B? 0");
        assert_eq!(heard(r#"[2,["A","1m",60000]]"#), "", "another table");
        for vague in
            ["", "{}", "[]", "[1,null]", r#"["x",["A","1m",1]]"#, r#"[1,["A","1m"]]"#, r#"[1,["A",5,1]]"#]
        {
            assert_eq!(heard(vague), "anything", "{vague}");
        }
        // Numbers that are none are asked for.
        let long = format!("{bits}0");
        for odd in ["null", "5", r#""""#, &format!("\"{long}\""), &format!("\"{}\"", &bits.replace('3', "g"))]
        {
            assert_eq!(heard(&format!(r#"[1,["A","1m",60000,{odd}]]"#)), "A? 60000", "{odd}");
        }
        assert_eq!(heard(&format!(r#"[1,["A","1m",1,"{bits}",5]]"#)), "anything");
    }
}
