//! `{variables}` in group and stream names.
//!
//! A template's literal text and fallbacks are checked once, when the configuration is read;
//! values are sanitised each time, so a rendered name always obeys the service's rules:
//!
//! - a character the service forbids in that kind of name becomes `_`, and so does a `/` *inside a
//!   value*: no value can add a level to a name; a value of dots only becomes underscores;
//! - a value that is missing or empty becomes the fallback of `{name|fallback}`, and without one
//!   the word `unknown`; but while [`Identity::complete`] is false a missing value of the machine
//!   may still come, and the answer is [`Rendered::Waiting`];
//! - the result is cut at 512 bytes.

use super::Identity;
use super::mistake::nearest;
use super::name::{NAME_BYTES_MAX, NameKind};

/// Stands for a value nobody knows.
const UNKNOWN: &str = "unknown";

/// Longest tag key (EC2 user guide, tag restrictions).
const TAG_KEY_CHARS_MAX: usize = 128;

/// What a template can ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable {
    /// `{instance_id}`
    InstanceId,
    /// `{hostname}`
    Hostname,
    /// `{region}`
    Region,
    /// `{account_id}`
    AccountId,
    /// `{asg}`: the Auto Scaling group.
    Asg,
    /// `{tag:NAME}`: an instance tag.
    Tag(String),
    /// `{deployment_id}`
    DeploymentId,
    /// `{deployment_group_id}`
    DeploymentGroupId,
    /// `{file_name}`
    FileName,
    /// `{source}`
    Source,
}

/// The names of all variables but `tag:NAME`, with what they stand for.
const VARIABLES: [(&str, Variable); 9] = [
    ("instance_id", Variable::InstanceId),
    ("hostname", Variable::Hostname),
    ("region", Variable::Region),
    ("account_id", Variable::AccountId),
    ("asg", Variable::Asg),
    ("deployment_id", Variable::DeploymentId),
    ("deployment_group_id", Variable::DeploymentGroupId),
    ("file_name", Variable::FileName),
    ("source", Variable::Source),
];

/// A group or stream name with variables, checked against the service's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    kind: NameKind,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Value {
        variable: Variable,
        fallback: Option<String>,
    },
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
    /// This variable is not known yet: wait, the bytes stay in their file. For tags the word is
    /// `tag`.
    Waiting(&'static str),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing at all.
    #[error("the name is empty")]
    Empty,
    /// `{` without `}`.
    #[error("a brace is opened and not closed in \"{0}\"")]
    Unclosed(String),
    /// `}` without `{`, or `{` inside braces.
    #[error("a brace without its partner in \"{0}\"")]
    StrayBrace(String),
    /// No such variable.
    #[error("there is no variable {{{name}}}")]
    UnknownVariable {
        /// As written.
        name: String,
        /// What was probably meant.
        near: Option<&'static str>,
    },
    /// `{tag:}`, or a key no tag can have.
    #[error("\"{0}\" is not a tag's name")]
    TagName(String),
    /// `{asg|}`.
    #[error("the fallback of {{{0}|}} is empty")]
    EmptyFallback(String),
    /// The literal text or a fallback holds something the service refuses.
    #[error("the character {character:?} is not allowed in \"{text}\"")]
    Character {
        /// The guilty one.
        character: char,
        /// The literal text or fallback it stands in.
        text: String,
        /// For the remedy.
        kind: NameKind,
    },
    /// The literal text alone is too long.
    #[error("the name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// The service keeps these names for itself.
    #[error("a log group name must not begin with aws/")]
    Reserved,
}

