//! From events to answers: batches are filled within the service's limits, sent one at a time per
//! target, retried without end, and settled once.
//!
//! [`Shipper`] is the front. The agent hands it events in file order ([`Shipper::push`]), lets it
//! act ([`Shipper::step`]) and takes away what came of it: acknowledgements for the ledger,
//! bytes it gave back to be read again, events nobody will ever take.
//!
//! Invariants:
//! - **Order.** One call in flight per target, and a target's batches go in the order in which
//!   they were filled; events of one file in one target therefore arrive in file order.
//! - **Bounded.** [`Limits::batch_bytes_max`] bounds the memory of all batches, open, waiting and
//!   in flight; [`Limits::target_bytes_max`] that of one target; [`Limits::calls_max`] the calls.
//! - **No starvation.** A target that waits to retry may lose its memory to one that can send:
//!   its batches are dissolved and their bytes given back ([`Shipper::take_returned`]), since the
//!   log file is the queue. A target in trouble costs others nothing but that.
//! - **No outcome by giving up.** Throttling, 5xx, timeouts, credentials: retried for ever.
//! - Same inputs, same clock, same seed: same calls.
