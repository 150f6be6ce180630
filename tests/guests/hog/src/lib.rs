//! Takes memory without end as soon as there is an alert: shows that the host bounds it and says so.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Wanted};

const PIECE: usize = 1 << 20;

struct Hog {
    taken: Vec<Vec<u8>>,
}

impl Plugin for Hog {
    fn describe() -> Description {
        Description::new("hog", env!("CARGO_PKG_VERSION"), "Takes memory without end.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Hog { taken: Vec::new() })
    }
}

impl Correlator for Hog {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        while !batch.is_empty() {
            self.taken.push(std::hint::black_box(vec![1; PIECE]));
        }
        Ok(Findings::default())
    }
}

donjon_plugin::export!(Hog as correlator);