impl TemplateError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty => "write a name, such as \"/app/{instance_id}\"".to_owned(),
            Self::Unclosed(_) => "close it, as in {instance_id}".to_owned(),
            Self::StrayBrace(_) => {
                "braces stand only around a variable, as in {instance_id}".to_owned()
            }
            Self::UnknownVariable {
                near: Some(near), ..
            } => format!("did you mean {{{near}}}?"),
            Self::UnknownVariable { near: None, .. } => {
                let names: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
                format!("use one of: {{{}}} {{tag:NAME}}", names.join("} {"))
            }
            Self::TagName(_) => "write the tag's key, as in {tag:Name}".to_owned(),
            Self::EmptyFallback(name) => format!("write {{{name}}} or {{{name}|none}}"),
            Self::Character { kind, .. } => kind.rule().to_owned(),
            Self::TooLong => "shorten it".to_owned(),
            Self::Reserved => "begin it with /aws/ or something else".to_owned(),
        }
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When no value of the variables could make a valid name of it.
    pub fn parse(text: &str, kind: NameKind) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (literal, behind) = rest.split_at(at);
            push_literal(&mut parts, literal, kind)?;
            let Some(inside) = behind.strip_prefix('{') else {
                return Err(TemplateError::StrayBrace(text.to_owned()));
            };
            let Some((inside, behind)) = inside.split_once('}') else {
                return Err(TemplateError::Unclosed(text.to_owned()));
            };
            if inside.contains('{') {
                return Err(TemplateError::StrayBrace(text.to_owned()));
            }
            parts.push(value_part(inside, kind)?);
            rest = behind;
        }
        push_literal(&mut parts, rest, kind)?;
        let literals = parts.iter().map(|part| match part {
            Part::Literal(text) => text.len(),
            Part::Value { .. } => 0,
        });
        if literals.sum::<usize>() > NAME_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        if kind == NameKind::Group && text.starts_with("aws/") {
            return Err(TemplateError::Reserved);
        }
        Ok(Self {
            text: text.to_owned(),
            kind,
            parts,
        })
    }

    /// The text as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The variables in it, in their order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Value { variable, .. } => Some(variable),
        })
    }

    /// Puts the values in.
    #[must_use]
    pub fn render(&self, vars: &Vars<'_>) -> Rendered {
        let mut name = String::with_capacity(self.text.len() + 64);
        for part in &self.parts {
            match part {
                Part::Literal(text) => name.push_str(text),
                Part::Value { variable, fallback } => match variable.value(vars) {
                    Known::Yes(value) if !value.is_empty() => {
                        push_sanitised(&mut name, value, self.kind);
                    }
                    Known::NotYet if !vars.identity.complete => {
                        return Rendered::Waiting(variable.word());
                    }
                    Known::Yes(_) | Known::NotYet | Known::Never => {
                        name.push_str(fallback.as_deref().unwrap_or(UNKNOWN));
                    }
                },
            }
        }
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
        if self.kind == NameKind::Group && name.starts_with("aws/") {
            name.replace_range(3..4, "_");
        }
        Rendered::Name(name)
    }
}

/// What is known of a value.
enum Known<'a> {
    Yes(&'a str),
    /// May still come, as long as the identity is not complete.
    NotYet,
    /// Does not exist for this file.
    Never,
}

impl Variable {
    fn value<'a>(&self, vars: &Vars<'a>) -> Known<'a> {
        let identity = vars.identity;
        let of_machine = match self {
            Self::InstanceId => &identity.instance_id,
            Self::Hostname => &identity.hostname,
            Self::Region => &identity.region,
            Self::AccountId => &identity.account_id,
            Self::Asg => &identity.asg,
            Self::Tag(name) => {
                return identity
                    .tags
                    .get(name)
                    .map_or(Known::NotYet, |value| Known::Yes(value));
            }
            Self::DeploymentId => return vars.deployment_id.map_or(Known::Never, Known::Yes),
            Self::DeploymentGroupId => {
                return vars.deployment_group_id.map_or(Known::Never, Known::Yes);
            }
            Self::FileName => return Known::Yes(vars.file_name),
            Self::Source => return Known::Yes(vars.source),
        };
        of_machine.as_deref().map_or(Known::NotYet, Known::Yes)
    }

    /// The variable's name as written in templates, `tag` for all tags.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match VARIABLES.iter().find(|(_, variable)| variable == self) {
            Some((name, _)) => name,
            None => "tag",
        }
    }
}

impl std::fmt::Display for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(key) => write!(f, "tag:{key}"),
            other => f.write_str(other.word()),
        }
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str, kind: NameKind) -> Result<(), TemplateError> {
    if !text.is_empty() {
        check_characters(text, kind)?;
        parts.push(Part::Literal(text.to_owned()));
    }
    Ok(())
}

