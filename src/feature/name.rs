//! Reads feature names.

use super::FeatureError;
use super::catalogue::{Arguments, FAMILIES, Family, FirstBars, Parameter, SETS, set};
use crate::domain::{Stability, Timeframe};

/// A name and the timeframe of the bars it is computed over: what stands behind its `@`, or `own`.
pub fn coarser(name: &str, own: Timeframe) -> Result<(&str, Timeframe), FeatureError> {
    let Some((base, behind)) = name.split_once('@') else { return Ok((name, own)) };
    // One spelling for every timeframe, because names are compared as text: 1h, not 60m.
    let written = |timeframe: &Timeframe| timeframe.to_string() == behind;
    match behind.parse::<Timeframe>().ok().filter(written) {
        Some(timeframe) if timeframe > own && timeframe.as_secs().is_multiple_of(own.as_secs()) => {
            Ok((base, timeframe))
        }
        _ => {
            let allowed = format!(
                "a multiple of the series' own {own} in its shortest spelling, such as @{}",
                own.times(4)
            );
            Err(FeatureError::Coarser { name: name.to_owned(), allowed })
        }
    }
}

/// The family and the parameters that `name` asks for.
pub fn parse(name: &str) -> Result<(&'static Family, Arguments), FeatureError> {
    if name.is_empty() {
        return Err(FeatureError::Empty);
    }
    if let Some([example, ..]) = set(name) {
        return Err(FeatureError::Set { name: name.to_owned(), example });
    }
    let unknown = || FeatureError::Unknown { name: name.to_owned(), closest: closest(name) };
    // The longest match: `macd_signal_12_26_9` belongs to `macd_signal`, not to `macd`.
    let (family, rest) = FAMILIES
        .iter()
        .filter_map(|family| Some((family, tail(name, family.name)?)))
        .max_by_key(|(family, _)| family.name.len())
        .ok_or_else(unknown)?;
    let values: Vec<&str> = rest.map_or_else(Vec::new, |rest| rest.split('_').collect());
    let numeric = |value: &&str| value.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if !values.iter().all(numeric) {
        return Err(unknown());
    }
    let defaults = values.is_empty() && family.bare;
    if !defaults && values.len() != family.parameters.len() {
        let usage = match family.parameters {
            [] => family.pattern(),
            _ => format!("{}, such as {}", family.pattern(), family.example()),
        };
        return Err(FeatureError::Parameters { name: name.to_owned(), given: values.len(), usage });
    }
    let mut arguments = Arguments::default();
    let mut next = 0;
    for (i, parameter) in family.parameters.iter().enumerate() {
        let value = match values.get(i) {
            Some(text) => number(text, parameter).ok_or_else(|| refused(name, text, parameter))?,
            None => parameter.default,
        };
        if parameter.whole {
            arguments.n[next] = value as usize;
            next += 1;
        } else {
            arguments.k = value;
        }
    }
    let [fast, slow, _] = arguments.n;
    if family.is_ordered() && fast >= slow {
        return Err(FeatureError::Order { name: name.to_owned(), fast, slow });
    }
    Ok((family, arguments))
}

/// How long the feature called `name` warms up, in bars of its own timeframe (a name without `@`).
///
/// # Errors
/// When the name is unknown or a parameter out of range.
pub fn warm_up(name: &str) -> Result<FirstBars, FeatureError> {
    let (family, arguments) = parse(name)?;
    Ok(FirstBars {
        first_defined: family.first_defined(&arguments),
        stable_4: family.settled(&arguments, Stability::Digits4),
        stable_8: family.settled(&arguments, Stability::Digits8),
    })
}

/// What follows `stem` in `name`: nothing, or what is behind an underscore; `None` if it does not begin so.
fn tail<'n>(name: &'n str, stem: &str) -> Option<Option<&'n str>> {
    let rest = name.strip_prefix(stem)?;
    if rest.is_empty() { Some(None) } else { rest.strip_prefix('_').map(Some) }
}

/// Plain digits, with one point at most where a fraction is allowed; within the parameter's range.
fn number(text: &str, parameter: &Parameter) -> Option<f64> {
    let plain = |c: char| c.is_ascii_digit() || (c == '.' && !parameter.whole);
    // One spelling for every number, because names are compared as text. 0.5 is not a leading zero.
    let leading_zero = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
    if !text.chars().all(plain) || leading_zero {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    (parameter.min..=parameter.max).contains(&value).then_some(value)
}

fn refused(name: &str, value: &str, parameter: &Parameter) -> FeatureError {
    let kind = if parameter.whole { "a whole number" } else { "a number" };
    let allowed = format!("{kind} from {} to {}, in plain digits", parameter.min, parameter.max);
    FeatureError::Value { name: name.to_owned(), parameter: parameter.name, value: value.to_owned(), allowed }
}

/// The named set, or a feature of one, with the smallest edit distance, whatever the case; the first of them in a draw.
/// `None` where it would take half of what was written to turn one into the other: nobody meant that.
fn closest(name: &str) -> Option<&'static str> {
    // A misspelling is short: what is longer need not be compared to its end.
    let name: Vec<char> = name.chars().take(64).map(|c| c.to_ascii_lowercase()).collect();
    let known =
        SETS.iter().map(|(set, _)| *set).chain(SETS.iter().flat_map(|(_, names)| names.iter().copied()));
    let (distance, closest) =
        known.map(|known| (edits(&name, known), known)).min_by_key(|(distance, _)| *distance)?;
    (2 * distance < name.len()).then_some(closest)
}

