//! Globs over absolute paths, cut at the directories.
//!
//! A pattern is a literal root, out of which no symlink is followed, and one matcher for each
//! component behind it, so that a scan descends only into directories that can hold a match.
//! `*`, `?`, `[…]` and `{a,b}` never match a `/`; `**` stands alone as a component and means any
//! number of directories, also none.

use std::ffi::OsStr;
use std::path::{Component as PathPart, Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

/// Longest pattern, in bytes: no longer path can be opened (`PATH_MAX` in limits.h).
const PATTERN_BYTES_MAX: usize = 4096;

/// Roots whose files are no logs and whose number has no end.
const FORBIDDEN_ROOTS: [&str; 2] = ["/proc", "/sys"];

/// A glob over absolute paths, cut at the directories: `/var/log/app/*.log`.
#[derive(Clone, Debug)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// The literal directory it begins with: no symlink is followed out of it.
    pub root: Arc<Path>,
    /// What follows the root, one per path component; the last one is always a name.
    pub components: Vec<Component>,
}

/// One component of a [`PathPattern`] behind its root.
#[derive(Clone, Debug)]
pub enum Component {
    /// `**`: any number of directories, also none.
    AnyDirectories,
    /// A name or glob (`*.log`, `app-[0-9]*`, `{a,b}.log`).
    Name(GlobMatcher),
}

/// How a path fits a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is one of those meant.
    Whole,
    /// It may be a directory on the way to them.
    Beginning,
    /// Neither.
    Not,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not from the root, so it would depend on where the agent was started.
    #[error("\"{0}\" is not an absolute path")]
    Relative(String),
    /// Ends in `/` or `**`.
    #[error("\"{0}\" names directories, not files")]
    Directory(String),
    /// `.` or `..` as a component.
    #[error("\"{0}\" has a . or .. in it")]
    Dots(String),
    /// `**` next to something else.
    #[error("\"**\" is not alone between the slashes in \"{0}\"")]
    StarsNotAlone(String),
    /// Braces or brackets around a slash.
    #[error("braces or brackets hold a / in \"{0}\"")]
    SlashInGroup(String),
    /// The whole file system, or what the kernel shows there.
    #[error("\"{0}\" would search all of {1}")]
    TooWide(String, String),
    /// Longer than any path.
    #[error("longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// Refused by the matcher.
    #[error("\"{text}\" is not a valid glob: {reason}")]
    Glob {
        /// The component.
        text: String,
        /// The matcher's words.
        reason: String,
    },
}

impl PatternError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Relative(_) => "begin it with a /, such as \"/var/log/app/*.log\"".to_owned(),
            Self::Directory(text) => {
                let text = text.trim_end_matches('/');
                format!("say which files, such as \"{text}/*.log\"")
            }
            Self::Dots(_) => "write the path without them".to_owned(),
            Self::StarsNotAlone(_) => {
                "write * for a part of a name, /**/ for any directories".to_owned()
            }
            Self::SlashInGroup(_) => "write several patterns instead".to_owned(),
            Self::TooWide(..) => "begin with the directory the logs are in".to_owned(),
            Self::TooLong => "shorten it".to_owned(),
            Self::Glob { .. } => {
                "use * ? [a-z] {a,b}, and a \\ before a character that is meant as it is".to_owned()
            }
        }
    }
}

