//! Which tables of a PostgreSQL database hold bars, and what their columns are called.

use super::notation::{Refused, toml_string, type_name};
use crate::domain::{SeriesKey, Timeframe};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The longest identifier PostgreSQL has, in bytes.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// A table of bars in a PostgreSQL database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarTable {
    /// Its name, or `schema.name`, as the database spells it; in double quotes where a part has a dot in it.
    pub name: String,
    /// The symbol of all its bars; `None` where a column says it.
    pub symbol: Option<String>,
    /// The timeframe of all its bars; `None` where a column says it.
    pub timeframe: Option<Timeframe>,
    /// What the column of the timeframe counts where it holds whole numbers: `s`, `m`, `h`, `d` or `w`.
    pub timeframe_unit: Option<char>,
    /// The names of its columns.
    pub columns: BarColumns,
}

/// What the columns of a table of bars are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarColumns {
    /// The symbol; not read where the table has one symbol.
    pub symbol: String,
    /// The timeframe; not read where the table has one timeframe.
    pub timeframe: String,
    /// When the bar opens: a time with a zone, one without (then UTC), or a whole number since 1970.
    pub ts: String,
    /// First price.
    pub open: String,
    /// Highest price.
    pub high: String,
    /// Lowest price.
    pub low: String,
    /// Last price.
    pub close: String,
    /// Traded amount.
    pub volume: String,
    /// Whether the bar is closed; `None` for the column `closed` if there is one, empty for none.
    pub closed: Option<String>,
}

impl Default for BarColumns {
    fn default() -> Self {
        let [symbol, timeframe, ts, open, high, low, close, volume] =
            ["symbol", "timeframe", "ts", "open", "high", "low", "close", "volume"].map(str::to_owned);
        Self { symbol, timeframe, ts, open, high, low, close, volume, closed: None }
    }
}

impl BarColumns {
    /// Those that always have a name, by the key that says it.
    fn named(&mut self) -> [(&'static str, &mut String); 8] {
        let Self { symbol, timeframe, ts, open, high, low, close, volume, closed: _ } = self;
        [
            ("symbol", symbol),
            ("timeframe", timeframe),
            ("ts", ts),
            ("open", open),
            ("high", high),
            ("low", low),
            ("close", close),
            ("volume", volume),
        ]
    }
}

impl BarTable {
    /// The table `name` with the columns of `trading.ohlcv`.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            symbol: None,
            timeframe: None,
            timeframe_unit: None,
            columns: BarColumns::default(),
        }
    }

    /// The parts of its name: a schema, where there is one, and the table.
    pub fn parts(&self) -> Vec<String> {
        name_parts(&self.name).unwrap_or_else(|_| vec![self.name.clone()])
    }

    /// What is wrong with it, and where.
    pub(super) fn check(&self) -> Result<(), String> {
        name_parts(&self.name)?;
        if let Some(symbol) = &self.symbol {
            SeriesKey::new(symbol, Timeframe::MINUTE).map_err(|error| error.to_string())?;
        }
        let mut columns = self.columns.clone();
        columns.named().into_iter().try_for_each(|(_, name)| identifier(name).map(drop))?;
        columns.closed.iter().filter(|name| !name.is_empty()).try_for_each(|name| identifier(name).map(drop))
    }

    /// As a value of a TOML file: only what is not as usual.
    pub(super) fn to_toml(&self) -> String {
        let mut entries = vec![format!("name = {}", toml_string(&self.name))];
        entries.extend(self.symbol.iter().map(|symbol| format!("symbol = {}", toml_string(symbol))));
        entries.extend(self.timeframe.iter().map(|timeframe| format!("timeframe = \"{timeframe}\"")));
        entries.extend(self.timeframe_unit.map(|unit| format!("timeframe_unit = \"{unit}\"")));
        let (mut columns, mut usual) = (self.columns.clone(), BarColumns::default());
        let mut renamed: Vec<String> = columns
            .named()
            .into_iter()
            .zip(usual.named())
            .filter(|((_, name), (_, usual))| name != usual)
            .map(|((key, name), _)| format!("{key} = {}", toml_string(name)))
            .collect();
        renamed.extend(self.columns.closed.iter().map(|name| format!("closed = {}", toml_string(name))));
        if !renamed.is_empty() {
            entries.push(format!("columns = {{ {} }}", renamed.join(", ")));
        }
        format!("{{ {} }}", entries.join(", "))
    }
}

