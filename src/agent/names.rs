//! Which target a file's events go to.

use std::path::Path;

use crate::codedeploy::layout::{Layout, deployment_of};
use crate::config::template::{Rendered, Vars};
use crate::config::{Identity, Source};
use crate::event::Target;

/// Renders a source's group and stream for one file. Rotated files keep the names of their live
/// one: `family` is its path.
///
/// # Errors
/// The variable that is not known yet.
pub(super) fn target(
    source: &Source,
    family: &Path,
    identity: &Identity,
    layout: &Layout,
) -> Result<Target, &'static str> {
    let deployment = deployment_of(&layout.root_dir, family);
    let file_name = family.file_name().unwrap_or_default().to_string_lossy();
    let vars = Vars {
        identity,
        source: &source.name,
        file_name: &file_name,
        deployment_id: deployment.map(|(_, id)| id),
        deployment_group_id: deployment.map(|(group, _)| group),
    };
    let name = |rendered| match rendered {
        Rendered::Name(name) => Ok(name),
        Rendered::Waiting(variable) => Err(variable),
    };
    Ok(Target {
        group: name(source.group.render(&vars))?,
        stream: name(source.stream.render(&vars))?,
    })
}
