//! Which events a client of the stream wants.

use super::super::recent::EventKey;
use serde::Deserialize;

/// The most entries of a list, and the longest of them.
const ENTRIES_MAX: usize = 10_000;
const ENTRY_BYTES_MAX: usize = 128;

/// What a client asks for; an empty list is everything, `*` in an entry stands for any characters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Symbols.
    pub symbols: Vec<String>,
    /// Timeframes, as they are shown (`1m`).
    pub timeframes: Vec<String>,
    /// Horizons, in bars.
    pub horizons: Vec<u32>,
    /// Models.
    pub models: Vec<String>,
    /// Whether outcomes without a prediction are wanted too.
    pub refusals: bool,
}

/// [`Wanted`], with what it said of each key so far.
#[derive(Debug, Default)]
pub struct Filter {
    wanted: Wanted,
    /// By line: unknown, no, yes.
    known: Vec<Option<bool>>,
}

impl Wanted {
    /// # Errors
    /// When a list is too long, or an entry of it.
    pub fn check(&self) -> Result<(), String> {
        for (name, list) in
            [("symbols", &self.symbols), ("timeframes", &self.timeframes), ("models", &self.models)]
        {
            if list.len() > ENTRIES_MAX || list.iter().any(|entry| entry.len() > ENTRY_BYTES_MAX) {
                return Err(format!(
                    "{name}: at most {ENTRIES_MAX} entries of at most {ENTRY_BYTES_MAX} bytes are allowed"
                ));
            }
        }
        if self.horizons.len() > ENTRIES_MAX {
            return Err(format!("horizons: at most {ENTRIES_MAX} entries are allowed"));
        }
        Ok(())
    }

    /// The same with every symbol that is named by an alias under its own name.
    #[must_use]
    pub fn meant(mut self, symbol_of: impl Fn(&str) -> String) -> Self {
        self.symbols.iter_mut().for_each(|symbol| *symbol = symbol_of(symbol));
        self
    }

    /// Whether an event of this key is wanted.
    pub fn takes(&self, key: &EventKey) -> bool {
        let any = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| fits(one, text));
        (key.predictions || self.refusals)
            && (self.horizons.is_empty() || self.horizons.contains(&key.horizon))
            && any(&self.symbols, &key.series.symbol)
            && any(&self.models, &key.model)
            && (self.timeframes.is_empty() || any(&self.timeframes, &key.series.timeframe.to_string()))
    }
}

impl Filter {
    /// A filter for what is wanted.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, known: Vec::new() }
    }

    /// [`Wanted::takes`], remembered by the dense number of the key.
    pub fn takes(&mut self, line: u32, key: &EventKey) -> bool {
        let at = line as usize;
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        *self.known[at].get_or_insert_with(|| self.wanted.takes(key))
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters. Linear but for going back to the last `*`.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), back) {
            (Some(b'*'), _) => {
                back = Some((p, t));
                p += 1;
            }
            (Some(byte), _) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((star, from))) => {
                (p, t) = (star + 1, from + 1);
                back = Some((star, from + 1));
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_that_are_named_by_an_alias_are_wanted_under_their_own_name() {
        let symbols = ["FB", "BTC*", "ETH"].map(str::to_owned).to_vec();
        let meant = Wanted { symbols, ..Wanted::default() }
            .meant(|name| if name == "FB" { "META".to_owned() } else { name.to_owned() });
        assert_eq!(meant.symbols, ["META", "BTC*", "ETH"]);
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("BTCUSD", "BTCUSD", true),
            ("BTC*", "BTCUSD", true),
            ("*USD", "BTCUSD", true),
            ("*", "", true),
            ("B*U*D", "BTCUSD", true),
            ("B*X*D", "BTCUSD", false),
            ("BTC", "BTCUSD", false),
            ("**C**", "BTCUSD", true),
            ("", "A", false),
            ("*a*b", "aaab", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
