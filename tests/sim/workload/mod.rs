//! The writers: a CodeDeploy agent, its deployments, and a user's application, with every way of
//! rotating, pruning and spoiling a log.
//!
//! Rotations are cut into single file operations with writes and agent steps between them.

pub(crate) mod hooks;
mod log;
mod roll;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::oracle::Oracle;
use crate::plan::{APP_DIR, CODEDEPLOY_YML, Habits, LOG_DIR, Plan, ROOT_DIR};
use crate::world::World;
pub(crate) use hooks::Failure;
pub(crate) use log::date;
use log::{Log, Style};

/// The revisions a CodeDeploy agent keeps.
const REVISIONS_MAX: usize = 5;

/// One file operation of a rotation under way.
#[derive(Clone, Debug)]
enum Op {
    Copy(PathBuf, PathBuf),
    Truncate(PathBuf),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    Touch(PathBuf),
    /// A few lines to this log.
    Write(usize),
    /// A few lines through the descriptor the log had before it was renamed.
    WriteOld(usize),
}

/// All writers.
pub(crate) struct Workload {
    rng: fastrand::Rng,
    habits: Habits,
    logs: Vec<Log>,
    /// Directories of deployments, oldest first.
    deployments: VecDeque<PathBuf>,
    deployment_count: u32,
    roll_count: u32,
    ops: VecDeque<Op>,
    hook_count: u32,
    /// Lifecycle events that are under way, and will fail.
    hooks: VecDeque<Failure>,
    /// Those that did since somebody looked.
    pub(crate) failed: Vec<Failure>,
    /// What was done, for the trace.
    pub(crate) did: Vec<String>,
}

impl Workload {
    pub(crate) fn new(plan: &Plan, world: &mut World, oracle: &mut Oracle) -> Self {
        let mut workload = Self {
            rng: fastrand::Rng::with_seed(plan.seed ^ 0x3012),
            habits: plan.habits,
            logs: Vec::new(),
            deployments: VecDeque::new(),
            deployment_count: 0,
            roll_count: 0,
            ops: VecDeque::new(),
            hook_count: 0,
            hooks: VecDeque::new(),
            failed: Vec::new(),
            did: Vec::new(),
        };
        let yml =
            format!("---\n:log_dir: '{LOG_DIR}/'\n:root_dir: '{ROOT_DIR}'\n:max_revisions: 5\n");
        if plan.habits.codedeploy {
            world
                .files
                .append(Path::new(CODEDEPLOY_YML), yml.as_bytes());
            let agent = format!("{LOG_DIR}/codedeploy-agent.log");
            let deployments =
                format!("{ROOT_DIR}/deployment-logs/codedeploy-agent-deployments.log");
            workload.add_log(oracle, agent.into(), Style::Agent);
            workload.add_log(oracle, deployments.into(), Style::Deployments);
        }
        for number in 1..=plan.habits.app_files {
            let path = format!("{APP_DIR}/app{number}.log");
            workload.add_log(oracle, path.into(), Style::App);
        }
        if plan.habits.strangers {
            world.files.mkdir_p(Path::new(APP_DIR));
            world
                .files
                .make_other(Path::new("/var/log/app/app.fifo.log"));
            world
                .files
                .append(Path::new("/var/log/app/other.txt"), b"not yours\n");
            world
                .files
                .append(Path::new("/var/log/other.log"), b"not yours\n");
        }
        workload
    }

    /// Does the next thing. Returns how long until the one after.
    pub(crate) fn act(&mut self, world: &mut World, oracle: &mut Oracle) -> u64 {
        if let Some(op) = self.ops.pop_front() {
            self.perform(op, world, oracle);
            return self.rng.u64(0..12);
        }
        let habits = self.habits;
        let choices = [
            (30, Self::write as fn(&mut Self, &mut World, &mut Oracle)),
            (
                habits.rename + habits.dated + habits.copy_truncate + habits.ruby_roll,
                Self::roll,
            ),
            (habits.truncate, Self::truncate),
            (habits.delete, Self::delete),
            (
                habits.new_deployment * u32::from(habits.codedeploy),
                Self::deploy,
            ),
            (habits.chmod, Self::chmod),
            (habits.hooks, Self::hook),
            (4, |_, world, _| world.files.sync()),
        ];
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut at = self.rng.u32(0..total);
        for (weight, act) in choices {
            if at < weight {
                act(self, world, oracle);
                break;
            }
            at -= weight;
        }
        match self.rng.u8(0..3) {
            0 => self.rng.u64(0..20),
            _ => self.rng.u64(0..self.habits.gap_ms_max),
        }
    }

