//! The table that a person reads.

use std::fmt::Write as _;

use super::{
    ceilings::Ceilings,
    figures::{Figures, Programs},
};

/// Every program's figures, each with its share of the committed one.
pub fn table(found: &Programs, committed: &Ceilings) -> String {
    let mut table = format!("{:16}", "program");
    for name in Figures::NAMES {
        let _ = write!(table, " {name:>16}");
    }
    for (name, figures) in found {
        let _ = write!(table, "\n{name:16}");
        let ceiling = committed.programs.get(name).map(Figures::numbers);
        for (column, number) in figures.numbers().into_iter().enumerate() {
            let share = ceiling.map_or_else(|| "new".to_owned(), |ceiling| percent(number, ceiling[column]));
            let _ = write!(table, " {number:>9} {share:>6}");
        }
    }
    table
}

fn percent(is: u32, was: u32) -> String {
    if was == is {
        return "100 %".into();
    }
    format!("{:.0} %", f64::from(is) * 100.0 / f64::from(was))
}
