//! One function per command: ask the daemon, print the answer.

use std::{collections::BTreeMap, path::Path, pin::pin};

use clap::CommandFactory;
use futures_util::StreamExt;
use serde_json::json;

use super::{
    args::{BackendArgs, Cli, Command, DrainArgs, Leaving},
    failure::{Failure, FailureKind, Stop},
    follow,
    output::Output,
    render, wait, watch,
};
use crate::{
    api::{
        client::Client,
        model::{Action, Admin, Change, ChangeRequest, Deadline},
    },
    config::{self, ConfigErrors, LoadError, PoolName, Weight},
};

/// Runs one command to its end.
pub async fn run(cli: Cli, output: Output) -> Result<(), Stop> {
    let client = Client::new(cli.socket);
    match cli.command {
        Command::Status { service, watch: false } => {
            output.show(&client.status(service.as_deref()).await?, render::status)
        }
        Command::Status { service, watch: true } => watch::run(&client, service.as_deref(), output).await,
        Command::Weights { service, weights, why } => {
            let weights = parse_weights(&weights)?;
            let action = Action::Weights { weights };
            change(&client, ChangeRequest { service, action, reason: why.reason }, output).await.map(drop)
        }
        Command::Switch { service, pool, leaving, why } => {
            let action = Action::Switch { pool: parse_pool(&pool)?, deadline: leaving.deadline() };
            leave(&client, ChangeRequest { service, action, reason: why.reason }, &leaving, output).await
        }
        Command::Rollback { service, why } => {
            let request = ChangeRequest { service, action: Action::Rollback, reason: why.reason };
            change(&client, request, output).await.map(drop)
        }
        Command::Drain(DrainArgs { backend, leaving }) => {
            let request = admin(backend, Admin::Drain, leaving.deadline());
            leave(&client, request, &leaving, output).await
        }
        Command::Ready(args) => change(&client, admin(args, Admin::Ready, None), output).await.map(drop),
        Command::Maint(args) => change(&client, admin(args, Admin::Maint, None), output).await.map(drop),
        Command::Wait(args) => wait::run(&client, &args, output).await,
        Command::Explain { service, client: source } => {
            output.show(&client.explain(&service, source).await?, render::explanation)
        }
        Command::Stats { service } => output.show(&client.stats(service.as_deref()).await?, render::stats),
        Command::Events { follow } => events(&client, follow, output).await,
        Command::Validate { file } => validate(&file, output),
        Command::Completions { shell } => completions(shell, output),
    }
}

async fn change(client: &Client, request: ChangeRequest, output: Output) -> Result<Change, Stop> {
    let change = client.change(&request).await?;
    output.show(&change, |change, _| render::change(change))?;
    Ok(change)
}

/// A change that leaves live connections behind, and what becomes of them if that is to be followed.
async fn leave(
    client: &Client,
    request: ChangeRequest,
    leaving: &Leaving,
    output: Output,
) -> Result<(), Stop> {
    let change = change(client, request, output).await?;
    match change.left.filter(|_| leaving.wait) {
        Some(left) => follow::run(client, &change.service, left, leaving, output).await,
        None => Ok(()),
    }
}

fn admin(args: BackendArgs, state: Admin, deadline: Option<Deadline>) -> ChangeRequest {
    let action = Action::Admin { backend: args.backend, state, deadline };
    ChangeRequest { service: args.service, action, reason: args.why.reason }
}

async fn events(client: &Client, follow: bool, output: Output) -> Result<(), Stop> {
    let mut events = pin!(client.events(follow).await?);
    while let Some(event) = events.next().await {
        output.show(&event?, render::event)?;
    }
    if !follow {
        return Ok(());
    }
    let message = format!(
        "splitterd on {} ended the feed: it has stopped or restarts; the data plane goes on without it",
        client.socket().display()
    );
    Err(Failure::new(FailureKind::Unreachable, message).into())
}

fn validate(file: &Path, output: Output) -> Result<(), Stop> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(LoadError::Invalid(errors)) if output.is_json() => return invalid(file, &errors, output),
        Err(error) => return Err(error.into()),
    };
    let pools = config.services.iter().flat_map(|service| service.pools.values());
    let (services, backends) = (config.services.len(), pools.map(|pool| pool.backends.len()).sum::<usize>());
    let verdict = json!({ "file": file, "valid": true, "services": services, "backends": backends,
        "mistakes": [], "more": 0 });
    output.show(&verdict, |_, _| {
        format!("{}: valid (services: {services}, backends: {backends})", file.display())
    })
}

/// The verdict goes to the standard output, and the failure says it once more in a sentence.
fn invalid(file: &Path, errors: &ConfigErrors, output: Output) -> Result<(), Stop> {
    let verdict =
        json!({ "file": file, "valid": false, "mistakes": errors.mistakes(), "more": errors.more() });
    output.print(&verdict.to_string())?;
    let count = errors.mistakes().len() + errors.more();
    Err(Failure::new(FailureKind::Refused, format!("{}: {count} mistakes", file.display())).into())
}

fn completions(shell: clap_complete::Shell, output: Output) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "splitter", &mut script);
    output.print(&String::from_utf8_lossy(&script))
}

fn parse_pool(name: &str) -> Result<PoolName, Failure> {
    name.parse().map_err(refused)
}

fn parse_weights(assignments: &[(String, String)]) -> Result<BTreeMap<PoolName, Weight>, Failure> {
    let mut weights = BTreeMap::new();
    for (pool, percent) in assignments {
        if weights.insert(parse_pool(pool)?, percent.parse().map_err(refused)?).is_some() {
            return Err(refused(format!("{pool} is given two weights: keep one")));
        }
    }
    Ok(weights)
}

fn refused(message: String) -> Failure {
    Failure::new(FailureKind::Refused, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(assignments: &[(&str, &str)]) -> Result<BTreeMap<PoolName, Weight>, String> {
        let owned: Vec<_> = assignments.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        parse_weights(&owned).map_err(|failure| failure.to_string())
    }

    #[test]
    fn weights_are_by_pool() {
        let weights = parse(&[("canary", "5"), ("blue", "95%")]).unwrap();
        assert_eq!(weights[&PoolName::Canary].basis_points(), 500);
        assert_eq!(weights[&PoolName::Blue].basis_points(), 9500);
    }

    #[test]
    fn wrong_names_and_numbers_are_refused() {
        assert!(parse(&[("purple", "5")]).unwrap_err().contains("there is no pool `purple`"));
        assert!(parse(&[("canary", "101")]).unwrap_err().contains("is not a weight"));
        assert!(
            parse(&[("canary", "1"), ("canary", "2")]).unwrap_err().contains("canary is given two weights")
        );
    }
}