fn value_part(inside: &str, kind: NameKind) -> Result<Part, TemplateError> {
    let (name, fallback) = match inside.split_once('|') {
        Some((name, "")) => return Err(TemplateError::EmptyFallback(name.to_owned())),
        Some((name, fallback)) => (name, Some(fallback)),
        None => (inside, None),
    };
    if let Some(fallback) = fallback {
        check_characters(fallback, kind)?;
    }
    Ok(Part::Value {
        variable: variable(name)?,
        fallback: fallback.map(str::to_owned),
    })
}

fn variable(name: &str) -> Result<Variable, TemplateError> {
    if let Some(key) = name.strip_prefix("tag:") {
        let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
        if key.is_empty() || key.chars().count() > TAG_KEY_CHARS_MAX || !key.chars().all(allowed) {
            return Err(TemplateError::TagName(key.to_owned()));
        }
        return Ok(Variable::Tag(key.to_owned()));
    }
    match VARIABLES.iter().find(|(known, _)| *known == name) {
        Some((_, variable)) => Ok(variable.clone()),
        None => Err(TemplateError::UnknownVariable {
            name: name.to_owned(),
            near: nearest(name, VARIABLES.iter().map(|(known, _)| *known)),
        }),
    }
}

fn check_characters(text: &str, kind: NameKind) -> Result<(), TemplateError> {
    match text.chars().find(|character| !kind.allows(*character)) {
        None => Ok(()),
        Some(character) => Err(TemplateError::Character {
            character,
            text: text.to_owned(),
            kind,
        }),
    }
}

