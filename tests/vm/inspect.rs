//! In the guest: what the disk really holds, and what the agent's checkpoint says of it.
//!
//! Prints one line a fact: `disk ID COUNT`, so many lines of a writer stand whole on the disk, from
//! its first; `settled ID COUNT`, so many of them the checkpoint found at boot calls answered for;
//! `set-back PATH`, the checkpoint goes further than the file, whose end the power cut took.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use deploywatch::ship::changes;
use deploywatch::ship::checkpoint::Checkpoint;

use crate::codedeploy;
use crate::support::lines::line;
use crate::support::oracle::tags;

/// The state directory as it was before the agent was started.
const STATE_AT_BOOT: &str = "/run/state-at-boot";

/// Prints it all.
pub(crate) fn run() {
    for path in codedeploy::files() {
        for (id, count) in lines_in(&fs::read(&path).unwrap()) {
            println!("disk {id} {count}");
        }
    }
    for name in ["checkpoints", "checkpoints.recent", changes::NAME] {
        let Ok(content) = fs::read(Path::new(STATE_AT_BOOT).join(name)) else {
            continue;
        };
        let known: Vec<Checkpoint> = match name {
            changes::NAME => changes::entries(&content).collect(),
            _ => Checkpoint::decode(&content).into_iter().collect(),
        };
        // A torn one counts for nothing, to the agent as well.
        if known.is_empty() {
            println!("torn {name}");
            continue;
        }
        for record in known.iter().flat_map(|checkpoint| &checkpoint.files) {
            let Ok(meta) = fs::metadata(&record.path) else {
                continue;
            };
            if meta.ino() != record.key.inode {
                continue;
            }
            let content = fs::read(&record.path).unwrap();
            let end = usize::try_from(record.settled.0).unwrap();
            if content.len() < end || content[..end].ends_with(&[0]) {
                println!("set-back {}", record.path.display());
            }
            for (id, count) in lines_in(&content[..end.min(content.len())]) {
                println!("settled {id} {count}");
            }
        }
    }
}

/// Makes the agent's checkpoints those of a version that is not there yet.
pub(crate) fn make_newer() {
    for name in ["checkpoints", "checkpoints.recent"] {
        let path = Path::new("/var/lib/deploywatch").join(name);
        let Ok(content) = fs::read(&path) else {
            continue;
        };
        let end = content.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut header: serde_json::Value = serde_json::from_slice(&content[..end]).unwrap();
        let version = u32::try_from(header["version"].as_u64().unwrap()).unwrap() + 1;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&version.to_le_bytes());
        sum.update(&content[end..]);
        header["version"] = version.into();
        header["crc32"] = sum.finalize().into();
        fs::write(
            &path,
            [header.to_string().as_bytes(), b"\n", &content[end..]].concat(),
        )
        .unwrap();
    }
}

/// How many lines of each writer stand there whole, without a gap from the first.
fn lines_in(content: &[u8]) -> BTreeMap<String, u64> {
    let text = String::from_utf8_lossy(content);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for row in text.split_inclusive('\n').filter(|row| row.ends_with('\n')) {
        for (id, number) in tags(row) {
            let count = counts.entry(id.to_owned()).or_default();
            if number == *count && row.contains(&line(id, number)) {
                *count += 1;
            }
        }
    }
    counts
}
