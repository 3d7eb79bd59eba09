//! In the guest: a stand-in for the CodeDeploy agent 1.x that writes its files, where it writes them and
//! in its rhythm.
//!
//! One deployment after the other, one lifecycle event a second, each as recorded from the real
//! agent: six records in the agent's log, the tracking file appears, the script's lines go to the
//! deployments log and to scripts.log in turn, two records, the tracking file goes. DownloadBundle
//! removes the oldest revision. Only the number of lines per write is larger, for the load.
//!
//! After each lifecycle event all files are synced, and only then the test is told how far they go:
//! that is what no power cut may take.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::lines::Writer;
use crate::support::tree::{GROUP, Tree, agent_head, scripts_head};

/// Lifecycle events in their order, and how many writes their scripts make.
const LIFECYCLE: &[(&str, u32)] = &[
    ("ApplicationStop", 5),
    ("DownloadBundle", 0),
    ("BeforeInstall", 5),
    ("Install", 0),
    ("AfterInstall", 5),
    ("ApplicationStart", 5),
    ("ValidateService", 5),
];
/// From one lifecycle event to the next.
const BEAT: Duration = Duration::from_secs(1);
/// Lines of each write of a script.
const LINES: u64 = 20;

/// Where the real agent has its files.
pub(crate) fn tree() -> Tree {
    Tree {
        log_dir: "/var/log/aws/codedeploy-agent".into(),
        root_dir: "/opt/codedeploy-agent/deployment-root".into(),
        config_file: "/etc/codedeploy-agent/conf/codedeployagent.yml".into(),
    }
}

/// The 1.x updater's log, in the directory that services are often denied.
pub(crate) const UPDATER_LOG: &str = "/tmp/codedeploy-agent.update.log";

/// Where the agent notes its main process.
const PID_FILE: &str = "/opt/codedeploy-agent/state/.pid/codedeploy-agent.pid";

/// One log, and where its lines must arrive.
struct Log {
    writer: Writer,
    group: &'static str,
    deployment: Option<String>,
}

/// Plays deployments until it is killed. `run` names this run in every line; so many revisions are
/// kept; `test` is where to tell.
pub(crate) fn play(run: &str, revisions_max: usize, test: &str) {
    let tree = tree();
    install(&tree);
    let mut told = TcpStream::connect(test).unwrap();
    let log = |path: &Path, id: &str, group, head| Log {
        writer: Writer::headed(path, &format!("{run}-{id}"), head),
        group,
        deployment: None,
    };
    let mut agent = log(&tree.agent_log(), "agent", "/codedeploy/agent", agent_head);
    let mut deployments = log(
        &tree.deployments_log(),
        "deployments",
        "/codedeploy/deployments",
        deployments_head,
    );
    let mut updater = log(
        Path::new(UPDATER_LOG),
        "updater",
        "/codedeploy/updater",
        String::new,
    );
    private(Path::new(UPDATER_LOG));
    let mut revisions: VecDeque<(String, Log)> = VecDeque::new();
    for number in 0.. {
        let deployment = deployment_id(run, number);
        let mut scripts = Log {
            writer: Writer::headed(
                &tree.scripts_log(&deployment),
                &format!("{run}-scripts-{number}"),
                scripts_head,
            ),
            group: "/codedeploy/scripts",
            deployment: Some(deployment.clone()),
        };
        for (event, writes) in LIFECYCLE {
            let tracking = tree.root_dir.join("ongoing-deployment").join(&deployment);
            agent.writer.write(6);
            fs::write(&tracking, "aG9zdC1jb21tYW5k").unwrap();
            if *event == "DownloadBundle" && revisions.len() == revisions_max {
                let (oldest, log) = revisions.pop_front().unwrap();
                tree.prune(&oldest);
                tell(&mut told, "pruned", &log);
            }
            for _ in 0..*writes {
                deployments.writer.write(LINES);
                scripts.writer.write(LINES);
            }
            agent.writer.write(2);
            fs::remove_file(&tracking).unwrap();
            updater.writer.write(1);
            for log in [&agent, &deployments, &scripts, &updater] {
                File::open(&log.writer.path).unwrap().sync_all().unwrap();
                tell(&mut told, "synced", log);
            }
            std::thread::sleep(BEAT);
        }
        revisions.push_back((deployment, scripts));
    }
}

/// Makes what the agent's package brings, and notes this process as the main one.
fn install(tree: &Tree) {
    fs::create_dir_all(Path::new(PID_FILE).parent().unwrap()).unwrap();
    fs::write(PID_FILE, std::process::id().to_string()).unwrap();
    let made = Tree::make(Path::new("/opt/codedeploy-agent"));
    let config = fs::read_to_string(&made.config_file).unwrap();
    let config = config.replace(
        &made.log_dir.display().to_string(),
        &tree.log_dir.display().to_string(),
    );
    fs::remove_file(&made.config_file).unwrap();
    fs::create_dir_all(&tree.log_dir).unwrap();
    fs::create_dir_all(tree.config_file.parent().unwrap()).unwrap();
    fs::write(&tree.config_file, config).unwrap();
}

/// Nobody but root may read it, without the one capability.
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn tell(test: &mut TcpStream, what: &str, log: &Log) {
    let written = log.writer.written();
    let deployment = log.deployment.as_deref().unwrap_or("-");
    let line = format!(
        "{what} {} {} {} {deployment}\n",
        written.id, written.count, log.group
    );
    test.write_all(line.as_bytes()).unwrap();
}

/// As long as a real one, and another for each run.
fn deployment_id(run: &str, number: u32) -> String {
    format!("d-{:0>4}{number:05}", run.to_uppercase())
}

fn deployments_head() -> String {
    let time = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.3f");
    format!("[{time}] [d-VMTEST000][stdout]")
}

/// Every log file of the tree that is there now.
pub(crate) fn files() -> Vec<PathBuf> {
    let tree = tree();
    let mut files = vec![tree.agent_log(), tree.deployments_log(), UPDATER_LOG.into()];
    if let Ok(entries) = fs::read_dir(tree.root_dir.join(GROUP)) {
        files.extend(entries.map(|entry| entry.unwrap().path().join("logs/scripts.log")));
    }
    files.retain(|path| path.exists());
    files
}
