//! Everything here is made to do harm: names, files, state, lines. Each test shows that it does none.

mod growth;
mod kept;
mod machine;
#[path = "../support/muted.rs"]
mod muted;
#[path = "../support/nobody.rs"]
mod nobody;
mod numbers;
#[path = "../support/oblivion.rs"]
mod oblivion;
mod paths;
mod profile;
mod secrets;
mod state;
#[path = "../fuzz/targets.rs"]
mod targets;
