//! One program for all fuzz targets; `SPLITTER_FUZZ_TARGET` names the one that it is.

#![no_main]

use std::{cell::RefCell, env};

use libfuzzer_sys::fuzz_target;
use splitter_tests::fuzz::{Runner, Target};

thread_local! {
    static RUNNER: RefCell<Runner> = RefCell::new(runner());
}

fn runner() -> Runner {
    let name = env::var("SPLITTER_FUZZ_TARGET").expect("SPLITTER_FUZZ_TARGET names the target");
    Target::named(&name).and_then(Runner::of).unwrap_or_else(|error| panic!("{error:#}"))
}

fuzz_target!(|input: &[u8]| {
    RUNNER.with_borrow_mut(|runner| {
        if let Err(error) = runner.run(input) {
            panic!("{error:#}");
        }
    });
});