impl PathPattern {
    /// Reads a pattern as the user writes it.
    ///
    /// # Errors
    /// When it is not absolute, not a glob, names no file, or would search too much.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_shape(text)?;
        let mut parts = text.split('/').filter(|part| !part.is_empty()).peekable();
        let mut root = PathBuf::from("/");
        let mut components = Vec::new();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            if components.is_empty() && !is_last && is_literal(part) {
                root.push(part);
            } else {
                push_component(&mut components, part)?;
            }
        }
        let pattern = Self {
            text: text.to_owned(),
            root: root.into(),
            components,
        };
        pattern.check_width()?;
        Ok(pattern)
    }

    /// A pattern whose root is taken as it is, even where it holds characters of a glob: for
    /// roots that come from another program's configuration. Components are globs; escape what
    /// is not (`globset::escape`).
    ///
    /// # Errors
    /// When a component is not a glob, or the last one is `**`.
    pub fn from_parts(root: &Path, components: &[&str]) -> Result<Self, PatternError> {
        let text = root.join(components.join("/")).display().to_string();
        let mut parts = Vec::with_capacity(components.len());
        for component in components {
            if component.contains('/') || component.is_empty() {
                return Err(PatternError::SlashInGroup((*component).to_owned()));
            }
            push_component(&mut parts, component)?;
        }
        match parts.last() {
            Some(Component::Name(_)) => Ok(Self {
                text,
                root: root.into(),
                components: parts,
            }),
            _ => Err(PatternError::Directory(text)),
        }
    }

    /// Whether it has no wildcard.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        let mut components = self.components.iter();
        components.all(|component| component.literal().is_some())
    }

    /// Whether a path, taken literally, is one of those meant.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let Ok(behind) = path.strip_prefix(&self.root) else {
            return false;
        };
        let mut names = Vec::new();
        for part in behind.components() {
            match part {
                PathPart::Normal(name) => names.push(name),
                _ => return false,
            }
        }
        self.fit(names) == Fit::Whole
    }

    /// How the names of a path below the root fit. One look at each component for each name, so
    /// that no path, however many `**` there are, takes long.
    pub fn fit<'n>(&self, names: impl IntoIterator<Item = &'n OsStr>) -> Fit {
        // Which components may come next: all ways to match are followed at once.
        let mut next = vec![false; self.components.len() + 1];
        next[0] = true;
        self.skip_directories(&mut next);
        for name in names {
            let mut after = vec![false; next.len()];
            for (at, component) in self.components.iter().enumerate() {
                match component {
                    _ if !next[at] => {}
                    Component::AnyDirectories => after[at] = true,
                    Component::Name(glob) => after[at + 1] |= glob.is_match(name),
                }
            }
            self.skip_directories(&mut after);
            next = after;
        }
        match (next.last(), next.contains(&true)) {
            (Some(true), _) => Fit::Whole,
            (_, true) => Fit::Beginning,
            _ => Fit::Not,
        }
    }

    /// `**` may stand for no directory.
    fn skip_directories(&self, next: &mut [bool]) {
        for (at, component) in self.components.iter().enumerate() {
            if next[at] && matches!(component, Component::AnyDirectories) {
                next[at + 1] = true;
            }
        }
    }

    fn check_width(&self) -> Result<(), PatternError> {
        let too_wide = |root: &str| PatternError::TooWide(self.text.clone(), root.to_owned());
        let everywhere = matches!(self.components.first(), Some(Component::AnyDirectories));
        if everywhere && *self.root == *Path::new("/") {
            return Err(too_wide("the file system"));
        }
        match FORBIDDEN_ROOTS
            .iter()
            .find(|root| self.root.starts_with(root))
        {
            Some(root) => Err(too_wide(root)),
            None => Ok(()),
        }
    }
}

impl Component {
    /// The name it stands for when it has no wildcard.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Name(glob) => Some(glob.glob().glob()).filter(|name| is_literal(name)),
            Self::AnyDirectories => None,
        }
    }
}

/// Compiles one glob for a name or, with a `/` in it, for a whole path.
pub(super) fn glob(text: &str) -> Result<GlobMatcher, PatternError> {
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    match glob {
        Ok(glob) => Ok(glob.compile_matcher()),
        Err(error) => Err(PatternError::Glob {
            text: text.to_owned(),
            reason: error.kind().to_string(),
        }),
    }
}

fn check_shape(text: &str) -> Result<(), PatternError> {
    if !text.starts_with('/') {
        return Err(PatternError::Relative(text.to_owned()));
    }
    if text.len() > PATTERN_BYTES_MAX {
        return Err(PatternError::TooLong);
    }
    if text.ends_with('/') || text.ends_with("/**") {
        return Err(PatternError::Directory(
            text.trim_end_matches('*').to_owned(),
        ));
    }
    if text.split('/').any(|part| part == "." || part == "..") {
        return Err(PatternError::Dots(text.to_owned()));
    }
    if slash_in_group(text) {
        return Err(PatternError::SlashInGroup(text.to_owned()));
    }
    Ok(())
}

/// Whether a `/` stands inside closed braces or brackets.
fn slash_in_group(text: &str) -> bool {
    let (mut braces, mut bracket, mut seen, mut escaped) = (0_usize, false, false, false);
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => bracket = true,
            ']' if bracket && !seen => bracket = false,
            '{' => braces += 1,
            '}' if braces > 0 && !seen => braces -= 1,
            ']' | '}' if seen => return true,
            '/' if bracket || braces > 0 => seen = true,
            _ => {}
        }
    }
    false
}

