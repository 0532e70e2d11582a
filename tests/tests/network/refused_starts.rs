//! Daemons that must not start: each says why, and leaves everything as it was.

use std::{
    fs,
    io::Read,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{PoolSizes, Stage, binaries, config, xdp};

use crate::support::{self, WEB, WEB6};

/// Nobody's number, by convention.
const NOBODY: u32 = 65534;

pub fn a_second_daemon_is_refused() -> Result<()> {
    let stage = stage()?;
    let before = support::programs(&stage)?;
    let socket = config::socket(stage.scratch.folder());
    let outcome = run_daemon(&stage, &stage.config())?;
    outcome.failed_with(&[
        "splitterd is already running on",
        &socket.to_string_lossy(),
        "pid",
        "another socket",
    ])?;
    // With a socket of its own it finds the interfaces taken.
    let own = stage.scratch.path("second.toml");
    let text = fs::read_to_string(stage.config())?.replace("splitter.sock", "second.sock");
    fs::write(&own, text)?;
    let outcome = run_daemon(&stage, &own)?;
    let id = before[0].context("nothing is attached")?.to_string();
    outcome.failed_with(&["eth0 already carries XDP program", "splitter", &id])?;
    ensure!(support::programs(&stage)? == before, "the first one is not what it was");
    support::is_served(&stage)
}

pub fn a_missing_interface_is_refused() -> Result<()> {
    let mut stage = stage()?;
    support::stop(&mut stage)?;
    support::edit_config(&stage, |text| text.replace("\"eth1\"", "\"nope0\""))?;
    let outcome = run_daemon(&stage, &stage.config())?;
    outcome.failed_with(&["nope0", "ip link", "[daemon] interfaces"])?;
    ensure!(support::programs(&stage)? == [None, None], "still attached: {:?}", support::programs(&stage)?);
    Ok(())
}

pub fn a_foreign_program_is_not_replaced() -> Result<()> {
    let mut stage = stage()?;
    support::stop(&mut stage)?;
    xdp::attach_pass(&stage.topology.lb, "eth1", &stage.scratch.bpf())?;
    let [_, foreign] = support::programs(&stage)?;
    let id = foreign.context("the foreign program is not there")?.to_string();
    for mode in ["auto", "native", "generic"] {
        let line = format!("[daemon]\nxdp_mode = \"{mode}\"\n");
        let file = stage.scratch.path("mode.toml");
        fs::write(&file, fs::read_to_string(stage.config())?.replace("[daemon]\n", &line))?;
        let outcome = run_daemon(&stage, &file)?;
        let words = ["eth1 already carries", xdp::PASS_NAME, &id, "ip link set dev eth1 xdp off"];
        outcome.failed_with(&words).with_context(|| format!("xdp_mode {mode}"))?;
        ensure!(
            support::programs(&stage)? == [None, foreign],
            "{mode}: attached: {:?}",
            support::programs(&stage)?
        );
    }
    stage.topology.lb.tool("ip", &["link", "set", "dev", "eth1", "xdp", "off"])?;
    stage.start_daemon()?;
    support::is_served(&stage)
}

pub fn a_wrong_configuration_is_refused() -> Result<()> {
    let mut stage = stage()?;
    support::stop(&mut stage)?;
    let wrong = |text: &str| text.replace("weight = 100", "weight = 90").replace("port = 80\n", "port = 0\n");
    support::edit_config(&stage, wrong)?;
    let outcome = run_daemon(&stage, &stage.config())?;
    ensure!(outcome.code == Some(4), "ended with {:?}: {}", outcome.code, outcome.stderr);
    // All mistakes at once, each with its place.
    support::mentions(&outcome.stderr, &["splitter.toml:", "weights add up to 90%", "port"])?;
    ensure!(support::programs(&stage)? == [None, None], "still attached: {:?}", support::programs(&stage)?);
    Ok(())
}

/// As `nobody`, with a folder and programs that `nobody` can use: only privileges are missing.
pub fn no_privileges_are_a_clear_error() -> Result<()> {
    let mut stage = stage()?;
    let nobody = Nobody::new()?;
    let socket = config::socket(stage.scratch.folder());
    let mut status = nobody.command("splitter")?;
    let status = status.arg("--socket").arg(&socket).arg("status").output()?;
    ensure!(status.status.code() == Some(5), "`splitter status` ended with {}", status.status);
    let message = String::from_utf8_lossy(&status.stderr).to_lowercase();
    support::mentions(&message, &["cannot reach splitterd", "permission denied", "run as root"])?;

    support::stop(&mut stage)?;
    let file = nobody.config(&stage)?;
    let outcome = run(&stage, nobody.command("splitterd")?.arg("--config").arg(file))?;
    outcome.failed_with(&["may not use BPF", "root", "CAP_BPF"])?;
    ensure!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    ensure!(support::programs(&stage)? == [None, None], "still attached: {:?}", support::programs(&stage)?);
    Ok(())
}

/// What an unprivileged user works with.
struct Nobody {
    folder: tempfile::TempDir,
}

impl Nobody {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        Ok(Self { folder })
    }

    /// One of our programs, copied: where it was built may be out of bounds.
    fn command(&self, program: &str) -> Result<Command> {
        let copy = self.folder.path().join(program);
        fs::copy(binaries::find(program)?, &copy).with_context(|| format!("cannot copy {program}"))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        let mut command = Command::new(copy);
        command.uid(NOBODY).gid(NOBODY);
        Ok(command)
    }

    /// The laboratory's configuration, with every path moved here.
    fn config(&self, stage: &Stage) -> Result<PathBuf> {
        let theirs = stage.scratch.folder().to_string_lossy().into_owned();
        let text =
            fs::read_to_string(stage.config())?.replace(&theirs, &self.folder.path().to_string_lossy());
        let file = self.folder.path().join("splitter.toml");
        fs::write(&file, text)?;
        Ok(file)
    }
}

/// What became of a daemon that was to end by itself.
struct Outcome {
    code: Option<i32>,
    stderr: String,
}

impl Outcome {
    /// Checks that it failed, and that it says so with these words.
    fn failed_with(&self, words: &[&str]) -> Result<()> {
        ensure!(self.code.is_some_and(|code| code != 0), "ended with {:?}: {}", self.code, self.stderr);
        support::mentions(&self.stderr, words)
    }
}

fn run_daemon(stage: &Stage, config: &Path) -> Result<Outcome> {
    run(stage, Command::new(binaries::find("splitterd")?).arg("--config").arg(config))
}

/// Runs a command in the load balancer's namespace to its end.
fn run(stage: &Stage, command: &mut Command) -> Result<Outcome> {
    let mut child = stage.topology.lb.spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
    let ended = support::eventually("splitterd to give up", || Ok(child.try_wait()?));
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let mut stderr = String::new();
    child.stderr.take().context("no standard error")?.read_to_string(&mut stderr)?;
    let code = ended.with_context(|| stderr.clone())?.code();
    Ok(Outcome { code, stderr })
}

fn stage() -> Result<Stage> {
    let stage = Stage::build(PoolSizes { blue: 1, green: 0, canary: 0 }, &[WEB, WEB6])?;
    support::is_served(&stage)?;
    Ok(stage)
}
