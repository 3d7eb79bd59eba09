//! The life of the .deb on one Debian machine.

use std::time::{Duration, Instant};

use crate::guest::Parts;
use crate::stage::{LIMIT, Stage};
use crate::support::listener::Gate;

/// Exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE_MAX: u32 = 16;

/// Whatever happens to the machine, the service is up afterwards and every line that was on stable
/// storage arrives; and the package leaves behind what it says, no more: told from the first
/// installation to the purge.
pub(crate) fn tell(parts: &Parts) {
    let mut stage = Stage::set(parts, "deb");
    installs_where_nothing_is_there(&mut stage);
    is_as_private_as_it_says(&mut stage);
    ships_under_load(&mut stage);
    sees_whether_codedeploy_runs(&mut stage);
    survives_a_reboot(&mut stage);
    for cut in 1..=3 {
        survives_a_power_cut(&mut stage, cut);
    }
    is_restarted_when_it_hangs(&mut stage);
    survives_a_full_disk(&mut stage);
    is_upgraded_under_load(&mut stage);
    stops_in_an_outage(&mut stage);
    refuses_newer_state(&mut stage);
    is_removed_and_purged(&mut stage);
    is_put_into_an_image(&mut stage);
    assert_eq!(stage.imds.state().violations, Vec::<String>::new());
}

/// What is most likely to break, in a third of the time: for a slower machine.
pub(crate) fn tell_shortly(parts: &Parts) {
    let mut stage = Stage::set(parts, "short");
    installs_where_nothing_is_there(&mut stage);
    is_as_private_as_it_says(&mut stage);
    ships_under_load(&mut stage);
    survives_a_reboot(&mut stage);
    survives_a_power_cut(&mut stage, 1);
    is_upgraded_under_load(&mut stage);
    is_removed_and_purged(&mut stage);
    assert_eq!(stage.imds.state().violations, Vec::<String>::new());
}

/// No role, no network, no CodeDeploy: installed, enabled, running, and it says what it waits for.
fn installs_where_nothing_is_there(stage: &mut Stage) {
    stage.tell("installing where there is no role, no service and no CodeDeploy agent");
    stage.guest.must("dpkg -i /payload/one.deb");
    assert_eq!(
        stage.guest.must("systemctl is-enabled deploywatch"),
        "enabled"
    );
    stage.assert_runs();
    assert_eq!(
        stage.guest.must("stat -c %U:%a /var/lib/deploywatch"),
        "deploywatch:700"
    );
    stage.guest.wait(LIMIT, "deploywatch status", |said| {
        said.contains("waiting for the CodeDeploy agent")
    });
    let lacks = |stage: &mut Stage, what: &str| {
        let checked = stage.guest.must("deploywatch check");
        assert!(checked.contains(what), "{checked}");
    };
    lacks(stage, "  - the CodeDeploy agent: waiting");
    lacks(stage, "  - the instance's identity: ");
    stage.assert_runs();
    stage.tell("the network comes, a role does not");
    stage.imds.set_gate(Gate::Open);
    stage.start_load();
    stage.guest.wait(LIMIT, "deploywatch check", |said| {
        said.contains("  - no credentials: ")
    });
    stage.assert_runs();
    stage.connect();
}

/// The hardening holds in the running system, and still lets /tmp be read.
fn is_as_private_as_it_says(stage: &mut Stage) {
    let said = stage.guest.must(&format!(
        "systemd-analyze security --no-pager --threshold={EXPOSURE_MAX} deploywatch.service"
    ));
    println!("    {}", said.lines().last().unwrap_or_default());
    let said = stage
        .guest
        .must("systemd-analyze verify --man=no deploywatch.service");
    assert_eq!(said, "", "systemd-analyze verify");
}

/// With a role, all the CodeDeploy agent's logs go to the service.
fn ships_under_load(stage: &mut Stage) {
    stage.tell("a role comes");
    stage.assert_all_arrives();
    let checked = stage.guest.must("deploywatch check");
    assert!(checked.contains("Nothing is missing"), "{checked}");
    assert_eq!(
        stage
            .guest
            .must("stat -c %a /tmp/codedeploy-agent.update.log"),
        "600"
    );
    let state = stage.cloud.state();
    for group in ["agent", "deployments", "scripts", "updater"] {
        let group = &state.groups[&format!("/codedeploy/{group}")];
        assert_eq!(group.retention_days, Some(30));
    }
    drop(state);
}

