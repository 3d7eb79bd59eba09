//! The process: arguments, config, logging, signals, exit code. Nothing else.
fn main() {}
