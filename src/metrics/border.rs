//! What data pass on their way out.

use crate::ports::Datum;

/// Who looks at data before they leave: alarms may act on them.
pub trait Customs {
    /// A datum was made, and will be sent as soon as it may.
    fn made(&mut self, datum: &Datum);

    /// Whether a datum may be sent now. One that may not is given up and counted.
    fn may_leave(&self, datum: &Datum) -> bool;
}

/// Lets everything pass.
#[derive(Debug)]
pub struct OpenBorder;

impl Customs for OpenBorder {
    fn made(&mut self, _datum: &Datum) {}

    fn may_leave(&self, _datum: &Datum) -> bool {
        true
    }
}
