//! What has changed since a checkpoint was written whole, entry by entry in one file: writing thousands
//! of files for each batch that is answered would cost more than sending it.
//!
//! An entry is a checkpoint that names only files that have changed; all else it says whole. It
//! replaces the records of those files, and is numbered one higher than what it follows. The first
//! entry that is torn or does not follow ends it: bytes are read again then, none is skipped.

use std::collections::HashMap;
use std::io;

use crate::event::FileRecord;
use crate::ports::Store;
use crate::ports::sealed::{unproven, unseal_first};

use super::checkpoint::{BEGINNING_BYTES, Checkpoint, KIND, VERSION, sequence};

/// Its name in the state directory. It is written anew behind each checkpoint, and never synced.
pub const NAME: &str = "checkpoints.changes";

/// Takes over what has changed since `base` was written. What does not follow that is of another one,
/// and is removed: the next one may get the number it follows.
///
/// # Errors
/// When what does not follow cannot be removed.
pub(super) fn catch_up(base: Option<&mut Checkpoint>, store: &mut dyn Store) -> io::Result<()> {
    let beginning = store.load_beginning(NAME, BEGINNING_BYTES);
    let first = match &beginning {
        Ok(None) => return Ok(()),
        Ok(Some(beginning)) => unproven(KIND, beginning).and_then(|(_, body)| sequence(body)),
        Err(_) => None,
    };
    if let Some(base) = base.filter(|base| first == Some(base.sequence + 1))
        && let Ok(Some(content)) = store.load(NAME)
    {
        base.follow(&content);
    } else if store.remove(NAME).is_err() {
        store.set_aside(NAME)?;
    }
    Ok(())
}

/// The entries in a content, up to the first that is torn; each is a checkpoint of some files only.
pub fn entries(content: &[u8]) -> impl Iterator<Item = Checkpoint> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let (body, others) = unseal_first(KIND, VERSION, rest).ok()?;
        rest = others;
        Checkpoint::decode_body(body).ok()
    })
}

impl Checkpoint {
    /// Takes over the entries that follow it, as far as they are whole and each follows the one before.
    fn follow(&mut self, content: &[u8]) {
        let name = |file: &FileRecord| (file.source.clone(), file.key);
        let places = self.files.iter().enumerate();
        let places = places.filter(|(_, file)| !file.is_displaced);
        // Of two of one name the first is the one that is read; the other sleeps.
        let places: HashMap<_, _> = places.rev().map(|(at, file)| (name(file), at)).collect();
        for mut entry in entries(content) {
            let changed = std::mem::take(&mut entry.files);
            let at: Option<Vec<usize>> = changed
                .iter()
                .map(|file| places.get(&name(file)).copied())
                .collect();
            let (true, Some(at)) = (entry.sequence == self.sequence + 1, at) else {
                return;
            };
            entry.files = std::mem::take(&mut self.files);
            for (at, file) in at.into_iter().zip(changed) {
                entry.files[at] = file;
            }
            *self = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Offset;
    use crate::ship::checkpoint::{self, Loaded};
    use crate::ship::testing::MemoryStore;

    const FILES: u64 = 4;

    /// What an agent does with its checkpoint.
    #[derive(Clone, Debug)]
    enum Act {
        /// Writes it whole, under that name.
        Whole(&'static str),
        /// Goes on in a file and appends an entry.
        Entry(usize),
        /// Begins an entry that is not written; the next one is whole.
        Failed,
        /// Is killed and starts again.
        Restart,
        /// The power fails: of the entries only so much is left, or what follows is NULs.
        Cut(prop::sample::Index, bool),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            2 => prop_oneof![Just(checkpoint::NAME), Just(checkpoint::NOTED)].prop_map(Act::Whole),
            8 => any::<usize>().prop_map(Act::Entry),
            1 => Just(Act::Failed),
            2 => Just(Act::Restart),
            1 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, nul)| Act::Cut(at, nul)),
        ]
    }

