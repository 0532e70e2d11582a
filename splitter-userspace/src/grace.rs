//! Grace periods: waiting until no XDP program that began earlier is still running.
//!
//! A change of the split is one flipped word. A packet that read the old word may still be on its way through
//! the program on some CPU; only when none is may the old tables be written again, and only then does a call
//! that changed the split return.
//!
//! # Why visiting every CPU is enough
//!
//! The program of an interface runs inside NAPI polling, with bottom halves disabled (`net_rx_action` and
//! `napi_threaded_poll` in `net/core/dev.c`; generic XDP likewise). Unless the kernel is PREEMPT_RT, code in that
//! state counts in `preempt_count` and is never preempted by a task, whichever preemption model is chosen
//! (`include/linux/preempt.h`), on every kernel from 5.10, the oldest supported, on. So at the moment when an
//! ordinary thread runs on a CPU, no program that began there earlier is still running; and the switch to the
//! thread orders memory, so one that begins there later sees everything written before the visit.
//!
//! On PREEMPT_RT bottom halves can be preempted, and a cpuset can keep the thread from a CPU. Then
//! `membarrier(MEMBARRIER_CMD_GLOBAL)` is used: it is `synchronize_rcu()` (`kernel/sched/membarrier.c`), and
//! code with bottom halves disabled is an RCU reader on every kernel. Only on a single CPU it waits for nothing,
//! which is as good as a visit, but not on PREEMPT_RT.
//!
//! # What it costs
//!
//! On an idle 2-core machine under Linux 6.18 a visit of all CPUs takes 0.1 ms and `membarrier` 8 ms (20 at most).
//! On a busy CPU the thread first waits for its turn, a few milliseconds.

use std::{
    fmt, fs, io,
    sync::mpsc::{self, Sender},
    thread,
};

use rustix::thread::{CpuSet, MembarrierCommand, membarrier, sched_setaffinity};

/// CPUs that can run programs now, as a list of ranges.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Holds `1` under PREEMPT_RT and does not exist elsewhere (`kernel/ksysfs.c`).
const REALTIME: &str = "/sys/kernel/realtime";

/// Waits for grace periods. Made once and kept: it owns a thread.
#[derive(Debug)]
pub struct GracePeriod {
    /// Whether the kernel is PREEMPT_RT, where visiting proves nothing.
    realtime: bool,
    /// `None`: `membarrier` from the start.
    visitor: Option<Visitor>,
}

/// Neither way of waiting works on this host.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot tell when the old tables are out of use: {visit}, and membarrier is no help: {barrier}; \
     let splitterd run on every online CPU (cpuset, AllowedCPUs=), or boot a kernel without nohz_full= and, \
     if it has one CPU, without PREEMPT_RT"
)]
pub struct Error {
    /// Why the CPUs could not be visited.
    visit: String,
    /// Why `membarrier` was no help.
    #[source]
    barrier: io::Error,
}

impl GracePeriod {
    /// Takes the fastest way that is right on this kernel.
    pub fn choose() -> Self {
        let realtime = fs::read_to_string(REALTIME).is_ok_and(|text| text.trim() == "1");
        Self { realtime, visitor: if realtime { None } else { Visitor::start().ok() } }
    }

    /// Returns when no XDP program that began before the call is running any more. Blocks: 0.1 ms on an idle host.
    ///
    /// # Errors
    ///
    /// A CPU cannot be visited, and `membarrier` is no help: the kernel refuses it (it does with `nohz_full=`), or
    /// has PREEMPT_RT and a single CPU.
    pub fn wait(&self) -> Result<(), Error> {
        let visit = match self.visitor.as_ref().map(Visitor::visit) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => error.to_string(),
            None => "CPUs cannot be visited".to_owned(),
        };
        self.barrier().map_err(|barrier| Error { visit, barrier })
    }

    fn barrier(&self) -> io::Result<()> {
        if self.realtime && online_cpus().is_ok_and(|cpus| cpus.len() < 2) {
            return Err(io::Error::other("with a single CPU and PREEMPT_RT it waits for nothing"));
        }
        Ok(membarrier(MembarrierCommand::Global)?)
    }
}

impl fmt::Display for GracePeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.visitor.is_some() { "visit every CPU" } else { "membarrier" })
    }
}

/// A thread of its own that goes from CPU to CPU, so that nobody else's affinity changes. It ends with its sender.
#[derive(Debug)]
struct Visitor {
    requests: Sender<Sender<Result<(), VisitError>>>,
}

