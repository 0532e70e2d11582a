//! One program for all fuzz targets; `SPLITTER_FUZZ_TARGET` names the one that it is, and `SPLITTER_FUZZ_SEEDS` the
//! folder that its seeds are wanted in.

#![no_main]

use std::{cell::RefCell, env, path::Path};

use libfuzzer_sys::fuzz_target;
use splitter_tests::fuzz::{Runner, Target, plant};

thread_local! {
    static RUNNER: RefCell<Runner> = RefCell::new(runner());
}

fn target() -> Target {
    let name = env::var("SPLITTER_FUZZ_TARGET").expect("SPLITTER_FUZZ_TARGET names the target");
    Target::named(&name).unwrap_or_else(|error| panic!("{error:#}"))
}

fn runner() -> Runner {
    Runner::of(target()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Before the fuzzer reads its folders.
fn seeds() {
    if let Some(folder) = env::var_os("SPLITTER_FUZZ_SEEDS") {
        plant(target(), Path::new(&folder)).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

fuzz_target!(init: seeds(), |input: &[u8]| {
    RUNNER.with_borrow_mut(|runner| {
        if let Err(error) = runner.run(input) {
            panic!("{error:#}");
        }
    });
});
