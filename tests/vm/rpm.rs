//! The life of the .rpm. The machine is Debian with rpm in it: what rpm and the package's scripts do is
//! the same, what dnf and SELinux do is not seen here.

use crate::guest::Parts;
use crate::stage::{LIMIT, Stage};

/// The same promises as for the .deb: told from the installation to the erasure.
pub(crate) fn tell(parts: &Parts) {
    let mut stage = Stage::set(parts, "rpm");
    follows_presets(&mut stage);
    stage.start_load();
    stage.assert_all_arrives();
    is_upgraded_under_load(&mut stage);
    stage.tell("reboot under load");
    stage.start_load();
    stage.guest.reboot();
    stage.assert_runs();
    let inspected = stage.guest.must("/payload/vm inspect");
    stage.ledger.found(&inspected);
    stage.assert_all_arrives();
    stage.tell("power cut under load");
    stage.start_load();
    stage.wait_written(1_000);
    stage.cut_power();
    stage.assert_runs();
    stage.assert_all_arrives();
    is_erased(&mut stage);
    assert_eq!(stage.imds.state().violations, Vec::<String>::new());
}

/// Installing starts nothing and enables what the presets say: with Red Hat's "disable *", nothing.
fn follows_presets(stage: &mut Stage) {
    stage.tell("installing; the presets say no");
    stage.guest.must(
        "mkdir -p /etc/systemd/system-preset && \
         echo 'disable *' >/etc/systemd/system-preset/99-default.preset",
    );
    stage.guest.must("rpm --install --nodeps /payload/one.rpm");
    assert_eq!(
        stage
            .guest
            .run("systemctl is-enabled deploywatch")
            .output
            .trim(),
        "disabled"
    );
    assert_eq!(stage.unit("ActiveState"), "inactive");
    stage.connect();
    stage.guest.must("systemctl enable --now deploywatch");
    stage.assert_runs();
}

/// An upgrade restarts what runs, and keeps an edited configuration.
fn is_upgraded_under_load(stage: &mut Stage) {
    stage.tell("upgrade with an edited configuration, under load");
    stage.guest.must(
        "sed -i 's/^#log_level = .*/log_level = \"debug\"/' /etc/deploywatch/deploywatch.toml",
    );
    let before = stage.unit("MainPID");
    stage.guest.must("rpm --upgrade --nodeps /payload/two.rpm");
    assert_ne!(stage.unit("MainPID"), before);
    stage.assert_runs();
    let config = stage.guest.must("cat /etc/deploywatch/deploywatch.toml");
    assert!(config.contains("\nlog_level = \"debug\"\n"));
    stage
        .guest
        .must("test -e /etc/deploywatch/deploywatch.toml.rpmnew");
    stage.stop_load();
    stage.assert_all_arrives();
}

/// Erasing stops and disables it, and keeps the state and an edited configuration.
fn is_erased(stage: &mut Stage) {
    stage.tell("erase");
    let verified = stage.guest.run("rpm --verify --nodeps deploywatch").output;
    // The configuration was edited; nothing else differs from the package.
    for line in verified.lines() {
        assert!(
            line.ends_with("/etc/deploywatch/deploywatch.toml"),
            "{verified}"
        );
    }
    stage.guest.must("rpm --erase deploywatch");
    stage
        .guest
        .wait(LIMIT, "systemctl is-active deploywatch", |said| {
            said != "active"
        });
    stage
        .guest
        .must("test ! -e /etc/systemd/system/multi-user.target.wants/deploywatch.service");
    stage.guest.must("test -e /var/lib/deploywatch/checkpoints");
    stage
        .guest
        .must("test -e /etc/deploywatch/deploywatch.toml.rpmsave");
    // Of the rest of it nothing is left but its user.
    let left = stage
        .guest
        .must("find /usr -name '*deploywatch*' -not -path '/usr/local/*'");
    assert_eq!(left, "");
}
