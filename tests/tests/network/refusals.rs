//! Changes that make no sense: a clear message, the right exit code, and the split as it was.

use anyhow::{Result, ensure};
use splitter_tests::lab::{PoolSizes, Stage};
use splitter_userspace::config::{PoolName, Weight};

use crate::support::{self, WEB};

/// Generation of the service, and every pool's wanted and programmed share.
type Split = (u64, Vec<(PoolName, Weight, f64)>);

pub fn wrong_changes_change_nothing() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 1, green: 0, canary: 1 }, &[WEB])?;
    support::change(&stage, &["weights", "web", "canary=5"])?;
    support::complete(&stage, &WEB)?;
    let before = split(&stage)?;
    let cases: [(&[&str], i32, &[&str]); 13] = [
        (&["weights", "nope", "canary=5"], 4, &["there is no service `nope`", "web"]),
        (&["weights", "web", "purple=5"], 4, &["there is no pool `purple`", "blue", "green", "canary"]),
        (&["weights", "web", "green=5"], 4, &["no pool `green`", "it has blue, canary"]),
        (&["weights", "web", "canary=10", "blue=95"], 4, &["add up to 105%, not 100%", "blue=90"]),
        (&["weights", "web", "canary=10", "blue=80"], 4, &["add up to 90%, not 100%", "blue=90"]),
        (&["weights", "web", "canary=101"], 4, &["101", "is not a weight"]),
        (&["weights", "web", "canary=-1"], 4, &["-1", "is not a weight"]),
        (&["weights", "web", "canary=0.001"], 4, &["0.001", "is not a weight"]),
        (&["weights", "web", "canary"], 2, &["POOL=PERCENT"]),
        (&["switch", "web", "canary"], 4, &["canary never becomes stable"]),
        (&["switch", "web", "green"], 4, &["no pool `green`"]),
        (&["drain", "web", "10.9.9.9:1"], 4, &["no backend 10.9.9.9:1", "it has"]),
        (&["drain", "web", "blue1"], 2, &["address and a port"]),
    ];
    for (arguments, code, words) in cases {
        let message = support::refused(&stage, arguments, code)?;
        support::mentions(&message, words)?;
        ensure!(split(&stage)? == before, "{arguments:?} changed the split");
    }
    for (arguments, words) in [
        (["explain", "web", "[2001:db8::7]:40000"], "family"),
        (["explain", "nope", "198.51.100.7:40000"], "there is no service `nope`"),
    ] {
        support::mentions(&support::refused(&stage, &arguments, 4)?, &[words])?;
    }
    Ok(())
}

fn split(stage: &Stage) -> Result<Split> {
    let service = support::service(stage, "web")?;
    let pools = service.pools.iter().map(|pool| (pool.name, pool.weight, pool.programmed));
    Ok((service.generation, pools.collect()))
}
