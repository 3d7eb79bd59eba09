//! The agent's own directory of state, and contents that are written piece by piece, so that something
//! large is never in memory as a whole.

use std::io;

/// The agent's own directory of state. Names are relative, `/` allowed for one folder level.
pub trait Store {
    /// The whole content, `None` where there is no such name.
    ///
    /// # Errors
    /// As the system says.
    fn load(&mut self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// The first so many bytes of the content, or all if it has fewer.
    ///
    /// # Errors
    /// As the system says.
    fn load_beginning(&mut self, name: &str, bytes: usize) -> io::Result<Option<Vec<u8>>> {
        let content = self.load(name)?;
        Ok(content.map(|mut content| {
            content.truncate(bytes);
            content
        }))
    }

    /// Replaces the content atomically and durably: write beside, sync, rename, sync the folder.
    ///
    /// # Errors
    /// As the system says (a full disk above all); the old content is then untouched.
    fn save(&mut self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Replaces the content atomically but without waiting for the disk: a killed process leaves
    /// the old or the new content, a power cut may leave neither whole. For what is checked when
    /// it is read.
    ///
    /// # Errors
    /// As the system says.
    fn note(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.save(name, content)
    }

    /// Saves what `write` writes, of which only a piece at a time need be in memory: how many bytes.
    ///
    /// # Errors
    /// As [`Store::save`], and those of `write`; the old content is then untouched.
    fn save_pieces(&mut self, name: &str, write: Pieces<'_>) -> io::Result<u64> {
        let content = gathered(write)?;
        self.save(name, &content).map(|()| content.len() as u64)
    }

    /// Notes what `write` writes: how many bytes.
    ///
    /// # Errors
    /// As [`Store::note`], and those of `write`.
    fn note_pieces(&mut self, name: &str, write: Pieces<'_>) -> io::Result<u64> {
        let content = gathered(write)?;
        self.note(name, &content).map(|()| content.len() as u64)
    }

    /// Appends to a file, creating it. Not durable before the next sync of the system.
    ///
    /// # Errors
    /// As the system says.
    fn append(&mut self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Renames, replacing what is there.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes; a missing name is no error.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// The names in a folder with their sizes, sorted by name; empty where there is no folder.
    ///
    /// # Errors
    /// As the system says.
    fn names(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>>;

    /// Gives something damaged the first free name of `NAME.damaged-1` to `-9`, the last of which is
    /// replaced, and returns that. Whatever stands there, file or not, is then in nobody's way.
    ///
    /// # Errors
    /// As the system says.
    fn set_aside(&mut self, name: &str) -> io::Result<String> {
        let free = |store: &mut Self, nth: u32| {
            let aside = format!("{name}.damaged-{nth}");
            matches!(store.load(&aside), Ok(None)).then_some(aside)
        };
        let aside = (1..DAMAGED_MAX).find_map(|nth| free(self, nth));
        let aside = aside.unwrap_or_else(|| format!("{name}.damaged-{DAMAGED_MAX}"));
        self.rename(name, &aside)?;
        Ok(aside)
    }
}

/// Damaged files of one name that are kept.
pub const DAMAGED_MAX: u32 = 9;

/// Where a file's content is written piece by piece. It ends where the writer stands at last.
pub trait Sheet: io::Write + io::Seek {}

impl<T: io::Write + io::Seek> Sheet for T {}

/// What writes a content, once.
pub type Pieces<'w> = &'w mut dyn FnMut(&mut dyn Sheet) -> io::Result<()>;

/// The whole of what is written.
fn gathered(write: Pieces<'_>) -> io::Result<Vec<u8>> {
    let mut sheet = io::Cursor::new(Vec::new());
    write(&mut sheet)?;
    let end = usize::try_from(sheet.position()).unwrap_or(usize::MAX);
    let mut content = sheet.into_inner();
    content.truncate(end);
    Ok(content)
}
