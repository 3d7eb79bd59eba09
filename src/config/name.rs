//! What the service allows in the names of log groups and streams.
//!
//! Only the rules; `template` makes names that obey them.

/// Longest group and stream name, in characters; we count bytes, which is never more.
/// (CloudWatch Logs API reference, CreateLogGroup and CreateLogStream.)
pub const NAME_BYTES_MAX: usize = 512;

/// Which rules a name obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// 1–512 of `A-Z a-z 0-9 . - _ / #`, not beginning with `aws/`.
    Group,
    /// 1–512 of anything but `:` and `*`; we leave control characters out as well.
    Stream,
    /// Alarms may be called nearly anything; we allow what needs no care in an ARN, a policy or a
    /// shell: letters, digits and `. - _ / #`.
    Alarm,
}

impl NameKind {
    /// Whether a character may stand in such a name.
    #[must_use]
    pub fn allows(self, character: char) -> bool {
        match self {
            Self::Group | Self::Alarm => {
                character.is_ascii_alphanumeric()
                    || matches!(character, '.' | '-' | '_' | '/' | '#')
            }
            Self::Stream => !matches!(character, ':' | '*') && !character.is_control(),
        }
    }

    /// The rule in words, for remedies.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Group => "a log group name takes letters, digits and . - _ / #",
            Self::Alarm => "an alarm's name takes letters, digits and . - _ / #",
            Self::Stream => "a log stream name takes anything but : * and control characters",
        }
    }
}
