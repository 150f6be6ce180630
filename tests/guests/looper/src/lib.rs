//! Never comes back: shows that the host interrupts a guest, in a call and at start.
//!
//! An alert named `loop` makes `correlate` loop for ever; `{"loop_in_init":true}` does the same in `init`.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Wanted, config};

struct Looper;

impl Plugin for Looper {
    fn describe() -> Description {
        Description::new("looper", env!("CARGO_PKG_VERSION"), "Loops for ever on demand.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        if config::get("loop_in_init").as_deref() == Some("true") {
            spin();
        }
        Ok(Looper)
    }
}

impl Correlator for Looper {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        if batch.alerts().any(|alert| alert.text("name") == Some("loop")) {
            spin();
        }
        Ok(Findings::default())
    }
}

/// A loop that the compiler can neither remove nor finish.
fn spin() {
    let mut turns: u64 = 0;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

donjon_plugin::export!(Looper as correlator);
