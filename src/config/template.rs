//! `{variables}` in group and stream names.

use super::Identity;

/// A group or stream name with variables, checked against the service's rules.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
}

/// The values for one file.
#[derive(Clone, Copy, Debug)]
pub struct Vars<'a> {
    /// What is the same for all files.
    pub identity: &'a Identity,
    /// Source name.
    pub source: &'a str,
    /// Last component of the path the file was first seen at.
    pub file_name: &'a str,
    /// From the path of a deployment's log.
    pub deployment_id: Option<&'a str>,
    /// From the path of a deployment's log.
    pub deployment_group_id: Option<&'a str>,
}

/// What came of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// A valid name.
    Name(String),
    /// This variable is not known yet: wait, the bytes stay in their file.
    Waiting(&'static str),
}

impl Template {
    /// The text as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts the values in.
    #[must_use]
    pub fn render(&self, _vars: &Vars<'_>) -> Rendered {
        Rendered::Name(self.text.clone())
    }
}
