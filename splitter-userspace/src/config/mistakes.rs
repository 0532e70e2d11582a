//! Collects mistakes while a file is read, and knows where each one is.

use std::{collections::HashSet, ops::Range, path::Path};

use super::error::{ConfigError, ConfigErrors};

/// Where something stands: a byte offset, and the path of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: usize,
    pub key: String,
}

/// A value and where it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// What a mistake rests on. After a syntax error the parser skips text, so what seems absent may be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ground {
    Syntax,
    Presence,
    Absence,
}

struct Mistake {
    ground: Ground,
    place: Place,
    message: String,
}

/// The mistakes of one text.
pub(super) struct Mistakes<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
    list: Vec<Mistake>,
}

impl<'t> Mistakes<'t> {
    pub fn new(text: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(offset, _)| offset + 1)).collect();
        Self { text, line_starts, list: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Something that is there is wrong.
    pub fn wrong(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Ground::Presence, place.clone(), message.into());
    }

    /// Something is not there that should be.
    pub fn absent(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Ground::Absence, place.clone(), message.into());
    }

    /// The text is not TOML; `span` is where, if the parser knows.
    pub fn syntax(&mut self, span: Option<Range<usize>>, cause: &str) {
        let offset = span.map_or(self.text.len(), |span| span.start);
        let message = match cause {
            "duplicate key" => "this key or table is defined twice: keep one of the two".to_owned(),
            cause => format!("not valid TOML: {cause}"),
        };
        self.push(Ground::Syntax, Place { offset, key: String::new() }, message);
    }

    fn push(&mut self, ground: Ground, place: Place, message: String) {
        self.list.push(Mistake { ground, place, message });
    }

    /// Line of a place, from 1.
    pub fn line(&self, place: &Place) -> usize {
        self.line_starts.partition_point(|&start| start <= place.offset)
    }

    /// Column of a place in characters, from 1.
    fn column(&self, place: &Place) -> usize {
        let start = self.line_starts[self.line(place) - 1];
        let end = place.offset.min(self.text.len());
        let before = &self.text.as_bytes()[start.min(end)..end];
        before.iter().filter(|&&byte| !is_continuation(byte)).count() + 1
    }

    /// Everything worth telling, in the file's order: what may only follow from a syntax error is left out.
    pub fn into_errors(mut self, path: &Path) -> ConfigErrors {
        self.list.sort_by_key(|mistake| mistake.place.offset);
        let mut broken_lines = HashSet::new();
        let list = std::mem::take(&mut self.list);
        let (syntax, other): (Vec<_>, Vec<_>) = list.into_iter().partition(|m| m.ground == Ground::Syntax);
        let syntax: Vec<_> =
            syntax.into_iter().filter(|m| broken_lines.insert(self.line(&m.place))).collect();
        let other = other.into_iter().filter(|mistake| {
            let doubtful = mistake.ground == Ground::Absence && !broken_lines.is_empty();
            !doubtful && !broken_lines.contains(&self.line(&mistake.place))
        });
        let mut told: Vec<_> = syntax.into_iter().chain(other).collect();
        told.sort_by_key(|mistake| mistake.place.offset);
        ConfigErrors::new(path, told.into_iter().map(|mistake| self.error(mistake)).collect())
    }

    fn error(&self, Mistake { place, message, .. }: Mistake) -> ConfigError {
        ConfigError { line: self.line(&place), column: self.column(&place), key: place.key, message }
    }
}

/// True for the second and later bytes of a UTF-8 character.
fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: usize) -> Place {
        Place { offset, key: "k".into() }
    }

    fn positions(text: &str, build: impl FnOnce(&mut Mistakes<'_>)) -> Vec<(usize, usize)> {
        let mut mistakes = Mistakes::new(text);
        build(&mut mistakes);
        let errors = mistakes.into_errors(Path::new("f"));
        errors.mistakes().iter().map(|e| (e.line, e.column)).collect()
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "ab\n\u{e9}\u{e9}x\n";
        let found = positions(text, |m| [0, 2, 3, 7, 9].map(|o| m.wrong(&at(o), "x")).into_iter().collect());
        assert_eq!(found, [(1, 1), (1, 3), (2, 1), (2, 3), (3, 1)]);
    }

    #[test]
    fn a_syntax_error_silences_what_may_only_follow_from_it() {
        let found = positions("a =\nb = 1\nc = 2\n", |m| {
            m.wrong(&at(8), "stands on its own");
            m.absent(&at(10), "may have been skipped");
            m.wrong(&at(2), "same line as the syntax error");
            m.syntax(Some(3..3), "no value");
            m.syntax(Some(3..3), "again");
        });
        assert_eq!(found, [(1, 4), (2, 5)]);
    }

    #[test]
    fn an_offset_past_the_end_is_the_end() {
        assert_eq!(positions("ab", |m| m.syntax(None, "x")), [(1, 3)]);
        assert_eq!(positions("", |m| m.wrong(&at(9), "x")), [(1, 1)]);
    }
}