fn is_literal(part: &str) -> bool {
    !part.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

fn push_component(components: &mut Vec<Component>, part: &str) -> Result<(), PatternError> {
    if part == "**" {
        // `**/**` means what `**` means.
        if !matches!(components.last(), Some(Component::AnyDirectories)) {
            components.push(Component::AnyDirectories);
        }
        return Ok(());
    }
    if part.contains("**") {
        return Err(PatternError::StarsNotAlone(part.to_owned()));
    }
    components.push(Component::Name(glob(part)?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(text: &str) -> String {
        let pattern = PathPattern::parse(text).unwrap();
        let mut shape = pattern.root.display().to_string();
        for component in &pattern.components {
            match component {
                Component::AnyDirectories => shape.push_str(" **"),
                Component::Name(glob) => {
                    shape.push(' ');
                    shape.push_str(glob.glob().glob());
                }
            }
        }
        shape
    }

    /// The root is the deepest literal directory, the rest one component each: shown by patterns
    /// of every shape.
    #[test]
    fn cuts_a_pattern_into_root_and_components() {
        for (text, expected) in [
            ("/var/log/syslog", "/var/log syslog"),
            ("/syslog", "/ syslog"),
            ("/var/log/app/*.log", "/var/log/app *.log"),
            ("/var/log/*/app/x.log", "/var/log * app x.log"),
            ("/var/log/**/*.log", "/var/log ** *.log"),
            ("/var/log/**/**/x", "/var/log ** x"),
            ("//var//log/x", "/var/log x"),
            ("/srv/a b/{x,y}-[0-9].log", "/srv/a b {x,y}-[0-9].log"),
            ("/srv/a\\*b/x", "/srv a\\*b x"),
        ] {
            assert_eq!(shape(text), expected);
        }
    }

    /// What is no usable pattern is refused with its reason and a remedy: shown by a table.
    #[test]
    fn bad_patterns_are_refused() {
        for (text, expected) in [
            ("var/log/x", "\"var/log/x\" is not an absolute path"),
            ("~/x.log", "\"~/x.log\" is not an absolute path"),
            ("", "\"\" is not an absolute path"),
            ("/var/log/", "\"/var/log/\" names directories, not files"),
            ("/var/log/**", "\"/var/log/\" names directories, not files"),
            ("/var/../x", "\"/var/../x\" has a . or .. in it"),
            (
                "/var/log/a**.log",
                "\"**\" is not alone between the slashes in \"a**.log\"",
            ),
            (
                "/var/{log/a,b}/x",
                "braces or brackets hold a / in \"/var/{log/a,b}/x\"",
            ),
            (
                "/**/x.log",
                "\"/**/x.log\" would search all of the file system",
            ),
            ("/proc/*/x", "\"/proc/*/x\" would search all of /proc"),
            (
                "/var/log/[a",
                "\"[a\" is not a valid glob: unclosed character class; missing ']'",
            ),
        ] {
            let error = PathPattern::parse(text).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(!error.remedy().is_empty());
        }
    }

    /// A root from elsewhere is literal though it looks like a glob: shown by matching paths.
    #[test]
    fn a_given_root_is_literal() {
        let pattern = PathPattern::from_parts(Path::new("/opt/[a]*"), &["*", "logs", "x.log"]);
        let pattern = pattern.unwrap();
        assert_eq!(*pattern.root, *Path::new("/opt/[a]*"));
        assert_eq!(pattern.text, "/opt/[a]*/*/logs/x.log");
        assert!(pattern.matches(Path::new("/opt/[a]*/d-1/logs/x.log")));
        assert!(!pattern.matches(Path::new("/opt/ab/d-1/logs/x.log")));
        assert!(PathPattern::from_parts(Path::new("/opt"), &["**"]).is_err());
        assert!(PathPattern::from_parts(Path::new("/opt"), &[]).is_err());
    }

    /// Many `**` and a path that fits nearly everywhere cost no more than their product: shown by
    /// one that would take longer than the universe is old, were each way tried by itself.
    #[test]
    fn many_stars_are_answered() {
        let pattern = PathPattern::parse(&format!("/r{}/x", "/**/a".repeat(60))).unwrap();
        let path = format!("/r{}", "/a".repeat(200));
        assert!(!pattern.matches(Path::new(&path)));
        assert!(pattern.matches(Path::new(&format!("{path}/x"))));
    }

    proptest! {
        /// Component by component we find what the whole glob finds: shown on small trees of
        /// names against one matcher for the whole path.
        #[test]
        fn agrees_with_the_glob_of_the_whole_path(
            pattern in "/r(/(a|b|\\*|a\\*|\\*\\*|\\{a,ab\\}|\\?)){0,3}/(a|\\*|\\?b|[ab]\\*)",
            path in "/r(/(a|b|ab|aab)){1,5}",
        ) {
            let ours = PathPattern::parse(&pattern).unwrap();
            let whole = glob(&pattern).unwrap();
            prop_assert_eq!(ours.matches(Path::new(&path)), whole.is_match(&path));
        }

        /// No text whatever makes the parser panic: shown by parsing anything.
        #[test]
        fn any_text_is_answered(text in "/?[a/*?{}\\[\\],!.\\\\-]{0,12}") {
            if let Ok(pattern) = PathPattern::parse(&text) {
                prop_assert!(matches!(pattern.components.last(), Some(Component::Name(_))));
            }
        }
    }
}