/// Whether `text` may name a column.
fn identifier(text: &str) -> Result<&str, String> {
    let fits = !text.is_empty() && text.len() <= IDENTIFIER_BYTES_MAX && !text.contains('\0');
    fits.then_some(text).ok_or_else(|| format!("a name has 1 to {IDENTIFIER_BYTES_MAX} bytes"))
}

/// `name`, `schema.name`, `"a.b"."c"`.
fn name_parts(name: &str) -> Result<Vec<String>, String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            // Twice, it is part of the name.
            '"' if quoted && characters.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    if quoted || parts.len() > 2 || parts.iter().any(|part| identifier(part).is_err()) {
        let problem = format!("a table is NAME or SCHEMA.NAME, each 1 to {IDENTIFIER_BYTES_MAX} bytes");
        return Err(format!("{problem}, in double quotes where it has a dot in it"));
    }
    Ok(parts)
}

/// Reads tables as a TOML file has them: an array of names and tables.
pub(super) fn of_toml(entries: &DeArray<'_>) -> Result<Vec<BarTable>, Vec<Refused>> {
    let mut reader = Reader::default();
    let mut tables = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match entry.get_ref() {
            DeValue::String(name) => tables.push(BarTable::named(name.as_ref())),
            DeValue::Table(table) => {
                let read = reader.table(index, table);
                if !table.contains_key("name") {
                    reader.refuse(format!("{index}.name"), entry.span(), "is missing".to_owned());
                }
                tables.push(read);
            }
            other => {
                let detail = format!("expected a table or a name, found {}", type_name(other));
                reader.refuse(index.to_string(), entry.span(), detail);
            }
        }
    }
    if reader.refused.is_empty() { Ok(tables) } else { Err(reader.refused) }
}

/// Reads tables as the environment and the command line have them: names with commas between, or what stands in TOML.
pub(super) fn of_text(text: &str) -> Result<Vec<BarTable>, Vec<Refused>> {
    let text = text.trim();
    if !text.starts_with('[') {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        return Ok(names.map(BarTable::named).collect());
    }
    let document = format!("tables = {text}");
    let refuse = |detail: String| Err(vec![Refused { entry: None, detail }]);
    match DeTable::parse(&document) {
        Ok(table) => match table.get_ref().get("tables").map(Spanned::get_ref) {
            Some(DeValue::Array(entries)) if table.get_ref().len() == 1 => {
                of_toml(entries).map_err(|refused| {
                    let whole = |Refused { entry, detail }| {
                        let detail = entry.map_or(detail.clone(), |(name, _)| format!("{name}: {detail}"));
                        Refused { entry: None, detail }
                    };
                    refused.into_iter().map(whole).collect()
                })
            }
            _ => refuse("expected an array of tables and nothing behind it".to_owned()),
        },
        Err(error) => refuse(format!("no valid TOML: {}", error.message())),
    }
}

#[derive(Default)]
struct Reader {
    refused: Vec<Refused>,
}

impl Reader {
    fn refuse(&mut self, entry: String, span: Range<usize>, detail: String) {
        self.refused.push(Refused { entry: Some((entry, span)), detail });
    }

