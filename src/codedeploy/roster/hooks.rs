//! Lines of the hooks' logs: which scripts were started, and what they printed.

use super::super::bounded;
use super::super::deployment::Telling;
use super::super::ending::{End, Ending};
use super::super::fact::{HookLine, is_id};
use super::super::lifecycle::Teller;
use super::super::news::Outbox;
use super::{Moment, NAME_BYTES_MAX, Roster};

impl Roster {
    /// Takes a line of a hook's log. This is called for each line of output: for the same file as
    /// before it costs comparing the path and copying the line.
    pub(in super::super) fn scripts_line(
        &mut self,
        path: &[u8],
        line: HookLine<'_>,
        moment: Moment,
        outbox: &mut Outbox,
    ) {
        let at = match self.hot_at {
            Some(at) if self.hot_path == path => at,
            _ => {
                let Some((group_id, id)) = deployment_of(path) else {
                    return;
                };
                let at = self.place(id, moment);
                self.deployments[at].group_id = Some(bounded(group_id, NAME_BYTES_MAX));
                self.hot_path.clear();
                self.hot_path.extend_from_slice(path);
                self.hot_at = Some(at);
                at
            }
        };
        self.hook_line(at, line, Teller::Scripts, moment, outbox);
    }

    /// The deployment of the last line of the deployments log.
    pub(in super::super) fn hot_id(&self) -> Option<&str> {
        Some(&self.deployments.get(self.hot)?.id)
    }

    /// Takes a line of the deployments log, which repeats every hook's log.
    pub(in super::super) fn deployments_line(
        &mut self,
        id: &str,
        line: HookLine<'_>,
        moment: Moment,
        outbox: &mut Outbox,
    ) {
        let at = match self.hot_id() {
            Some(hot) if hot == id => self.hot,
            _ => self.place(id, moment),
        };
        self.hot = at;
        match line {
            HookLine::Output(_) => self.deployments[at].live(moment),
            line => self.hook_line(at, line, Teller::Deployments, moment, outbox),
        }
    }

    fn hook_line(
        &mut self,
        at: usize,
        line: HookLine<'_>,
        teller: Teller,
        moment: Moment,
        outbox: &mut Outbox,
    ) {
        let deployment = &mut self.deployments[at];
        deployment.live(moment);
        let is_scripts_log = matches!(teller, Teller::Scripts);
        let place = usize::from(!is_scripts_log);
        match line {
            HookLine::Output(line) => {
                let succeeded = |end: &End| end.state == Ending::Succeeded;
                if is_scripts_log && !deployment.end.as_ref().is_some_and(succeeded) {
                    deployment.tail.push(line);
                }
            }
            HookLine::Event(name) => {
                deployment.hook[place] = Some(name.to_owned());
                if is_scripts_log {
                    deployment.tail.begin(name);
                }
            }
            HookLine::Script(location) => {
                let Some(name) = deployment.hook[place].clone() else {
                    return;
                };
                if is_scripts_log {
                    deployment.tail.begin(&name);
                }
                let telling = &mut Telling {
                    at_ms: moment.at_ms,
                    mono: moment.mono(),
                    outbox,
                };
                deployment.script(&name, location, teller, telling);
            }
        }
    }
}

/// Group and deployment of `…/GROUP/DEPLOYMENT/logs/scripts.log`, wherever the root is.
fn deployment_of(path: &[u8]) -> Option<(&str, &str)> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts = path.rsplit('/').skip(2);
    let id = parts.next().filter(|id| is_id(id))?;
    Some((parts.next()?, id))
}
