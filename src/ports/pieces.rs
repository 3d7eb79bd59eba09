//! A content that is written piece by piece, so that something large is never in memory as a whole.

use std::io;

/// Where a file's content is written piece by piece. It ends where the writer stands at last.
pub trait Sheet: io::Write + io::Seek {}

impl<T: io::Write + io::Seek> Sheet for T {}

/// What writes a content, once.
pub type Pieces<'w> = &'w mut dyn FnMut(&mut dyn Sheet) -> io::Result<()>;

/// The whole of what is written.
pub(super) fn gathered(write: Pieces<'_>) -> io::Result<Vec<u8>> {
    let mut sheet = io::Cursor::new(Vec::new());
    write(&mut sheet)?;
    let end = usize::try_from(sheet.position()).unwrap_or(usize::MAX);
    let mut content = sheet.into_inner();
    content.truncate(end);
    Ok(content)
}