/// Though others' processes are hidden from it, the agent knows whether the CodeDeploy agent's lives.
fn sees_whether_codedeploy_runs(stage: &mut Stage) {
    stage.tell("the CodeDeploy agent's process ends");
    let pid = stage.guest.must(
        "systemctl show --value -p MainPID codedeploy-agent && \
         cat /opt/codedeploy-agent/state/.pid/codedeploy-agent.pid",
    );
    let (unit, noted) = pid.split_once('\n').unwrap();
    assert_eq!(unit, noted, "the stand-in's process");
    let ours = stage.unit("MainPID");
    let seen = stage.guest.run(&format!(
        "nsenter --mount --target {ours} \
         setpriv --reuid deploywatch --regid deploywatch --clear-groups ls /proc/{noted}"
    ));
    assert_ne!(seen.code, 0, "/proc shows it: {}", seen.output);
    // Longer than a process may be missing before that is said.
    stage.guest.must("sleep 70");
    let said = stage.guest.run("deploywatch status").output;
    assert!(!said.contains("process is gone"), "{said}");
    stage.stop_load();
    stage.guest.wait(LIMIT, "deploywatch status", |said| {
        said.contains("its process is gone since")
    });
    stage.start_load();
}

/// What was written until the reboot is sent before it, and nothing twice.
fn survives_a_reboot(stage: &mut Stage) {
    stage.tell("reboot under load");
    stage.wait_written(1_000);
    stage.guest.reboot();
    stage.assert_runs();
    let inspected = stage.guest.must("/payload/vm inspect");
    stage.ledger.found(&inspected);
    stage.assert_all_arrives();
}

/// The plug is pulled; the checkpoint was not ahead, and nothing on the disk is missed.
fn survives_a_power_cut(stage: &mut Stage, number: u32) {
    stage.tell(&format!("power cut {number} under load"));
    stage.start_load();
    stage.wait_written(1_000);
    stage.cut_power();
    stage.assert_runs();
    stage.assert_all_arrives();
}

/// An agent that hangs is killed by the watchdog and started again.
fn is_restarted_when_it_hangs(stage: &mut Stage) {
    stage.tell("the agent hangs");
    stage.guest.must(
        "mkdir -p /run/systemd/system/deploywatch.service.d && \
         printf '[Service]\\nWatchdogSec=4s\\n' >/run/systemd/system/deploywatch.service.d/fast.conf && \
         systemctl daemon-reload && systemctl restart deploywatch",
    );
    stage.start_load();
    let pid = stage.unit("MainPID");
    let at = Instant::now();
    stage.guest.must(&format!("kill -STOP {pid}"));
    stage.guest.wait(
        LIMIT,
        "systemctl show --value -p NRestarts deploywatch",
        |said| said != "0",
    );
    stage.ledger.allow_repeats(&stage.cloud, at);
    assert!(
        stage
            .guest
            .must("journalctl -b -u deploywatch --no-pager")
            .contains("Watchdog timeout")
    );
    stage
        .guest
        .must("rm -r /run/systemd/system/deploywatch.service.d && systemctl daemon-reload");
    // What runs keeps the limit it was started with, which is short for a busy machine.
    stage.guest.must("systemctl restart deploywatch");
    stage.assert_runs();
    stage.stop_load();
    stage.assert_all_arrives();
}

/// With the disk full the agent goes on, and says so; afterwards nothing is missing.
fn survives_a_full_disk(stage: &mut Stage) {
    stage.tell("the disk is full");
    stage.start_load();
    stage.guest.run("dd if=/dev/zero of=/fill bs=1M 2>/dev/null; dd if=/dev/zero of=/fill2 bs=512 2>/dev/null; sync");
    stage
        .guest
        .wait(LIMIT, "systemctl is-active codedeploy-agent", |said| {
            said != "active"
        });
    stage.assert_runs();
    // The journal has no room either.
    stage.guest.wait(LIMIT, "deploywatch status", |said| {
        said.contains("No space left")
    });
    stage.guest.must("rm -f /fill /fill2");
    let inspected = stage.guest.must("/payload/vm inspect");
    stage.ledger.found(&inspected);
    stage.start_load();
    stage.stop_load();
    stage.assert_runs();
    stage.assert_all_arrives();
}

/// The new version takes over under load; an edited configuration stays.
fn is_upgraded_under_load(stage: &mut Stage) {
    stage.tell("upgrade with an edited configuration, under load");
    stage.guest.must(
        "sed -i 's/^#log_level = .*/log_level = \"debug\"/' /etc/deploywatch/deploywatch.toml",
    );
    stage
        .guest
        .must("echo '# own' >/etc/deploywatch/conf.d/own.toml");
    stage.start_load();
    let before = stage.unit("MainPID");
    stage
        .guest
        .must("dpkg --force-confdef --force-confold -i /payload/two.deb");
    assert_ne!(stage.unit("MainPID"), before);
    stage.assert_runs();
    let config = stage.guest.must("cat /etc/deploywatch/deploywatch.toml");
    assert!(config.contains("\nlog_level = \"debug\"\n"));
    stage
        .guest
        .must("test -e /etc/deploywatch/deploywatch.toml.dpkg-dist");
    stage.stop_load();
    stage.assert_all_arrives();
}

