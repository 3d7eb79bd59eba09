//! Which files are watched: the CodeDeploy agent's, wherever its configuration says they are, and
//! the user's own.

use std::sync::Arc;

use crate::codedeploy::layout::Change;
use crate::config::Source;
use crate::event::Now;
use crate::parse::Parser;
use crate::tail::relation;

use super::insight::Logs;
use super::{Agent, Edges};

/// How often the CodeDeploy agent's configuration is looked at.
const DISCOVERY_MS: u64 = 5_000;

impl Agent {
    /// Finds out where the CodeDeploy agent keeps its files, and follows it when that changes.
    pub(super) fn discover(&mut self, edges: &mut Edges<'_>, now: Now) {
        if now.mono_ms < self.discovery_due_ms {
            return;
        }
        // On the same beat as the scans.
        self.discovery_due_ms = (now.mono_ms / DISCOVERY_MS + 1) * DISCOVERY_MS;
        self.take_order(edges, now);
        // Other problems are said where they are noticed.
        let refusals = self.refusals(now);
        self.announcer.announce(refusals);
        let files = self.tail.files();
        let settled = |id| self.ledger.settled(id).unwrap_or_default().0;
        let backlog_bytes = files.map(|file| file.size.saturating_sub(settled(file.id)));
        let backlog_bytes = backlog_bytes.sum();
        self.keeper.note_backlog(backlog_bytes, now);
        self.find_stuck();
        if self.find_codedeploy(edges) {
            self.set_sources(edges);
        }
        // Where its files are is known by now, at a start too.
        let is_agent_heard = self.is_agent_heard();
        let logs = Logs {
            layout: self.discovery.layout(),
            backlog_bytes,
            is_agent_heard,
        };
        self.insight.look(edges, &logs, now);
    }

    /// Looks for the CodeDeploy agent; whether its files are elsewhere than before.
    pub(super) fn find_codedeploy(&mut self, edges: &mut Edges<'_>) -> bool {
        match self.discovery.look(edges.files, &self.config.codedeploy) {
            Change::Same => false,
            Change::Found(_) => {
                tracing::info!(found = %self.discovery.words(), "looked for the CodeDeploy agent");
                true
            }
            Change::Lost(why) => {
                tracing::warn!(%why, "the CodeDeploy agent's configuration");
                false
            }
        }
    }

    pub(super) fn set_sources(&mut self, edges: &mut Edges<'_>) {
        let mut sources: Vec<Arc<Source>> = match self.config.codedeploy.enabled {
            true => self.discovery.layout().sources(&self.config.codedeploy),
            false => Vec::new(),
        };
        sources.extend(self.config.sources.iter().cloned());
        for source in &sources {
            match Parser::new(Arc::clone(source), self.host.zone.clone()) {
                Ok(parser) => drop(self.parsers.insert(Arc::clone(&source.name), parser)),
                Err(error) => {
                    tracing::error!(source = %source.name, %error, "source cannot be read")
                }
            }
        }
        edges.watch.care_for(relation::interest(&sources));
        let keeper = &self.keeper;
        let ledger = &self.ledger;
        self.tail.set_sources(
            sources,
            &|name| keeper.has_scanned(name),
            edges.files,
            &|id| ledger.settled(id).unwrap_or_default(),
        );
        self.news(
            edges,
            Now {
                mono_ms: 0,
                wall_ms: self.started_ms,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::testing::{at, codedeploy_config, count_sent, directory_of, finish, run};

    /// Where the CodeDeploy agent's files were last seen they are looked for after a reload, too, though
    /// its configuration cannot be used by then: shown by a log that begins behind it.
    #[test]
    fn a_reload_goes_on_where_the_agent_was() {
        let dir = directory_of(&[]);
        let logs = dir.path().join("root/deployment-logs");
        std::fs::create_dir_all(&logs).unwrap();
        run(dir.path(), |mut agent, edges| {
            let config = codedeploy_config(dir.path());
            agent.reload(config.clone(), edges, at(1));
            agent.step(edges, at(2));
            std::fs::write(dir.path().join("codedeployagent.yml"), "{").unwrap();
            agent.reload(config, edges, at(3));
            let log = logs.join("codedeploy-agent-deployments.log");
            std::fs::write(log, "one\n").unwrap();
            finish(agent, edges);
        });
        assert_eq!(count_sent(dir.path(), "one"), 1);
    }
}