/// Levenshtein's distance: insertions, deletions and replacements that turn `a` into `b`.
fn edits(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, b) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, a) in a.iter().enumerate() {
            let replaced = diagonal + usize::from(*a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_to_families_and_numbers() {
        for (name, family, n, k) in [
            ("rsi_14", "rsi", [14, 0, 0], 0.0),
            ("sma_10000", "sma", [10_000, 0, 0], 0.0),
            ("macd", "macd", [12, 26, 9], 0.0),
            ("macd_signal", "macd_signal", [12, 26, 9], 0.0),
            ("macd_signal_5_35_1", "macd_signal", [5, 35, 1], 0.0),
            ("macd_3_10_16", "macd", [3, 10, 16], 0.0),
            ("bb_pctb", "bb_pctb", [20, 0, 0], 2.0),
            ("bb_pctb_50_2.5", "bb_pctb", [50, 0, 0], 2.5),
            ("stoch_k_5_1_1", "stoch_k", [5, 1, 1], 0.0),
            ("vol_ratio_7", "vol_ratio", [7, 0, 0], 0.0),
            ("obv", "obv", [0, 0, 0], 0.0),
        ] {
            let (found, arguments) = parse(name).unwrap();
            assert_eq!((found.name, arguments.n, arguments.k), (family, n, k), "{name}");
        }
    }

    #[test]
    fn what_is_refused_says_what_would_be_taken() {
        for (name, text) in [
            ("rsi14", "`rsi14` is not a feature; the closest name is `rsi_14`"),
            ("RSI_14", "`RSI_14` is not a feature; the closest name is `rsi_14`"),
            ("macd_sginal", "`macd_sginal` is not a feature; the closest name is `macd_signal`"),
            ("rsi_x", "`rsi_x` is not a feature; the closest name is `rsi_14`"),
            ("sma_", "`sma_` is not a feature; the closest name is `sma_5`"),
            ("foo", "`foo` is not a feature; `vela features --list` shows all that there are"),
            ("defualt", "`defualt` is not a feature; the closest name is `default`"),
            ("Vela_Core_1", "`Vela_Core_1` is not a feature; the closest name is `vela-core-1`"),
            ("default", "`default` is a named set; write out which of its features, such as ret_1"),
            ("rsi", "`rsi` has 0 parameter(s): write rsi_N, such as rsi_14"),
            ("rsi_14_3", "`rsi_14_3` has 2 parameter(s): write rsi_N, such as rsi_14"),
            ("obv_5", "`obv_5` has 1 parameter(s): write obv"),
            (
                "macd_12_26",
                "`macd_12_26` has 2 parameter(s): write macd or macd_FAST_SLOW_SIGNAL, such as macd_12_26_9",
            ),
            ("rsi_0", "`rsi_0`: N is `0`; write a whole number from 1 to 10000, in plain digits"),
            ("sma_10001", "`sma_10001`: N is `10001`; write a whole number from 1 to 10000, in plain digits"),
            ("sma_-5", "`sma_-5`: N is `-5`; write a whole number from 1 to 10000, in plain digits"),
            ("sma_05", "`sma_05`: N is `05`; write a whole number from 1 to 10000, in plain digits"),
            ("sma_1e3", "`sma_1e3`: N is `1e3`; write a whole number from 1 to 10000, in plain digits"),
            ("rv_1", "`rv_1`: N is `1`; write a whole number from 2 to 10000, in plain digits"),
            ("bb_upper_20_0", "`bb_upper_20_0`: K is `0`; write a number from 0.01 to 100, in plain digits"),
            ("macd_26_12_9", "`macd_26_12_9`: FAST is 26 and SLOW is 12; FAST must be below SLOW"),
        ] {
            assert_eq!(parse(name).map(|_| ()).unwrap_err().to_string(), text);
        }
        for odd in
            ["", "_", "sma__5", "é", &"x".repeat(100_000), "rsi_99999999999999999999", "bb_mid_2_1.2.3"]
        {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_catalogue_is_consistent() {
        for family in FAMILIES {
            assert_eq!(parse(&family.example()).unwrap().0.name, family.name);
            assert!(family.parameters.len() <= 3 && !family.formula.is_empty());
            for p in family.parameters {
                assert!((p.min..=p.max).contains(&p.default), "{} {}", family.name, p.name);
            }
            let known = SETS.iter().flat_map(|(_, names)| *names);
            let used = known.clone().any(|name| parse(name).unwrap().0.name == family.name);
            assert!(used, "{} is in no named set", family.name);
        }
    }
}
