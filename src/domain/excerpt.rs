//! What somebody else wrote, in a message: on one line, and no longer than a person reads.

use std::fmt::{self, Write as _};

/// The most characters that are shown, where a format gives no other number (`{:.120}`).
const CHARS_MAX: usize = 80;

/// The beginning of a text; control characters are escaped, and what is left out is an ellipsis.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt<'a>(pub &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for c in characters.by_ref().take(f.precision().unwrap_or(CHARS_MAX)) {
            write!(f, "{}", c.escape_debug())?;
        }
        if characters.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_as_far_as_a_message_has_room() {
        let text = |count: usize| "é".repeat(count);
        assert_eq!(Excerpt("a\n\u{1b}'é").to_string(), "a\\n\\u{1b}\\'é");
        assert_eq!(Excerpt(&text(CHARS_MAX)).to_string(), text(CHARS_MAX));
        assert_eq!(Excerpt(&text(1_000_000)).to_string(), format!("{}…", text(CHARS_MAX)));
        assert_eq!(format!("{:.120}", Excerpt(&text(121))), format!("{}…", text(120)));
    }
}
