//! The stage of every scenario: the machine, the service under its own name, the metadata service at
//! its own address, the CodeDeploy agent, and what can be done with them.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::guest::{Guest, Parts};
use crate::ledger::{Arrived, Ledger};
use crate::support::cloud::Cloud;
use crate::support::imds::{Imds, Instance};
use crate::support::listener::Gate;
use crate::support::sigv4::Key;
use crate::support::state::KeyState;

/// How long anything may take that takes seconds on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// The region's endpoint, which the guest's hosts file sends to [`SERVICE`].
const SERVICE_NAME: &str = "logs.eu-west-1.amazonaws.com";
/// An address of documentation's, which only this network has.
const SERVICE: &str = "192.0.2.1";
/// The instance metadata service's own address.
const METADATA: &str = "169.254.169.254";
/// Where the guest's CodeDeploy agent tells what it has synced.
const REPORTS: &str = "192.0.2.1:9000";

/// Revisions the CodeDeploy agent keeps, as its `max_revisions` says.
const REVISIONS: usize = 5;

/// Gives this network namespace the addresses that the guest is to find.
pub(crate) fn make_network() {
    for command in [
        "link set lo up".to_owned(),
        format!("address add {SERVICE}/32 dev lo"),
        format!("address add {METADATA}/32 dev lo"),
    ] {
        let status = Command::new("ip")
            .args(command.split(' '))
            .status()
            .unwrap();
        assert!(status.success(), "ip {command}: {status}");
    }
    let routes = Command::new("ip")
        .args(["route", "show", "default"])
        .output()
        .unwrap();
    assert!(routes.stdout.is_empty(), "this network has a way out");
}

/// Everything a scenario plays with.
pub(crate) struct Stage {
    pub(crate) guest: Guest,
    pub(crate) cloud: Cloud,
    pub(crate) imds: Imds,
    pub(crate) ledger: Ledger,
    role: (Key, Duration),
    runs: u32,
}

impl Stage {
    /// A booted machine without a package; the role is not there yet, and nobody answers.
    pub(crate) fn set(parts: &Parts, name: &str) -> Self {
        let cloud = Cloud::start_named(&format!("{SERVICE}:443"), SERVICE_NAME);
        let mut instance = Instance::default();
        let role = instance.role.take().unwrap();
        let ledger = Ledger::open(REPORTS, &instance.id);
        let imds = Imds::start_at(&format!("{METADATA}:80"), instance);
        cloud.set_key(&role.0, KeyState::Good);
        cloud.set_gate(Gate::Refuse);
        imds.set_gate(Gate::Refuse);
        let ca = std::fs::read_to_string(cloud.ca_pem()).unwrap();
        let mut guest = Guest::new(parts, name);
        guest.boot();
        guest.must(&format!(
            "mkdir -p /payload && tar -xf {} -C /payload",
            parts.power.second_disk()
        ));
        guest.must(&format!(
            "cat >>/etc/ssl/certs/ca-certificates.crt <<'EOF'\n{ca}EOF"
        ));
        Self {
            guest,
            cloud,
            imds,
            ledger,
            role,
            runs: 0,
        }
    }

    /// From now on there are a role, metadata and the service.
    pub(crate) fn connect(&mut self) {
        self.imds.set_role(&self.role.0, self.role.1);
        self.imds.set_gate(Gate::Open);
        self.cloud.set_gate(Gate::Open);
    }

    /// Starts the CodeDeploy agent, and waits until it has written some.
    pub(crate) fn start_load(&mut self) {
        self.start_load_keeping(REVISIONS);
    }

    /// The same with so many revisions kept.
    pub(crate) fn start_load_keeping(&mut self, revisions: usize) {
        self.runs += 1;
        let run = self.runs;
        self.guest
            .must("systemctl reset-failed codedeploy-agent 2>/dev/null; true");
        self.guest.must(&format!(
            "systemd-run --quiet --unit=codedeploy-agent \
             /payload/vm codedeploy r{run} {revisions} {REPORTS}"
        ));
        self.wait_written(400);
    }

    /// Waits until so many more lines are on stable storage.
    pub(crate) fn wait_written(&mut self, lines: u64) {
        let wanted = self.ledger.synced() + lines;
        let limit_at = Instant::now() + LIMIT;
        while self.ledger.synced() < wanted {
            assert!(Instant::now() < limit_at, "the load does not run");
            self.guest
                .must("systemctl is-active --quiet codedeploy-agent");
        }
    }

    /// Stops the CodeDeploy agent; all it wrote, synced or not, is then in the book.
    pub(crate) fn stop_load(&mut self) {
        self.guest.run("systemctl stop codedeploy-agent");
        let inspected = self.guest.must("/payload/vm inspect");
        self.ledger.found(&inspected);
    }

    /// Pulls the plug under load and boots again: what the disk then holds must arrive.
    pub(crate) fn cut_power(&mut self) {
        let at = self.guest.cut_power();
        self.ledger.allow_repeats(&self.cloud, at);
        let arrived = self.ledger.arrived(&self.cloud);
        self.ledger.forget_tmp(&arrived);
        self.guest.boot();
        self.inspect_after_boot(&arrived);
    }

    /// What a boot found on the disk: goes into the book, and the checkpoint is compared.
    pub(crate) fn inspect_after_boot(&mut self, arrived: &Arrived) {
        let inspected = self.guest.must("/payload/vm inspect");
        for line in inspected
            .lines()
            .filter(|line| !line.starts_with("disk ") && !line.starts_with("settled "))
        {
            println!("    after the boot: {line}");
        }
        self.ledger.found(&inspected);
        self.ledger.assert_not_ahead(&inspected, arrived);
    }

    /// Everything on the disk arrives, and nothing comes twice that may not.
    pub(crate) fn assert_all_arrives(&mut self) {
        self.ledger.assert_all_arrives(&self.cloud, LIMIT);
        self.cloud.assert_no_violations();
    }

    /// A property of the unit.
    pub(crate) fn unit(&mut self, property: &str) -> String {
        self.guest
            .must(&format!("systemctl show --value -p {property} deploywatch"))
    }

    /// The unit runs, as the right user with the one capability.
    pub(crate) fn assert_runs(&mut self) {
        assert_eq!(self.unit("ActiveState"), "active", "{}", self.journal());
        let pid = self.unit("MainPID");
        let status = self.guest.must(&format!("cat /proc/{pid}/status"));
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        let user = self.guest.must("id -u deploywatch");
        assert_eq!(field("Uid:"), user);
        assert_ne!(user, "0");
        // CAP_DAC_READ_SEARCH is number 2.
        for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
            assert_eq!(
                u64::from_str_radix(&field(set), 16).unwrap(),
                1 << 2,
                "{set}"
            );
        }
        assert_eq!(
            (field("NoNewPrivs:"), field("Seccomp:")),
            ("1".into(), "2".into())
        );
    }

    /// What the agent said since the boot.
    pub(crate) fn journal(&mut self) -> String {
        self.guest
            .run("journalctl -b -u deploywatch --no-pager -o cat")
            .output
    }

    /// Says where the story is.
    pub(crate) fn tell(&self, what: &str) {
        println!("  {what}");
    }
}
