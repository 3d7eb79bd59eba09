//! What runs a machine: user-mode Linux, a kernel that is an ordinary program, or qemu, which emulates
//! every instruction of Debian's own kernel and is slower.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::guest::Parts;

/// Where Debian has libraries.
const LIBRARIES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// What runs a machine, in a directory with Debian's packages, unpacked.
#[derive(Clone, Debug)]
pub(crate) enum Power {
    /// User-mode Linux and a helper for its network.
    UserMode(PathBuf),
    /// qemu without KVM, and the kernel for the cloud.
    Emulated(PathBuf),
}

impl Power {
    /// Switches on a machine with this disk; its serial line is `line`, and what it prints goes to files
    /// that `console` makes. Gives the process that is the machine, and one for its network.
    pub(crate) fn on(
        &self,
        disk: &Path,
        parts: &Parts,
        line: UnixStream,
        console: impl Fn(&str) -> File,
    ) -> (Child, Option<Child>) {
        let start = |command: &mut Command| {
            command
                .stdin(Stdio::null())
                .stdout(console("console"))
                .stderr(console("kernel"))
                .spawn()
                .unwrap()
        };
        match self {
            Self::UserMode(tools) => {
                let (ours, helpers) = UnixDatagram::pair().unwrap();
                let network = network_helper(tools, &helpers, console("network"));
                drop(helpers);
                let mut kernel = user_mode(tools, disk, parts, &line, &ours);
                (start(&mut kernel), Some(network))
            }
            Self::Emulated(tools) => {
                let mut qemu = emulated(tools, disk, parts, &line);
                (start(&mut qemu), None)
            }
        }
    }

    /// The guest's name of its second disk.
    pub(crate) fn second_disk(&self) -> &'static str {
        match self {
            Self::UserMode(_) => "/dev/ubdb",
            Self::Emulated(_) => "/dev/nvme0n2",
        }
    }

    /// The directory it is in.
    pub(crate) fn tools(&self) -> &Path {
        match self {
            Self::UserMode(tools) | Self::Emulated(tools) => tools,
        }
    }
}

/// A program in a process namespace of its own, which ends with it.
fn enclosed() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child=SIGKILL"]);
    command
}

fn network_helper(tools: &Path, guest: &UnixDatagram, errors: File) -> Child {
    Command::new(tools.join("usr/bin/libslirp-helper"))
        .args(["--exit-with-parent", "--disable-ipv6"])
        .arg(format!("--fd={}", inherited(guest)))
        .env("LD_LIBRARY_PATH", tools.join(LIBRARIES[1]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .unwrap()
}

fn user_mode(
    tools: &Path,
    disk: &Path,
    parts: &Parts,
    line: &UnixStream,
    network: &UnixDatagram,
) -> Command {
    let mut command = enclosed();
    command
        .arg(tools.join("usr/bin/linux.uml"))
        .args(["mem=512M", "root=/dev/ubda", "rw"])
        .args(["con=null", "con0=null,fd:1"])
        .arg(format!("ubd0={}", disk.display()))
        .arg(format!("ubd1r={}", parts.payload.display()))
        .arg(format!("ssl0=fd:{}", inherited(line)))
        .arg(format!("vec0:transport=fd,fd={},vec=0", inherited(network)))
        .arg(format!("uml_dir={}", parts.scratch.display()))
        .env("TMPDIR", &parts.scratch);
    command
}

/// As EC2's: NVMe disks, and a firmware that says whose machine it is. The kernel has the disks built
/// in, so it needs no initial file system.
fn emulated(tools: &Path, disk: &Path, parts: &Parts, line: &UnixStream) -> Command {
    let libraries = LIBRARIES.map(|dir| tools.join(dir).display().to_string());
    let mut command = enclosed();
    // By the loader of the same tree: the host's C library may be older.
    command
        .arg(tools.join(LIBRARIES[0]).join("ld-linux-x86-64.so.2"))
        .args(["--library-path", &libraries.join(":")])
        .arg(tools.join("usr/bin/qemu-system-x86_64"))
        .args(["-accel", "tcg,thread=multi", "-M", "q35", "-cpu", "max"])
        .args(["-m", "512", "-smp", "2", "-nodefaults", "-display", "none"])
        .arg("-L")
        .arg(tools.join("usr/share/seabios"))
        .arg("-L")
        .arg(tools.join("usr/share/qemu"))
        .args(["-smbios", "type=1,manufacturer=Amazon EC2"])
        .arg("-kernel")
        .arg(tools.join("boot/vmlinuz"))
        .arg("-append")
        // On a busy host its services take more than their usual 90 seconds to start.
        .arg("root=/dev/nvme0n1 rw console=ttyS1 systemd.default_timeout_start_sec=600")
        .args(["-device", "nvme,id=disks,serial=disks"])
        .args(["-device", "nvme-ns,drive=first,bus=disks,nsid=1"])
        .args(["-device", "nvme-ns,drive=second,bus=disks,nsid=2"])
        .arg("-drive")
        .arg(format!(
            "if=none,id=first,format=raw,file={}",
            disk.display()
        ))
        .arg("-drive")
        .arg(format!(
            "if=none,id=second,format=raw,readonly=on,file={}",
            parts.payload.display()
        ))
        .args(["-netdev", "user,id=network,ipv6=off"])
        .args(["-device", "virtio-net-pci,netdev=network,romfile="])
        .arg("-chardev")
        .arg(format!("socket,id=line,fd={}", inherited(line)))
        .args(["-serial", "chardev:line", "-serial", "stdio"])
        .env("QEMU_MODULE_DIR", tools.join(LIBRARIES[1]).join("qemu"));
    command
}

/// Lets children have this descriptor; its number.
fn inherited(descriptor: &(impl AsFd + AsRawFd)) -> i32 {
    fcntl_setfd(descriptor, FdFlags::empty()).unwrap();
    descriptor.as_raw_fd()
}
