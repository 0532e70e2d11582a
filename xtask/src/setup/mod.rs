//! `cargo xtask setup`: finds what is missing, says what it is about to do, does it, and looks again.

mod bpf_linker;
mod compiler;
mod debian;
mod musl;
mod rust_src;
mod system;

use anyhow::{Result, bail};

use compiler::Compiler;

/// Options of `cargo xtask setup`.
#[derive(Default, clap::Args)]
pub struct Options {
    /// Install nothing: report, and exit with 1 if something is missing.
    #[arg(long)]
    check: bool,
    /// What `cargo xtask vm` needs, too: an emulator, and a way to build programs that need no libraries.
    #[arg(long)]
    vm: bool,
    /// What `cargo xtask fuzz` needs, too: a C++ compiler.
    #[arg(long)]
    fuzz: bool,
}

impl Options {
    /// Installs what virtual machines need, too.
    pub fn for_vm() -> Self {
        Self { vm: true, ..Self::default() }
    }

    /// Installs what the fuzzer needs, too.
    pub fn for_fuzzing() -> Self {
        Self { fuzz: true, ..Self::default() }
    }
}

/// Something that must be on the machine.
trait Need {
    /// What it is called.
    fn name(&self) -> String;
    /// What it is for.
    fn why(&self) -> &'static str;
    /// Whether it is there and works.
    fn is_met(&self) -> bool;
    /// Installs it, saying each thing before doing it.
    fn install(&self) -> Result<()>;
}

/// Brings the machine to where everything can be built and run; does nothing where it is already.
pub fn run(options: &Options) -> Result<()> {
    let compiler = Compiler::find()?;
    let mut needs = needs(&compiler);
    if options.vm {
        needs.extend(needs_of_vm(compiler));
    }
    if options.fuzz {
        needs.extend(system::FUZZ_TOOLS.map(|tool| Box::new(tool) as Box<dyn Need>));
    }
    let missing: Vec<_> = needs.iter().filter(|need| !report(need.as_ref())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if options.check {
        bail!(
            "{} of {} things are missing: the same without `--check` installs them",
            missing.len(),
            needs.len()
        );
    }
    let failures: Vec<_> = missing.iter().filter_map(|need| install(need.as_ref()).err()).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = failures.iter().map(|failure| format!("- {failure:#}")).collect();
    bail!("could not install everything:\n{}", list.join("\n"));
}

fn needs(compiler: &Compiler) -> Vec<Box<dyn Need>> {
    let mut needs: Vec<Box<dyn Need>> = vec![
        Box::new(rust_src::RustSrc::new(compiler.clone())),
        Box::new(bpf_linker::BpfLinker::new(compiler.clone())),
    ];
    for tool in system::TOOLS {
        needs.push(Box::new(tool));
    }
    needs
}

fn needs_of_vm(compiler: Compiler) -> Vec<Box<dyn Need>> {
    let mut needs: Vec<Box<dyn Need>> = vec![Box::new(musl::MuslTarget::new(compiler))];
    for tool in system::VM_TOOLS {
        needs.push(Box::new(tool));
    }
    needs
}

/// Prints whether it is there, and says so.
fn report(need: &dyn Need) -> bool {
    let met = need.is_met();
    if met {
        eprintln!("setup: ok       {}", need.name());
    } else {
        eprintln!("setup: missing  {}: {}", need.name(), need.why());
    }
    met
}

fn install(need: &dyn Need) -> Result<()> {
    need.install().map_err(|cause| cause.context(format!("{} ({})", need.name(), need.why())))?;
    if !need.is_met() {
        bail!("{} was installed without an error, but still cannot be found", need.name());
    }
    eprintln!("setup: ok       {}", need.name());
    Ok(())
}
