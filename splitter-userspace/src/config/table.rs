//! Walks a table of the parsed file: every key is asked for by name, and what was not asked for is unknown.

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    mistakes::{At, Mistakes, Place},
    value::{Parsed, kind_of},
    words::did_you_mean,
};

/// A table being read. Wrong and unknown keys go to the mistakes, and reading goes on.
pub(super) struct Table<'a, 'm, 't> {
    entries: &'a DeTable<'a>,
    place: Place,
    asked: Vec<&'static str>,
    mistakes: &'m mut Mistakes<'t>,
}

/// Reads the root of the file.
pub(super) fn read_root<T>(
    entries: &DeTable<'_>,
    mistakes: &mut Mistakes<'_>,
    read: impl FnOnce(&mut Table<'_, '_, '_>) -> T,
) -> T {
    read_entries(entries, Place { offset: 0, key: String::new() }, mistakes, read)
}

fn read_entries<T>(
    entries: &DeTable<'_>,
    place: Place,
    mistakes: &mut Mistakes<'_>,
    read: impl FnOnce(&mut Table<'_, '_, '_>) -> T,
) -> T {
    let mut table = Table { entries, place, asked: Vec::new(), mistakes };
    let result = read(&mut table);
    table.report_unknown();
    result
}

fn read_table<T>(
    value: &Spanned<DeValue<'_>>,
    key: String,
    mistakes: &mut Mistakes<'_>,
    read: impl FnOnce(&mut Table<'_, '_, '_>) -> T,
) -> Option<T> {
    let place = Place { offset: value.span().start, key };
    match value.get_ref().as_table() {
        Some(entries) => Some(read_entries(entries, place, mistakes, read)),
        None => {
            mistakes.wrong(&place, format!("expected a table, found {}", kind_of(value.get_ref())));
            None
        }
    }
}

impl<'a, 't> Table<'a, '_, 't> {
    /// Where the table begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// For mistakes that concern more than one key.
    pub fn mistakes(&mut self) -> &mut Mistakes<'t> {
        self.mistakes
    }

    /// A key that must be there; `example` is what to write if it is not.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<At<T>> {
        self.require(key, example);
        self.given(key, parse)
    }

    /// A key that may be left out; `default` stands for a wrong value too, which has been reported.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> T {
        self.given(key, parse).map_or(default, |at| at.value)
    }

    /// A key's value if it is there and right.
    pub fn given<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<At<T>> {
        let value = self.look(key)?;
        let key = self.path_of(key);
        self.parse(value, key, parse)
    }

    /// A key that may be left out: `default` then, in the table's place; `None` for a wrong value.
    pub fn given_or<T>(
        &mut self,
        key: &'static str,
        default: Option<T>,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<At<T>> {
        match self.look(key) {
            None => default.map(|value| At { value, place: self.place.clone() }),
            Some(_) => self.given(key, parse),
        }
    }

    /// Every element of an array, wrong ones left out; `None` when the key is absent or no array.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<Vec<At<T>>> {
        let elements = self.array(key, "write it in brackets, [...]")?;
        let path = self.path_of(key);
        let parse_one = |(index, value)| self.parse(value, format!("{path}[{index}]"), &parse);
        Some(elements.iter().enumerate().filter_map(parse_one).collect())
    }

    /// The same for a key that must be there and name something; `example` is what to write.
    pub fn required_list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<Vec<At<T>>> {
        self.require(key, example);
        self.list(key, parse)
    }

    /// A table inside this one; `None` when it is absent or no table.
    pub fn child<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'_, '_, '_>) -> T,
    ) -> Option<T> {
        let value = self.look(key)?;
        let path = self.path_of(key);
        read_table(value, path, self.mistakes, read)
    }

    /// Every table of an array of tables; `cure` says how to write one.
    pub fn children<T>(
        &mut self,
        key: &'static str,
        cure: &str,
        mut read: impl FnMut(&mut Table<'_, '_, '_>) -> T,
    ) -> Vec<T> {
        let Some(elements) = self.array(key, cure) else { return Vec::new() };
        let path = self.path_of(key);
        let read_one =
            |(index, value)| read_table(value, format!("{path}[{index}]"), self.mistakes, &mut read);
        elements.iter().enumerate().filter_map(read_one).collect()
    }

    /// Reports a key that is not there or names nothing; `example` is what to write.
    pub fn require(&mut self, key: &'static str, example: &str) {
        let (offset, what) = match self.look(key) {
            None => (self.place.offset, "is missing"),
            Some(value) if is_empty(value.get_ref()) => (value.span().start, "is empty"),
            Some(_) => return,
        };
        let place = Place { offset, key: self.path_of(key) };
        self.mistakes.absent(&place, format!("{what}: add `{example}`"));
    }

    fn look(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.get(key)
    }

    fn array(&mut self, key: &'static str, cure: &str) -> Option<&'a DeArray<'a>> {
        let value = self.look(key)?;
        if value.get_ref().as_array().is_none() {
            let place = Place { offset: value.span().start, key: self.path_of(key) };
            let found = kind_of(value.get_ref());
            self.mistakes.wrong(&place, format!("expected an array, found {found}: {cure}"));
        }
        value.get_ref().as_array()
    }

    fn parse<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: String,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<At<T>> {
        // The parser puts a value of no length where the text has none: it has reported that itself.
        if value.span().is_empty() {
            return None;
        }
        let place = Place { offset: value.span().start, key };
        match parse(value.get_ref()) {
            Ok(value) => Some(At { value, place }),
            Err(message) => {
                self.mistakes.wrong(&place, message);
                None
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.place.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.key) }
    }

    fn report_unknown(&mut self) {
        for (key, _) in self.entries {
            if self.asked.iter().all(|asked| asked != key.get_ref()) {
                let place = Place { offset: key.span().start, key: self.path_of(key.get_ref()) };
                let cure = did_you_mean(key.get_ref(), &self.asked);
                self.mistakes.wrong(&place, format!("unknown key: {cure}"));
            }
        }
    }
}

/// True for an array or a table with nothing in it.
fn is_empty(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Array(array) => array.is_empty(),
        DeValue::Table(table) => table.is_empty(),
        _ => false,
    }
}
