//! What hearing a record costs, over the corpus. Not a test of a limit: run it with `--release --
//! --ignored --nocapture speed` and read.

use std::time::Instant;

use deploywatch::codedeploy::Observer;
use deploywatch::config::Builtin;

use crate::corpus::Case;
use crate::schedule::{ALWAYS, at, end_ms};

#[test]
#[ignore = "prints figures for people"]
fn speed_of_hearing() {
    // Nanoseconds per record, for each log of both generations, are printed: each case is heard
    // anew many times, the best round counts.
    for name in ["1.x/daemon", "2.x/info"] {
        let case = Case::named(name);
        let now = at(end_ms(&case));
        for feed in [Builtin::Agent, Builtin::Deployments, Builtin::Scripts] {
            let records: Vec<_> = case
                .logs
                .iter()
                .flatten()
                .filter(|record| record.feed == feed)
                .collect();
            let mut best = u128::MAX;
            let mut observer = Observer::new(None, ALWAYS);
            for _ in 0..30 {
                observer = Observer::new(None, ALWAYS);
                let begin = Instant::now();
                for record in &records {
                    observer.hear(feed, &record.path, &record.text, record.time_ms, now);
                }
                best = best.min(begin.elapsed().as_nanos());
            }
            let bytes: usize = records.iter().map(|record| record.text.len()).sum();
            let saved = serde_json::to_vec(&observer.saved()).unwrap().len();
            println!(
                "{name} {feed:?}: {} records, {bytes} bytes, {} ns a record, {saved} bytes saved",
                records.len(),
                best / records.len() as u128
            );
        }
    }
}
