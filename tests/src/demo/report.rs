//! What the demo ends with.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;
use splitter_userspace::api::model::Change;

use super::{
    options::Output,
    script::Step,
    shares::{self, Shares},
};
use crate::lab::{Census, Counts};

/// The report, as `--output json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// New connections, one request each.
    pub requests: u64,
    /// Those that were not answered.
    pub failed: u64,
    /// Long-lived connections.
    pub long_lived: u64,
    /// Those that were cut, or answered by another server than the one they began with.
    pub cut: u64,
    /// Every step of the release.
    pub steps: Vec<StepReport>,
    /// Failed requests and cut connections by cause; empty when there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub causes: BTreeMap<String, u64>,
    /// The longest time that a request took, milliseconds.
    pub slowest_ms: f64,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Its name.
    pub name: &'static str,
    /// Share of new connections by pool, as asked for.
    pub wanted: Shares,
    /// The same as the clients saw it, counted from the end of the shift.
    pub measured: Shares,
    /// The longest shift, from the request's arrival at the daemon to the end of the grace period; 0 without a shift.
    pub shift_ms: f64,
    /// The longest call of `splitter`, from its start to its end.
    pub command_ms: f64,
    /// Answers that were counted.
    pub answers: u64,
    /// Whether the measured shares lie in the 99.9 % intervals of the wanted ones.
    pub agrees: bool,
}

/// A shift that was made: what the daemon said, and how long the call took.
pub type Shift = (Change, Duration);

impl StepReport {
    /// Judges what was counted.
    pub fn new(step: &Step, counts: &Counts, shifts: &[Shift]) -> Self {
        let tally = shares::tally(counts);
        let longest = |times: &mut dyn Iterator<Item = f64>| times.fold(0.0, f64::max);
        Self {
            name: step.name,
            wanted: step.wanted.clone(),
            measured: shares::of(&tally),
            shift_ms: longest(&mut shifts.iter().map(|(change, _)| change.took_ms)),
            command_ms: longest(&mut shifts.iter().map(|(_, took)| took.as_secs_f64() * 1000.0)),
            answers: counts.answered(),
            agrees: shares::agree(&tally, &step.wanted),
        }
    }
}

impl Report {
    /// Sums up.
    pub fn new(steps: Vec<StepReport>, total: &Counts, census: &Census) -> Self {
        let causes = total.failures.iter().chain(&census.cut).map(|(cause, count)| (cause.clone(), *count));
        Self {
            requests: total.requests(),
            failed: total.failed(),
            long_lived: census.total(),
            cut: census.cut(),
            steps,
            causes: causes.collect(),
            slowest_ms: total.slowest.as_secs_f64() * 1000.0,
        }
    }

    /// What did not go as promised, a sentence each.
    pub fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.failed > 0 {
            broken.push(format!("{} of {} requests failed", self.failed, self.requests));
        }
        if self.cut > 0 {
            broken.push(format!(
                "{} of {} long-lived connections were cut or moved",
                self.cut, self.long_lived
            ));
        }
        let off = self.steps.iter().filter(|step| !step.agrees);
        broken.extend(off.map(|step| {
            format!("{}: measured {}, wanted {}", step.name, Percents(&step.measured), Percents(&step.wanted))
        }));
        broken
    }

    /// Prints it where machines or people look for it.
    pub fn print(&self, output: Output) {
        match output {
            Output::Json => println!("{}", serde_json::json!(self)),
            Output::Live | Output::Text => println!("{self}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:<16} {:<28} {:<28} {:>8} {:>8}", "step", "wanted", "measured", "shift", "command")?;
        for step in &self.steps {
            let (wanted, measured) =
                (Percents(&step.wanted).to_string(), Percents(&step.measured).to_string());
            let verdict = if step.agrees { "" } else { "  OFF" };
            write!(f, "{:<16} {wanted:<28} {measured:<28} ", step.name)?;
            writeln!(f, "{:>5.1} ms {:>5.1} ms{verdict}", step.shift_ms, step.command_ms)?;
        }
        writeln!(f, "\nrequests                {:>8}   failed {}", self.requests, self.failed)?;
        writeln!(f, "long-lived connections  {:>8}   cut    {}", self.long_lived, self.cut)?;
        writeln!(f, "slowest request         {:>8.1} ms", self.slowest_ms)?;
        self.causes.iter().try_for_each(|(cause, count)| writeln!(f, "  {count} x {cause}"))?;
        let broken = self.broken_promises();
        broken.iter().try_for_each(|sentence| writeln!(f, "BROKEN: {sentence}"))?;
        if broken.is_empty() {
            write!(f, "\nThe release went through: nobody noticed.")?;
        }
        Ok(())
    }
}

/// Shares for people: `blue 94.90 %, canary 5.10 %`.
pub struct Percents<'a>(pub &'a Shares);

impl fmt::Display for Percents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools = self.0.iter().map(|(pool, share)| format!("{pool} {:.2}%", share * 100.0));
        f.write_str(&pools.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use splitter_userspace::config::PoolName;

    use super::*;
    use crate::demo::script;

    fn counts(blue: u64, failures: u64) -> Counts {
        let mut counts = Counts { answers: [("blue1".to_owned(), blue)].into(), ..Counts::default() };
        if failures > 0 {
            counts.failures.insert("connect: refused".into(), failures);
        }
        counts
    }

    fn report(blue: u64, failures: u64, census: &Census) -> Report {
        let counts = counts(blue, failures);
        Report::new(vec![StepReport::new(&script::steps()[0], &counts, &[])], &counts, census)
    }

    #[test]
    fn a_smooth_release_breaks_nothing() {
        let census = Census { alive: [("blue1".to_owned(), 10)].into(), finished: 5, ..Census::default() };
        let report = report(1000, 0, &census);
        assert!(report.broken_promises().is_empty());
        assert_eq!((report.requests, report.long_lived), (1000, 15));
        assert_eq!(report.steps[0].measured[&PoolName::Blue], 1.0);
    }

    #[test]
    fn every_broken_promise_is_named() {
        let census = Census { cut: [("connection: reset".to_owned(), 2)].into(), ..Census::default() };
        let mut report = report(1000, 3, &census);
        report.steps[0].agrees = false;
        let broken = report.broken_promises();
        assert_eq!(broken.len(), 3, "{broken:?}");
        assert_eq!(broken[0], "3 of 1003 requests failed");
        assert!(report.to_string().contains("3 x connect: refused"));
    }

    #[test]
    fn machines_find_the_fields_they_look_for() {
        let json = serde_json::json!(report(10, 0, &Census::default()));
        for field in ["requests", "failed", "long_lived", "cut", "steps"] {
            assert!(json.get(field).is_some(), "{field}");
        }
        for field in ["name", "wanted", "measured", "shift_ms"] {
            assert!(json["steps"][0].get(field).is_some(), "{field}");
        }
        assert_eq!(json["steps"][0]["wanted"]["blue"], 1.0);
    }
}