/// A stop while the service cannot be reached ends within the grace period; what was not sent, is
/// after the next start, even where its deployment was pruned by then.
fn stops_in_an_outage(stage: &mut Stage) {
    stage.tell("stop under load in an outage of a minute");
    stage.start_load();
    let outage = Instant::now();
    stage.cloud.set_gate(Gate::Refuse);
    // Long enough for the first deployments to be pruned while the agent holds their files.
    stage.wait_written(7_000);
    let asked = Instant::now();
    // The load goes on into the stop, and ends before it: what is pruned while nobody runs, nobody
    // can rescue.
    stage
        .guest
        .must("systemctl stop --no-block deploywatch; sleep 10");
    stage.stop_load();
    stage.guest.must("systemctl stop deploywatch");
    let took = asked.elapsed();
    println!("    the stop took {took:.0?}");
    assert!(took < Duration::from_secs(50), "the stop took {took:?}");
    assert_eq!(stage.unit("Result"), "success");
    let rescued = stage.guest.must("ls /var/lib/deploywatch/rescue");
    assert!(!rescued.is_empty(), "nothing was pruned unread");
    let left = Duration::from_secs(60).saturating_sub(outage.elapsed());
    stage.guest.must(&format!("sleep {}", left.as_secs_f32()));
    stage.cloud.set_gate(Gate::Open);
    stage.guest.must("systemctl start deploywatch");
    stage.assert_all_arrives();
}

/// After a downgrade past a change of the state's format, the agent says so rather than begin anew.
fn refuses_newer_state(stage: &mut Stage) {
    stage.tell("state of a newer version");
    stage
        .guest
        .must("systemctl stop deploywatch && cp -a /var/lib/deploywatch /var/lib/kept");
    stage.guest.must("/payload/vm newer");
    let finished = stage.guest.run("systemctl start deploywatch");
    assert_ne!(finished.code, 0, "it started");
    let said = stage.journal();
    assert!(said.contains("install the newer"), "{said}");
    stage.guest.must(
        "systemctl stop deploywatch; rm -r /var/lib/deploywatch && mv /var/lib/kept /var/lib/deploywatch",
    );
    stage
        .guest
        .must("dpkg --force-confdef --force-confold -i /payload/one.deb");
    stage.guest.must("systemctl restart deploywatch");
    stage.assert_runs();
}

/// Removing keeps configuration and state, so that nothing comes twice when the package comes back;
/// purging takes both.
fn is_removed_and_purged(stage: &mut Stage) {
    stage.tell("remove, install again, purge");
    // Nothing may be pruned while the agent is away.
    stage.start_load_keeping(100);
    stage.guest.must("dpkg -r deploywatch");
    assert_ne!(stage.guest.run("systemctl is-active deploywatch").code, 0);
    stage
        .guest
        .must("test -e /var/lib/deploywatch/checkpoints -a -e /etc/deploywatch/deploywatch.toml");
    stage.wait_written(200);
    stage
        .guest
        .must("dpkg --force-confdef --force-confold -i /payload/one.deb");
    stage.assert_runs();
    stage.stop_load();
    stage.assert_all_arrives();
    stage.guest.must("dpkg -P deploywatch");
    let left = stage.guest.must(
        "find / -xdev \\( -path '*deploywatch*' -o -lname '*deploywatch*' \\) -not -path '/payload/*' \
         -not -path '*/deploywatch.service.d*' -not -path '/var/log/*' -not -path '/var/lib/dpkg/*' -not -path '/proc/*' -print",
    );
    assert_eq!(left, "", "left behind by the purge");
    // Debian's users stay: their number must not go to somebody else.
    stage.guest.must("id deploywatch");
}

/// Where an image is built no systemd answers: the package goes in all the same, leaves no identity
/// behind, and the unit runs from the first boot on.
fn is_put_into_an_image(stage: &mut Stage) {
    stage.tell("install where systemd does not run, then boot");
    stage.guest.must(
        "unshare --mount sh -c 'mount -t tmpfs none /run/systemd && dpkg -i /payload/one.deb'",
    );
    assert_ne!(stage.guest.run("systemctl is-active deploywatch").code, 0);
    stage.guest.must("test ! -e /var/lib/deploywatch");
    stage.guest.reboot();
    stage.assert_runs();
}
