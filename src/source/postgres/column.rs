//! What a column is to a bar, and how SQL reads it so that no row can fail the statement.

/// What says which series a row belongs to.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// A column, quoted, with its type.
    Column(String, String),
    /// A column of intervals, quoted.
    Interval(String),
    /// A column of whole numbers, quoted, with its type, and the unit they count.
    Count(String, String, char),
    /// The same for all rows.
    Constant(String),
}

/// The column that says whether a bar is closed, quoted.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    pub column: String,
    pub is_boolean: bool,
}

/// A price or the volume of a bar: a column of numbers, quoted.
#[derive(Clone, Debug)]
pub(super) struct Number {
    /// Quoted.
    pub column: String,
    /// It holds numbers that no double is.
    pub is_numeric: bool,
}

/// An identifier as SQL writes it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Number {
    /// The number as a double, in a row of `alias`: the nearest there is, infinity beyond the largest, where a cast alone
    /// would fail, and with it the statement that reads, or writes, the rows beside it.
    pub(super) fn double(&self, alias: &str) -> String {
        let number = format!("{alias}.{}", self.column);
        if !self.is_numeric {
            return format!("{number}::float8");
        }
        format!(
            "CASE WHEN abs({number}) BETWEEN 5e-324 AND 1.7976931348623157e308 THEN {number}::float8
                  WHEN abs({number}) < 5e-324 THEN 0 ELSE sign({number})::float8 * float8 'Infinity' END"
        )
    }
}

impl Closed {
    /// Whether the bar in a row of `alias` is closed; what is neither yes nor no is not.
    pub(super) fn condition(&self, alias: &str) -> String {
        let Self { column, is_boolean } = self;
        if *is_boolean {
            format!("{alias}.{column}")
        } else {
            format!("lower({alias}.{column}::text) IN ('1', 't', 'true', 'y', 'yes', 'on')")
        }
    }
}

impl Part {
    /// The column, where it is one.
    pub(super) fn column(&self) -> Option<&str> {
        match self {
            Self::Column(column, _) | Self::Interval(column) | Self::Count(column, _, _) => Some(column),
            Self::Constant(_) => None,
        }
    }

    /// The condition that a row is of the series whose text is `text`.
    pub(super) fn is(&self, text: &str) -> String {
        match self {
            Self::Column(column, of_type) => format!("t.{column} = ({text})::{of_type}"),
            Self::Interval(column) => format!("t.{column} = ({text})::interval"),
            Self::Count(column, of_type, unit) => format!("t.{column} = rtrim({text}, '{unit}')::{of_type}"),
            // The parameter has to stand somewhere.
            Self::Constant(_) => format!("({text}) IS NOT NULL"),
        }
    }

    /// Its text in a row of `alias`.
    pub(super) fn text(&self, alias: &str) -> String {
        match self {
            Self::Column(column, _) => format!("{alias}.{column}::text"),
            // In seconds, whatever the reader's or the feed's IntervalStyle; months have no fixed length.
            Self::Interval(column) => {
                let interval = format!("{alias}.{column}");
                format!(
                    "CASE WHEN extract(month FROM {interval}) = 0 AND extract(year FROM {interval}) = 0
                          THEN extract(epoch FROM {interval})::bigint || 's' ELSE {interval}::text END"
                )
            }
            Self::Count(column, _, unit) => format!("({alias}.{column}::text || '{unit}')"),
            Self::Constant(constant) => format!("'{}'::text", constant.replace('\'', "''")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        assert_eq!(quoted("a\"; DROP TABLE x; --"), "\"a\"\"; DROP TABLE x; --\"");
        assert_eq!(Part::Constant("O'Hara".to_owned()).text("t"), "'O''Hara'::text");
    }
}