    fn start() -> Checkpoint {
        let file = |inode| {
            let record = serde_json::json!({
                "source": "app", "path": "/a.log", "family": "/a.log", "root": "/", "modified_ms": 0,
                "key": {"device": 1, "inode": inode}, "tail": {"bytes": 0, "hash": 0}, "settled": 0, "size": 0,
            });
            serde_json::from_value(record).unwrap()
        };
        Checkpoint {
            files: (0..FILES).map(file).collect(),
            ..Checkpoint::default()
        }
    }

    fn loaded(store: &mut MemoryStore) -> Checkpoint {
        match checkpoint::load(store) {
            Ok(Loaded::Known(known)) => known,
            other => panic!("{other:?}"),
        }
    }

    /// The content with one file further on and all others left out.
    fn entry_of(known: &mut Checkpoint, nth: usize) -> Vec<u8> {
        let nth = nth % known.files.len();
        known.sequence += 1;
        known.next_loss += 1;
        known.files[nth].settled = Offset(known.sequence);
        let files = vec![known.files[nth].clone()];
        let entry = Checkpoint {
            files,
            ..known.clone()
        };
        entry.encode()
    }

    proptest! {
        /// Whatever is written in which order, whole and as entries, and however the process ends, what is
        /// loaded is what was known: after a kill at the end, after a power cut at some time since the last
        /// whole one; never a mixture, and never what was known before a power cut took it.
        #[test]
        fn what_was_known_last_is_loaded(acts in prop::collection::vec(act(), 1..40)) {
            let mut store = MemoryStore::default();
            let mut known = start();
            known.sequence = 1;
            store.save(checkpoint::NAME, &known.encode()).unwrap();
            // What was written since the last whole one, that first.
            let mut written = vec![known.clone()];
            let mut follows = true;
            let mut entries = 0;
            for act in acts {
                match act {
                    Act::Entry(nth) if follows => {
                        let entry = entry_of(&mut known, nth);
                        match entries {
                            0 => store.note(NAME, &entry).unwrap(),
                            _ => store.append(NAME, &entry).unwrap(),
                        }
                        entries += 1;
                        written.push(known.clone());
                    }
                    Act::Failed => {
                        known.sequence += 1;
                        follows = false;
                    }
                    Act::Whole(_) | Act::Entry(_) => {
                        let name = match act {
                            Act::Whole(name) => name,
                            _ => checkpoint::NAME,
                        };
                        known.sequence += 1;
                        store.save(name, &known.encode()).unwrap();
                        written = vec![known.clone()];
                        (follows, entries) = (true, 0);
                    }
                    Act::Restart | Act::Cut(..) => {
                        if let (Act::Cut(at, is_nul), Some(mut content)) = (act, store.load(NAME).unwrap()) {
                            let at = at.index(content.len());
                            match is_nul {
                                true => content[at..].fill(0),
                                false => content.truncate(at),
                            }
                            store.save(NAME, &content).unwrap();
                        } else {
                            prop_assert_eq!(&loaded(&mut store), written.last().unwrap());
                        }
                        known = loaded(&mut store);
                        let last = written.iter().position(|before| *before == known);
                        prop_assert!(last.is_some(), "{:?}", known);
                        written.truncate(last.unwrap() + 1);
                        follows = false;
                    }
                }
            }
        }
    }

    /// What stands in its place and is none is in nobody's way, and what follows no checkpoint is gone.
    #[test]
    fn what_does_not_follow_is_removed() {
        let mut known = start();
        known.sequence = 7;
        let mut store = MemoryStore::default();
        for content in [
            b"?".to_vec(),
            entry_of(&mut known.clone(), 0),
            known.encode(),
        ] {
            store.save(NAME, &content).unwrap();
            let is_fresh = matches!(checkpoint::load(&mut store), Ok(Loaded::Fresh));
            assert!(is_fresh && store.load(NAME).unwrap().is_none());
        }
    }
}
