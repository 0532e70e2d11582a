//! What laboratories left behind whose process was killed.

use std::{fs, path::Path};

use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process, test_kill_process},
};

use super::{ip, namespace, scratch};

/// Removes namespaces (and the processes in them) and temporary folders of laboratories whose process is gone.
///
/// Best effort: what cannot be removed takes up a name and some memory, no more.
pub fn remove() {
    for name in names_in(Path::new(namespace::FOLDER), namespace::process_of) {
        eprintln!("lab: removing the namespace {name}, left behind by a process that is gone");
        kill_inhabitants(&name);
        report(ip::batch(None, &[format!("netns delete {name}")]));
    }
    let temporary = std::env::temp_dir();
    for name in names_in(&temporary, scratch::process_of) {
        let folder = temporary.join(name);
        eprintln!("lab: removing {}, left behind by a process that is gone", folder.display());
        // Fails when nothing was mounted yet, which is as good.
        let _ = unmount(scratch::bpf_folder(&folder), UnmountFlags::DETACH);
        report(fs::remove_dir_all(&folder).map_err(Into::into));
    }
}

/// Entries of a folder that carry the number of a process that is gone.
fn names_in(folder: &Path, process_of: fn(&str) -> Option<i32>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| process_of(name).is_some_and(is_gone)).collect()
}

fn is_gone(process: i32) -> bool {
    Pid::from_raw(process).is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// A daemon whose laboratory was killed lives on inside the namespace.
fn kill_inhabitants(name: &str) {
    let listed = ip::run(std::process::Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for pid in listed.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)) {
        report(kill_process(pid, Signal::KILL).map_err(Into::into));
    }
}

fn report(outcome: anyhow::Result<()>) {
    if let Err(cause) = outcome {
        eprintln!("lab: {cause:#}");
    }
}