fn push_sanitised(name: &mut String, value: &str, kind: NameKind) {
    if value.chars().all(|character| character == '.') {
        name.extend(value.chars().map(|_| '_'));
        return;
    }
    name.extend(value.chars().map(|character| match character {
        '/' => '_',
        other if kind.allows(other) => other,
        _ => '_',
    }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity() -> Identity {
        Identity {
            instance_id: Some("i-0abc".to_owned()),
            hostname: Some("web-1".to_owned()),
            region: Some("eu-west-1".to_owned()),
            account_id: Some("111122223333".to_owned()),
            asg: Some(String::new()),
            tags: [("Stage".to_owned(), "test: a/b".to_owned())].into(),
            complete: true,
        }
    }

    fn vars(identity: &Identity) -> Vars<'_> {
        Vars {
            identity,
            source: "app",
            file_name: "app.log",
            deployment_id: None,
            deployment_group_id: Some("1c9f"),
        }
    }

    fn render(text: &str, kind: NameKind, identity: &Identity) -> Rendered {
        Template::parse(text, kind).unwrap().render(&vars(identity))
    }

    /// Every variable is replaced, values are sanitised, and what is missing becomes the fallback
    /// or `unknown`: shown by a table over a complete identity.
    #[test]
    fn renders_values_fallbacks_and_unknown() {
        use NameKind::{Group, Stream};
        let table = [
            ("/plain", Group, "/plain"),
            ("/x/{asg|none}", Group, "/x/none"),
            ("/x/{asg}", Group, "/x/unknown"),
            ("{instance_id}/{file_name}", Stream, "i-0abc/app.log"),
            ("{tag:Stage}", Group, "test__a_b"),
            ("{tag:Stage}", Stream, "test_ a_b"),
            ("{tag:Absent|no tag}", Stream, "no tag"),
            ("{tag:Absent}", Stream, "unknown"),
            (
                "{deployment_id}/{deployment_group_id}",
                Stream,
                "unknown/1c9f",
            ),
            ("{deployment_id|none}", Stream, "none"),
            (
                "{source}-{region}-{account_id}-{hostname}",
                Group,
                "app-eu-west-1-111122223333-web-1",
            ),
        ];
        let identity = identity();
        for (text, kind, expected) in table {
            let expected = Rendered::Name(expected.to_owned());
            assert_eq!(render(text, kind, &identity), expected, "{text}");
        }
    }

    /// While the identity is not complete, a missing value of the machine is waited for even when
    /// there is a fallback, and one that is known to be empty is not: shown one by one.
    #[test]
    fn waits_only_for_what_may_still_come() {
        let mut known = identity();
        known.complete = false;
        known.instance_id = None;
        let stream = NameKind::Stream;
        assert_eq!(
            render("{instance_id|x}", stream, &known),
            Rendered::Waiting("instance_id")
        );
        assert_eq!(
            render("{tag:Absent|x}", stream, &known),
            Rendered::Waiting("tag")
        );
        assert_eq!(
            render("{asg|x}", stream, &known),
            Rendered::Name("x".to_owned())
        );
        assert_eq!(
            render("{deployment_id|x}", stream, &known),
            Rendered::Name("x".to_owned())
        );
    }

    /// No value can add a level, leave a directory or claim a reserved name: shown by hostile
    /// values.
    #[test]
    fn hostile_values_are_harmless() {
        let mut hostile = identity();
        for (value, expected) in [
            ("../../etc", "/a/.._.._etc/b"),
            ("..", "/a/__/b"),
            (".", "/a/_/b"),
            ("a\nb\0c", "/a/a_b_c/b"),
            ("ünï", "/a/_n_/b"),
        ] {
            hostile.hostname = Some(value.to_owned());
            let expected = Rendered::Name(expected.to_owned());
            assert_eq!(
                render("/a/{hostname}/b", NameKind::Group, &hostile),
                expected
            );
        }
        hostile.hostname = Some("aws".to_owned());
        let expected = Rendered::Name("aws_x".to_owned());
        assert_eq!(render("{hostname}/x", NameKind::Group, &hostile), expected);
    }

    /// A text that can never make a valid name is refused with its reason and a remedy: shown by
    /// a table of texts.
    #[test]
    fn bad_templates_are_refused() {
        use NameKind::{Group, Stream};
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let table = [
            ("", Group, "the name is empty"),
            (
                "/a b",
                Group,
                "the character ' ' is not allowed in \"/a b\"",
            ),
            ("a:b", Stream, "the character ':' is not allowed in \"a:b\""),
            (
                "{asg|a:b}",
                Stream,
                "the character ':' is not allowed in \"a:b\"",
            ),
            (
                "{instance_id",
                Group,
                "a brace is opened and not closed in \"{instance_id\"",
            ),
            ("a}b", Group, "a brace without its partner in \"a}b\""),
            ("{a{b}", Group, "a brace without its partner in \"{a{b}\""),
            ("{instanceid}", Group, "there is no variable {instanceid}"),
            ("{}", Group, "there is no variable {}"),
            ("{tag:}", Group, "\"\" is not a tag's name"),
            ("{asg|}", Group, "the fallback of {asg|} is empty"),
            ("aws/x", Group, "a log group name must not begin with aws/"),
            (&long, Stream, "the name is longer than 512 bytes"),
        ];
        for (text, kind, expected) in table {
            let error = Template::parse(text, kind).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(!error.remedy().is_empty());
        }
        let near = Template::parse("{instanceid}", Group).unwrap_err();
        assert_eq!(near.remedy(), "did you mean {instance_id}?");
    }

    proptest! {
        /// Whatever the values, the result obeys the service's rule for its kind: shown with any
        /// texts as values, in names that begin, go on and end with a variable.
        #[test]
        fn every_rendered_name_is_valid(
            values in proptest::collection::vec(proptest::option::of(".{0,600}"), 4),
            text in "(\\{hostname\\}|\\{asg\\|none\\}|\\{tag:T\\}|\\{deployment_id\\}|aws|/|x){1,9}",
        ) {
            let identity = Identity {
                hostname: values[0].clone(),
                asg: values[1].clone(),
                tags: values[2].iter().map(|value| ("T".to_owned(), value.clone())).collect(),
                complete: true,
                ..Identity::default()
            };
            let vars = Vars { deployment_id: values[3].as_deref(), ..vars(&identity) };
            for kind in [NameKind::Group, NameKind::Stream] {
                let Ok(template) = Template::parse(&text, kind) else {
                    prop_assert!(text.starts_with("aws/"));
                    continue;
                };
                let Rendered::Name(name) = template.render(&vars) else {
                    panic!("waiting though the identity is complete");
                };
                prop_assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX);
                prop_assert!(name.chars().all(|character| kind.allows(character)), "{name}");
                prop_assert!(kind == NameKind::Stream || !name.starts_with("aws/"));
                let levels = |text: &str| text.matches('/').count();
                prop_assert!(levels(&name) <= levels(&text));
            }
        }
    }
}
