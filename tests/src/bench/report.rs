//! The table that a person reads and `bench.json`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    kernel: String,
    rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Serialize)]
pub struct Row {
    part: &'static str,
    name: String,
    flows: u32,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    /// The median less the floor's.
    net: f64,
    runs: Vec<f64>,
}

impl Row {
    /// A row of nanoseconds per packet.
    pub fn new(name: String, flows: u32, runs: &[f64], floor: &[f64]) -> Self {
        let sorted = sorted(runs);
        let median = median(&sorted);
        Self {
            part: "kernel",
            name,
            flows,
            unit: "ns",
            median,
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            net: median - self::median(&self::sorted(floor)),
            runs: runs.to_vec(),
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?.to_owned();
            line.split_once(": ").map(|(_, model)| model.to_owned())
        });
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let machine = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Self { machine, kernel: kernel.trim().to_owned(), rows: Vec::new() }
    }
}

impl Report {
    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("{}, Linux {}", self.machine, self.kernel);
        println!(
            "{:<36} {:>9} {:>8} {:>8} {:>8} {:>8}",
            "ns per packet", "flows", "net", "median", "min", "max"
        );
        for row in &self.rows {
            println!(
                "{:<36} {:>9} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
                row.name, row.flows, row.net, row.median, row.min, row.max
            );
        }
    }

    /// Writes the file.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("writing {}", path.display()))
    }
}

fn sorted(runs: &[f64]) -> Vec<f64> {
    let mut runs = runs.to_vec();
    runs.sort_by(f64::total_cmp);
    runs
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