#[derive(Debug, thiserror::Error)]
enum VisitError {
    #[error("cannot read {ONLINE}: {0}")]
    Online(#[source] io::Error),
    #[error("this process may not run on CPU {cpu}: {source}")]
    Cpu { cpu: usize, source: io::Error },
    #[error("the visiting thread is gone")]
    Gone,
}

impl Visitor {
    fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Sender<_>>();
        thread::Builder::new().name("grace".to_owned()).spawn(move || {
            for reply in inbox {
                // Nobody left to hear it is no fault of the visit.
                let _ = reply.send(visit_every_cpu());
            }
        })?;
        Ok(Self { requests })
    }

    fn visit(&self) -> Result<(), VisitError> {
        let (reply, answer) = mpsc::channel();
        self.requests.send(reply).map_err(|_| VisitError::Gone)?;
        answer.recv().map_err(|_| VisitError::Gone)?
    }
}

/// Runs the calling thread on each CPU that is online. One that comes later runs nothing that began earlier, and
/// one that goes away meanwhile has finished what it ran.
fn visit_every_cpu() -> Result<(), VisitError> {
    for cpu in online_cpus()? {
        if let Err(source) = visit_cpu(cpu)
            && online_cpus()?.contains(&cpu)
        {
            return Err(VisitError::Cpu { cpu, source });
        }
    }
    Ok(())
}

/// Returns with the calling thread running on `cpu`: the kernel moves it before the call ends.
fn visit_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::other("its number is too large"));
    }
    let mut only = CpuSet::new();
    only.set(cpu);
    Ok(sched_setaffinity(None, &only)?)
}

fn online_cpus() -> Result<Vec<usize>, VisitError> {
    let text = fs::read_to_string(ONLINE).map_err(VisitError::Online)?;
    parse_cpus(&text)
        .ok_or_else(|| VisitError::Online(io::Error::other(format!("`{}` is no list", text.trim()))))
}

/// `0-3,5` as numbers (`cpulist`, `Documentation/admin-guide/cputopology.rst`); `None` if it is no such list.
fn parse_cpus(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Instant,
    };

    use super::*;

    #[test]
    fn cpu_lists_are_ranges_and_numbers() {
        assert_eq!(parse_cpus("0\n"), Some(vec![0]));
        assert_eq!(parse_cpus("0-3,5\n"), Some(vec![0, 1, 2, 3, 5]));
        assert_eq!(parse_cpus("0-1,4-5,7"), Some(vec![0, 1, 4, 5, 7]));
        for wrong in ["", "a", "0-", "-1", "0,,1"] {
            assert_eq!(parse_cpus(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_visit_leaves_the_thread_on_that_cpu() {
        thread::spawn(|| {
            for cpu in online_cpus().unwrap() {
                if visit_cpu(cpu).is_ok() {
                    assert_eq!(rustix::thread::sched_getcpu(), cpu);
                }
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_cpu_that_cannot_be_visited_is_an_error() {
        assert!(visit_cpu(CpuSet::MAX_CPU).is_err());
        assert!(visit_cpu(CpuSet::MAX_CPU - 1).is_err());
    }

    #[test]
    fn waiting_leaves_the_caller_where_it_may_run() {
        let before = rustix::thread::sched_getaffinity(None).unwrap();
        GracePeriod::choose().wait().unwrap();
        assert_eq!(rustix::thread::sched_getaffinity(None).unwrap(), before);
    }

    #[test]
    fn membarrier_takes_over_where_visiting_is_impossible() {
        GracePeriod { realtime: false, visitor: None }.wait().unwrap();
        let (requests, _) = mpsc::channel();
        GracePeriod { realtime: false, visitor: Some(Visitor { requests }) }.wait().unwrap();
    }

    #[test]
    fn waiting_ends_on_busy_cpus_too() {
        let stop = Arc::new(AtomicBool::new(false));
        let busy = online_cpus().unwrap().into_iter().map(|cpu| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let _ = visit_cpu(cpu);
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        });
        let busy: Vec<_> = busy.collect();
        let grace = GracePeriod::choose();
        let start = Instant::now();
        for _ in 0..20 {
            grace.wait().unwrap();
        }
        let took = start.elapsed() / 20;
        stop.store(true, Ordering::Relaxed);
        busy.into_iter().for_each(|thread| thread.join().unwrap());
        println!("{grace}: {took:?} with every CPU busy");
    }
}
