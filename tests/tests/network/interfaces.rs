//! Interfaces that go and come back.

use anyhow::{Result, ensure};
use splitter_tests::lab::{Connection, PoolSizes, ServicePlan, Stage};

use crate::support::{self, WEB, WEB6};

const BOTH: [ServicePlan; 2] = [WEB, WEB6];

/// One that is deleted and made again under its name, be it with its old number or another one, gets the program.
pub fn what_comes_back_gets_the_program() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 1, green: 0, canary: 0 }, &BOTH)?;
    let [_, before] = support::programs(&stage)?;
    ensure!(before.is_some(), "eth1 has no program");
    for index in [3, 30] {
        stage.topology.renew_back_link(index)?;
        support::eventually("the program on eth1", || {
            Ok((support::programs(&stage)?[1] == before).then_some(()))
        })?;
        support::eventually("connections", || {
            let answers = BOTH.map(|plan| {
                let target = plan.target();
                stage.client.run(async move { Connection::open(target).await?.server().await })
            });
            let served = answers.iter().all(|answer| matches!(answer, Ok(Ok(server)) if server == "blue1"));
            Ok(served.then_some(()))
        })?;
    }
    Ok(())
}
