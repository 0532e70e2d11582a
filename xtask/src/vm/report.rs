//! What came of all boots: a table for people, an object for machines.

use std::collections::BTreeMap;

use anyhow::{Error, Result, bail};
use serde::Serialize;

use super::{
    finding::{Finding, Golden, Loaded, Outcome, Program, Transfer},
    kernels::Kernel,
    machine::Run,
    version::Wanted,
};

/// All kernels, in the order in which they were asked for.
#[derive(Default, Serialize)]
pub struct Report {
    kernels: Vec<Row>,
}

/// One kernel.
#[derive(Default, Serialize)]
pub struct Row {
    /// What was asked for.
    wanted: String,
    /// The package's version.
    version: Option<String>,
    /// The kernel's own name.
    release: Option<String>,
    /// Why it was not booted.
    skipped: Option<String>,
    /// What was loaded.
    loaded: Option<Loaded>,
    /// How the program was attached, by driver.
    attached: BTreeMap<String, String>,
    golden: Option<Golden>,
    transfer: Option<Transfer>,
    /// Seconds from power-on to power-off.
    seconds: f64,
    /// What went wrong: the step, and why.
    failures: Vec<(String, String)>,
}

/// Heads of the table's columns.
const HEADS: [&str; 9] =
    ["kernel", "program", "verified", "translated", "jited", "veth", "virtio-net", "golden", "transfer"];

impl Report {
    /// One more.
    pub fn push(&mut self, row: Row) {
        self.kernels.push(row);
    }

    /// The table, and what went wrong below it.
    pub fn print(&self) {
        let heads = [HEADS.map(str::to_owned)];
        let cells: Vec<_> = heads.into_iter().chain(self.kernels.iter().flat_map(Row::cells)).collect();
        let widths: Vec<_> = (0..HEADS.len()).map(|column| width(&cells, column)).collect();
        for row in &cells {
            let line: Vec<_> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("{}", line.join("  ").trim_end());
        }
        for row in &self.kernels {
            if let Some(why) = &row.skipped {
                println!("\n{} skipped: {why}", row.wanted);
            }
            for (step, why) in &row.failures {
                println!("\n{} {step} FAILED: {why}", row.name());
            }
        }
    }

    /// One object: `{"kernels": [...]}`.
    ///
    /// # Errors
    /// Never: there is nothing in it that JSON cannot say.
    pub fn print_json(&self) -> Result<()> {
        println!("{}", serde_json::to_string_pretty(self)?);
        Ok(())
    }

    /// An error if anything failed in a kernel that was booted.
    ///
    /// # Errors
    /// That.
    pub fn verdict(&self) -> Result<()> {
        let failed: Vec<_> =
            self.kernels.iter().filter(|row| !row.failures.is_empty()).map(Row::name).collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!("something failed in {} of {} kernels: {}", failed.len(), self.kernels.len(), failed.join(", "))
    }
}

impl Row {
    /// A kernel that was not to be had.
    pub fn skipped(wanted: &Wanted, cause: &Error) -> Self {
        eprintln!("vm: {wanted}: skipped: {cause:#}");
        Self { wanted: wanted.to_string(), skipped: Some(format!("{cause:#}")), ..Self::default() }
    }

    /// A kernel that was booted.
    pub fn of(wanted: &Wanted, kernel: &Kernel, run: Run) -> Self {
        let mut row = Self {
            wanted: wanted.to_string(),
            version: Some(kernel.version.to_string()),
            seconds: run.took.as_secs_f64(),
            ..Self::default()
        };
        run.findings.into_iter().for_each(|finding| row.add(finding));
        row.failures.extend(run.cut_short.map(|why| ("machine".to_owned(), why)));
        row
    }

    fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Booted(release) => self.release = Some(release),
            Finding::Load(outcome) => self.loaded = self.done("load", outcome),
            Finding::Attach { driver, outcome } => {
                if let Some(mode) = self.done(&format!("attach to {driver}"), outcome) {
                    self.attached.insert(driver, mode);
                }
            }
            Finding::Golden(outcome) => {
                self.golden = self.done("golden", outcome);
                let failed = self.golden.iter().flat_map(|golden| &golden.failed);
                self.failures.extend(failed.map(|(name, why)| (format!("golden {name}"), why.clone())));
            }
            Finding::Transfer(outcome) => self.transfer = self.done("transfer", outcome),
            Finding::End => {}
        }
    }

    fn done<T>(&mut self, step: &str, outcome: Outcome<T>) -> Option<T> {
        match outcome {
            Outcome::Done(found) => Some(found),
            Outcome::Failed(why) => {
                self.failures.push((step.to_owned(), why));
                None
            }
        }
    }

    fn name(&self) -> &str {
        self.version.as_deref().unwrap_or(&self.wanted)
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let steps: Vec<_> = self.failures.iter().map(|(step, _)| step.as_str()).collect();
        let verdict =
            if steps.is_empty() { "ok".to_owned() } else { format!("FAILED: {}", steps.join(", ")) };
        format!("{verdict} ({:.0} s)", self.seconds)
    }

    /// A line for each program, with what is said about the kernel itself on the first.
    fn cells(&self) -> Vec<[String; HEADS.len()]> {
        let programs = self.loaded.iter().flat_map(|loaded| &loaded.programs);
        let mut programs = programs.map(program_cells);
        let first = programs.next().unwrap_or_else(|| [none(), none(), none(), none()]);
        let mut lines = vec![self.first_line(first)];
        lines.extend(programs.map(|[name, verified, translated, jited]| {
            let mut line: [String; HEADS.len()] = Default::default();
            line[1..5].clone_from_slice(&[name, verified, translated, jited]);
            line
        }));
        lines
    }

    fn first_line(&self, program: [String; 4]) -> [String; HEADS.len()] {
        let [name, verified, translated, jited] = program;
        let kernel =
            if self.skipped.is_some() { format!("{} (skipped)", self.wanted) } else { self.name().into() };
        let attached = |driver| self.attached.get(driver).cloned().unwrap_or_else(none);
        let golden = |golden: &Golden| format!("{} passed, {} failed", golden.passed, golden.failed.len());
        let transfer = |transfer: &Transfer| {
            let mib = transfer.bytes as f64 / f64::from(1 << 20);
            format!("{mib:.1} MiB, {} shifts, {} slots moved", transfer.shifts, transfer.slots_moved)
        };
        [
            kernel,
            name,
            verified,
            translated,
            jited,
            attached("veth"),
            attached("virtio_net"),
            self.golden.as_ref().map_or_else(none, golden),
            self.transfer.as_ref().map_or_else(none, transfer),
        ]
    }
}

/// What stands where there is nothing to say.
fn none() -> String {
    "-".into()
}

/// Name with variant, verified and translated instructions, bytes of machine code.
fn program_cells(program: &Program) -> [String; 4] {
    let number = |number: Option<u32>| number.map_or_else(none, |number| number.to_string());
    let name = format!("{}{}", program.name, if program.frags { " (frags)" } else { "" });
    [name, number(program.verified), number(program.translated), program.jited_bytes.to_string()]
}

fn width(cells: &[[String; HEADS.len()]], column: usize) -> usize {
    cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, frags: bool) -> Program {
        Program {
            name: name.into(),
            frags,
            verified: Some(29_466),
            translated: Some(3716),
            jited_bytes: 16_527,
        }
    }

    #[test]
    fn every_program_has_a_line() {
        let loaded = Loaded { programs: vec![program("icmp", true), program("splitter", false)], took_ms: 1 };
        let row = Row { version: Some("6.1.192-2".into()), loaded: Some(loaded), ..Row::default() };
        let [first, second] = &row.cells()[..] else { panic!("two lines") };
        assert_eq!(first[..4], ["6.1.192-2", "icmp (frags)", "29466", "3716"]);
        assert_eq!(second[..2], ["", "splitter"]);
    }

    #[test]
    fn a_golden_packet_that_fails_is_a_failure() {
        let mut row = Row::default();
        let golden = Golden { passed: 3, failed: vec![("ttl-1".into(), "verdict".into())] };
        row.add(Finding::Golden(Outcome::Done(golden)));
        assert_eq!(row.failures, [("golden ttl-1".to_owned(), "verdict".to_owned())]);
        let report = Report { kernels: vec![row] };
        assert!(report.verdict().is_err());
    }

    #[test]
    fn a_kernel_that_was_not_to_be_had_fails_nothing() {
        let wanted = "5.10".parse().expect("a version");
        let report = Report { kernels: vec![Row::skipped(&wanted, &anyhow::anyhow!("no suite carries it"))] };
        assert!(report.verdict().is_ok());
        assert_eq!(report.kernels[0].cells()[0][0], "5.10 (skipped)");
    }
}