    fn text(&mut self, entry: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.to_string());
        }
        let detail = format!("expected a string, found {}", type_name(value.get_ref()));
        self.refuse(entry.to_owned(), value.span(), detail);
        None
    }

    fn table(&mut self, index: usize, table: &DeTable<'_>) -> BarTable {
        let mut read = BarTable::named("");
        for (key, value) in table {
            let entry = format!("{index}.{}", key.get_ref());
            match (&**key.get_ref(), value.get_ref()) {
                ("name", _) => read.name = self.text(&entry, value).unwrap_or_default(),
                ("symbol", _) => read.symbol = self.text(&entry, value),
                ("timeframe", _) => match self.text(&entry, value).map(|text| text.parse()) {
                    Some(Ok(timeframe)) => read.timeframe = Some(timeframe),
                    Some(Err(error)) => self.refuse(entry, value.span(), format!("{error}")),
                    None => {}
                },
                ("timeframe_unit", _) => match self.text(&entry, value).as_deref() {
                    Some(unit @ ("s" | "m" | "h" | "d" | "w")) => read.timeframe_unit = unit.chars().next(),
                    Some(other) => {
                        let detail = format!("`{other}` is no unit: write s, m, h, d or w");
                        self.refuse(entry, value.span(), detail);
                    }
                    None => {}
                },
                ("columns", DeValue::Table(columns)) => self.columns(&entry, columns, &mut read.columns),
                ("columns", other) => {
                    let detail = format!("expected a table, found {}", type_name(other));
                    self.refuse(entry, value.span(), detail);
                }
                _ => {
                    let detail =
                        "unknown key; a table has name, symbol, timeframe, timeframe_unit and columns"
                            .to_owned();
                    self.refuse(entry, value.span(), detail);
                }
            }
        }
        read
    }

    fn columns(&mut self, entry: &str, table: &DeTable<'_>, columns: &mut BarColumns) {
        for (key, value) in table {
            let entry = format!("{entry}.{}", key.get_ref());
            let Some(text) = self.text(&entry, value) else { continue };
            if key.get_ref() == "closed" {
                columns.closed = Some(text);
                continue;
            }
            match columns.named().into_iter().find(|(name, _)| key.get_ref() == name) {
                Some((_, column)) => *column = text,
                None => {
                    let known = "symbol, timeframe, ts, open, high, low, close, volume, closed";
                    self.refuse(entry, value.span(), format!("unknown column; known are {known}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = r#"[{ name = "feeds.\"b.1m\"", symbol = "BTC/USDT", timeframe = "1m",
            columns = { ts = "open time", closed = "" } }, { name = "x" }, { name = "y", timeframe_unit = "m" }]"#;
        let tables = of_text(&text.replace('\n', " ")).ok().unwrap();
        assert_eq!(tables[0].parts(), ["feeds", "b.1m"]);
        assert_eq!(
            (tables[0].columns.ts.as_str(), tables[0].columns.closed.as_deref()),
            ("open time", Some(""))
        );
        assert_eq!(tables[1], BarTable::named("x"));
        assert_eq!(tables[2].timeframe_unit, Some('m'));
        let again = format!("[{}]", tables.iter().map(BarTable::to_toml).collect::<Vec<_>>().join(", "));
        assert_eq!(of_text(&again).ok().unwrap(), tables);
        assert_eq!(of_text("a.b, c").ok().unwrap(), [BarTable::named("a.b"), BarTable::named("c")]);
        assert!(tables.iter().all(|table| table.check().is_ok()));
    }

    #[test]
    fn what_is_wrong_is_said_where_it_is() {
        for (text, entry) in [
            ("[{ timeframe = \"1m\" }]", "0.name"),
            ("[{ name = 1 }]", "0.name"),
            ("[{ name = \"a\", timeframe = \"soon\" }]", "0.timeframe"),
            ("[\"a\", { name = \"b\", colums = {} }]", "1.colums"),
            ("[{ name = \"a\", timeframe_unit = \"M\" }]", "0.timeframe_unit"),
            ("[{ name = \"a\", columns = { opne = \"o\" } }]", "0.columns.opne"),
            ("[1]", "0"),
        ] {
            let refused = of_text(text).err().unwrap();
            assert!(refused.iter().any(|one| one.detail.starts_with(&format!("{entry}: "))), "{text}");
        }
        for text in ["[", "[]\nx = 1", "[\"a\"] b"] {
            assert!(of_text(text).is_err(), "{text}");
        }
        assert_eq!(BarTable::named("\"a\"\"b\".c").parts(), ["a\"b", "c"]);
        for name in ["", "a.b.c", ".a", "\"a", "a\0"] {
            assert!(BarTable::named(name).check().is_err(), "{name:?}");
        }
    }
}
