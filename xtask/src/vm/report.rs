//! What came of all boots: a table for people, an object for machines.

use std::collections::{BTreeMap, BTreeSet};

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
    /// What the verifier made of every program, by variant.
    verified: BTreeMap<String, Vec<Program>>,
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
const HEADS: [&str; 9] = [
    "kernel",
    "loads",
    "variants verified",
    "largest program",
    "veth",
    "virtio-net",
    "generic",
    "golden",
    "transfer",
];

impl Report {
    /// One more.
    pub fn push(&mut self, row: Row) {
        self.kernels.push(row);
    }

    /// The tables, and what went wrong below them.
    pub fn print(&self) {
        let heads = HEADS.map(str::to_owned).to_vec();
        print_table(&[vec![heads], self.kernels.iter().map(Row::cells).collect()].concat());
        println!("\nInstructions that the verifier walked through (it gives up at 1000000):\n");
        print_table(&instructions(&self.kernels));
        for row in &self.kernels {
            if let Some(why) = &row.skipped {
                println!("\n{} skipped: {why}", row.wanted);
            }
            for limit in row.limits() {
                println!("\n{} limit: {limit}", row.name());
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
            Finding::Verify { variant, outcome } => {
                if let Some(programs) = self.done(&format!("verify {variant}"), outcome) {
                    self.verified.insert(variant, programs);
                }
            }
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

    /// What is said about the kernel as a whole.
    fn cells(&self) -> Vec<String> {
        let kernel =
            if self.skipped.is_some() { format!("{} (skipped)", self.wanted) } else { self.name().into() };
        let loads = |loaded: &Loaded| format!("{}, {} programs", loaded.variant, loaded.programs);
        let attached = |driver| self.attached.get(driver).cloned().unwrap_or_else(none);
        let verified: Vec<_> =
            self.verified.iter().map(|(variant, programs)| format!("{} {variant}", programs.len())).collect();
        let transfer = |transfer: &Transfer| {
            let mib = transfer.bytes as f64 / f64::from(1 << 20);
            format!("{mib:.1} MiB, {} shifts, {} slots moved", transfer.shifts, transfer.slots_moved)
        };
        vec![
            kernel,
            self.loaded.as_ref().map_or_else(none, loads),
            if verified.is_empty() { none() } else { verified.join(", ") },
            self.largest().unwrap_or_else(none),
            attached("veth"),
            attached("virtio_net"),
            attached("generic"),
            self.golden.as_ref().map_or_else(none, golden_cell),
            self.transfer.as_ref().map_or_else(none, transfer),
        ]
    }

    /// The program that the verifier has most to do with; where the kernel does not tell, the longest.
    fn largest(&self) -> Option<String> {
        let program = self.programs().max_by_key(|program| (program.verified, program.translated))?;
        Some(match (program.verified, program.translated) {
            (Some(verified), _) => format!("{}: {verified} verified", program.name),
            (None, Some(translated)) => format!("{}: {translated} long", program.name),
            (None, None) => program.name.clone(),
        })
    }

    fn programs(&self) -> impl Iterator<Item = &Program> {
        self.verified.values().flatten()
    }

    /// What this kernel has not, each said once.
    fn limits(&self) -> Vec<String> {
        let mut limits: Vec<_> = self.loaded.iter().filter_map(|loaded| loaded.limit.clone()).collect();
        let left_out = self.golden.iter().flat_map(|golden| &golden.left_out);
        let left_out: Vec<_> = left_out.map(String::as_str).collect();
        if !left_out.is_empty() {
            limits.push(format!("{} golden packets are about that: {}", left_out.len(), left_out.join(", ")));
        }
        let telling = |program: &Program| program.verified.is_some();
        if self.programs().next().is_some() && !self.programs().any(telling) {
            limits.push("before Linux 5.16 a kernel does not tell how many instructions it verified".into());
        }
        limits
    }
}

/// What stands where there is nothing to say.
fn none() -> String {
    "-".into()
}

fn golden_cell(golden: &Golden) -> String {
    let left_out = match golden.left_out.len() {
        0 => String::new(),
        count => format!(", {count} left out"),
    };
    format!("{} passed, {} failed{left_out}", golden.passed, golden.failed.len())
}

/// A line for each program, a column for each kernel that was booted.
fn instructions(kernels: &[Row]) -> Vec<Vec<String>> {
    let booted: Vec<_> = kernels.iter().filter(|row| row.skipped.is_none()).collect();
    let names: BTreeSet<_> = booted.iter().flat_map(|row| row.programs()).map(|it| &it.name).collect();
    let heads = std::iter::once("program").chain(booted.iter().map(|row| row.name()));
    let line = |name: &String| {
        let of = |row: &&Row| row.programs().find(|program| program.name == *name)?.verified;
        let numbers = booted.iter().map(|row| of(row).map_or_else(none, |number| number.to_string()));
        std::iter::once(name.clone()).chain(numbers).collect()
    };
    std::iter::once(heads.map(str::to_owned).collect()).chain(names.into_iter().map(line)).collect()
}

/// Columns as wide as what stands in them.
fn print_table(cells: &[Vec<String>]) {
    let columns = cells.first().map_or(0, Vec::len);
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for row in cells {
        let line: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", line.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, verified: Option<u32>) -> Program {
        Program { name: name.into(), verified, translated: Some(3716), jited_bytes: 16_527 }
    }

    fn row(version: &str, variant: &str, programs: Vec<Program>) -> Row {
        let verified = [(variant.to_owned(), programs)].into();
        Row { version: Some(version.into()), verified, ..Row::default() }
    }

    #[test]
    fn every_program_has_a_line_and_every_kernel_a_column() {
        let new = row("7.3.4-1", "xdp.frags", vec![program("icmp", Some(7)), program("splitter", Some(29))]);
        let old = row("5.10.1-1", "plain", vec![program("splitter_plain", None)]);
        let skipped = Row::skipped(&"6.1".parse().expect("a version"), &anyhow::anyhow!("gone"));
        let lines = instructions(&[new, skipped, old]);
        assert_eq!(lines[0], ["program", "7.3.4-1", "5.10.1-1"]);
        assert_eq!(lines[2], ["splitter", "29", "-"]);
        assert_eq!(lines[3], ["splitter_plain", "-", "-"]);
    }

    #[test]
    fn the_largest_program_is_named() {
        let new = row("7.3.4-1", "xdp.frags", vec![program("icmp", Some(7)), program("splitter", Some(29))]);
        assert_eq!(new.cells()[2..4], ["2 xdp.frags", "splitter: 29 verified"]);
        let old = row("5.10.1-1", "plain", vec![program("splitter_plain", None)]);
        assert_eq!(old.cells()[3], "splitter_plain: 3716 long");
        assert_eq!(old.limits().len(), 1);
    }

    #[test]
    fn what_is_left_out_is_named() {
        let golden = Golden { passed: 3, failed: Vec::new(), left_out: vec!["snat-opens".into()] };
        let row = Row { golden: Some(golden), ..Row::default() };
        assert_eq!(row.cells()[7], "3 passed, 0 failed, 1 left out");
        assert_eq!(row.limits(), ["1 golden packets are about that: snat-opens"]);
        assert!(Report { kernels: vec![row] }.verdict().is_ok());
    }

    #[test]
    fn a_golden_packet_that_fails_is_a_failure() {
        let mut row = Row::default();
        let failed = vec![("ttl-1".into(), "verdict".into())];
        let golden = Golden { passed: 3, failed, left_out: Vec::new() };
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
        assert_eq!(report.kernels[0].cells()[0], "5.10 (skipped)");
    }
}