    /// The power failed: writers are gone with their descriptors, what they had half done stays.
    pub(crate) fn power_cut(&mut self) {
        self.ops.clear();
        for log in &mut self.logs {
            log.half = None;
            log.old = None;
        }
    }

    /// The end of all trouble: what was begun is finished.
    pub(crate) fn finish(&mut self, world: &mut World, oracle: &mut Oracle) {
        while let Some(op) = self.ops.pop_front() {
            self.perform(op, world, oracle);
        }
        for log in &mut self.logs {
            log.finish_half(world, oracle);
        }
        world.files.chmod_all();
    }

    fn add_log(&mut self, oracle: &mut Oracle, path: PathBuf, style: Style) -> usize {
        let stream = oracle.lines.new_stream();
        let crlf = style == Style::App && self.habits.crlf;
        self.logs.push(Log::new(stream, path, style, crlf));
        self.logs.len() - 1
    }

    fn some_log(&mut self) -> Option<usize> {
        let live: Vec<usize> = (0..self.logs.len())
            .filter(|at| !self.logs[*at].dead)
            .collect();
        (!live.is_empty()).then(|| live[self.rng.usize(0..live.len())])
    }

    fn write(&mut self, world: &mut World, oracle: &mut Oracle) {
        if let Some(at) = self.some_log() {
            self.write_to(at, world, oracle);
        }
    }

    fn write_to(&mut self, at: usize, world: &mut World, oracle: &mut Oracle) {
        let lines = self.rng.usize(1..=self.habits.burst_lines_max);
        self.did.push(format!(
            "write {lines} lines to {}",
            self.logs[at].path.display()
        ));
        self.logs[at].write(lines, &self.habits, &mut self.rng, world, oracle);
    }

    fn truncate(&mut self, world: &mut World, oracle: &mut Oracle) {
        if let Some(at) = self.some_log() {
            let path = self.logs[at].path.clone();
            self.did.push(format!("truncate {}", path.display()));
            self.logs[at].half = None;
            world.files.truncate(&path);
            if self.rng.bool() {
                self.write_to(at, world, oracle);
            }
        }
    }

    fn delete(&mut self, world: &mut World, oracle: &mut Oracle) {
        if self.rng.u8(0..4) == 0 {
            self.did.push(format!("rm -rf {APP_DIR}"));
            world.files.remove_tree(Path::new(APP_DIR));
            for log in &mut self.logs {
                log.half = log.half.take().filter(|_| world.files.exists(&log.path));
            }
        } else if let Some(at) = self.some_log() {
            self.did
                .push(format!("unlink {}", self.logs[at].path.display()));
            self.logs[at].half = None;
            world.files.unlink(&self.logs[at].path);
            if self.rng.bool() {
                self.write_to(at, world, oracle);
            }
        }
    }

    /// A new deployment; the oldest ones beyond the limit go, as the CodeDeploy agent does it.
    fn deploy(&mut self, world: &mut World, oracle: &mut Oracle) {
        self.deployment_count += 1;
        let dir = PathBuf::from(format!(
            "{ROOT_DIR}/0a1b2c3d-0000-4444-8888-{:012}/d-{:09}",
            self.deployment_count % 2,
            self.deployment_count
        ));
        self.did.push(format!("deploy {}", dir.display()));
        if self.rng.bool() {
            world.files.mkdir_p(&dir.join("logs"));
        }
        let at = self.add_log(oracle, dir.join("logs/scripts.log"), Style::Scripts);
        self.write_to(at, world, oracle);
        self.deployments.push_back(dir);
        let most = if self.rng.u8(0..4) == 0 {
            1
        } else {
            REVISIONS_MAX
        };
        while self.deployments.len() > most {
            if let Some(old) = self.deployments.pop_front() {
                self.did.push(format!("rm -rf {}", old.display()));
                world.files.remove_tree(&old);
                for log in self
                    .logs
                    .iter_mut()
                    .filter(|log| log.path.starts_with(&old))
                {
                    log.dead = true;
                    log.half = None;
                }
            }
        }
    }

    fn chmod(&mut self, world: &mut World, _oracle: &mut Oracle) {
        if let Some(at) = self.some_log() {
            let readable = self.rng.bool();
            world.files.chmod(&self.logs[at].path, readable);
        }
    }
}
