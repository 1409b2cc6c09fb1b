//! Checks of `lb doctor` about the kernel: its version, and what eBPF needs of it.

use std::{fs, path::Path};

use nix::sys::utsname::uname;

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::{config::Dataplane, dataplane::survey};

pub(super) static VERSION: Check = Check {
    name: "kernel_version",
    group: Group::Kernel,
    looks_at: "The release of the running kernel.",
    why: "The XDP program uses features of Linux 6.1; the verifier of an older kernel rejects it.",
    fix: "Install a kernel of at least 6.1 and reboot.",
};

pub(super) static BTF: Check = Check {
    name: "kernel_btf",
    group: Group::Kernel,
    looks_at: "`/sys/kernel/btf/vmlinux`, the type information of the kernel.",
    why: "`bpftool` shows the fields of maps by name only with it, and tracing tools need it.",
    fix: "Use a kernel that is built with `CONFIG_DEBUG_INFO_BTF=y`, as those of all current distributions \
          are.",
};

pub(super) static JIT: Check = Check {
    name: "bpf_jit",
    group: Group::Kernel,
    looks_at: "The sysctl `net.core.bpf_jit_enable`.",
    why: "Without the JIT compiler the kernel interprets the XDP program, which takes several times the CPU \
          time for each packet.",
    fix: "`sysctl -w net.core.bpf_jit_enable=1`, and the same line in a file of `/etc/sysctl.d`.",
};

pub(super) static FILE_SYSTEM: Check = Check {
    name: "bpf_file_system",
    group: Group::Kernel,
    looks_at: "Whether the folder above `dataplane.pin_path` is a BPF file system.",
    why: "Maps, program and links are pinned there, so that connections outlive the agent. Without it the \
          agent does not start.",
    fix: "`mount -t bpf bpf /sys/fs/bpf`; systemd does this at boot.",
};

pub(super) static PINS: Check = Check {
    name: "pinned_maps",
    group: Group::Kernel,
    looks_at: "The maps that an earlier agent pinned, if no agent runs.",
    why: "An agent adopts them only if their layout and size are what its version and configuration need, \
          and refuses to start otherwise.",
    fix: "Restore `max_connections`, or run `lb unload`, which ends all connections.",
};

pub(super) static CHECKS: [&Check; 5] = [&VERSION, &BTF, &JIT, &FILE_SYSTEM, &PINS];

/// The oldest kernel version that lb supports, as major and minor number.
const OLDEST: (u32, u32) = (6, 1);

/// Makes the checks about the kernel.
pub(super) fn check(settings: &Dataplane, agent_runs: bool) -> Vec<Finding> {
    let release = uname().map(|names| names.release().to_string_lossy().into_owned());
    let jit = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok();
    let on_bpf = survey::is_on_bpf_file_system(&settings.pin_path);
    let mut findings = vec![
        version(&release.unwrap_or_default()),
        btf(Path::new("/sys/kernel/btf/vmlinux").exists()),
        jit_compiler(jit.as_deref()),
        file_system(&settings.pin_path, on_bpf),
    ];
    if on_bpf && !agent_runs {
        let refusal = survey::refusal_of_pins(&settings.pin_path, settings.max_connections);
        findings.push(pins(&settings.pin_path, refusal.as_deref()));
    }
    findings
}

fn version(release: &str) -> Finding {
    let wanted = format!("at least {}.{} is needed", OLDEST.0, OLDEST.1);
    match numbers(release) {
        Some(found) if found >= OLDEST => VERSION.ok("", format!("{release}; {wanted}")),
        Some(_) => VERSION.fail(
            "",
            format!("{release}; {wanted}"),
            "install a newer kernel and reboot",
        ),
        None => VERSION.skipped("", format!("cannot parse the release {release:?}")),
    }
}

/// Parses the major and minor version of a kernel release such as `6.1.0-31-amd64`.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf(present: bool) -> Finding {
    const FILE: &str = "/sys/kernel/btf/vmlinux";
    match present {
        true => BTF.ok("", "present"),
        false => BTF.warn(
            "",
            format!("there is no {FILE}"),
            "lb works without it; for `bpftool` and tracing install a kernel with \
             CONFIG_DEBUG_INFO_BTF=y",
        ),
    }
}

fn jit_compiler(setting: Option<&str>) -> Finding {
    match setting.map(str::trim) {
        None => JIT.skipped("", "not visible in this network namespace"),
        Some("0") => JIT.warn(
            "",
            "off: the kernel interprets the XDP program",
            "`sysctl -w net.core.bpf_jit_enable=1`, and the same line in a file of /etc/sysctl.d",
        ),
        Some(_) => JIT.ok("", "on"),
    }
}

fn file_system(pin_path: &Path, on_bpf: bool) -> Finding {
    let subject = &pin_path.display();
    let parent = pin_path.parent().unwrap_or(pin_path).display();
    match on_bpf {
        true => FILE_SYSTEM.ok(subject, format!("{parent} is a BPF file system")),
        false => FILE_SYSTEM.fail(
            subject,
            format!("{parent} is not a BPF file system"),
            format!("mount one: `mount -t bpf bpf {parent}`"),
        ),
    }
}

fn pins(pin_path: &Path, refusal: Option<&str>) -> Finding {
    let subject = &pin_path.display();
    match refusal {
        None => PINS.ok(subject, "none, or compatible with this version and size"),
        Some(refusal) => PINS.fail(
            subject,
            refusal,
            format!(
                "restore the former setting, or end all connections: `lb unload --pin-path {subject}`"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn kernels_are_compared_by_number() {
        let state = |release| version(release).state;
        assert_eq!(state("6.18.5"), State::Ok);
        assert_eq!(state("6.1.0-31-amd64"), State::Ok);
        assert_eq!(state("10.0.1"), State::Ok);
        assert_eq!(state("5.14.0-427.el9.x86_64"), State::Fail);
        assert_eq!(state("6.0-rc1"), State::Fail);
        assert_eq!(state("unknown"), State::Skipped);
    }

    #[test]
    fn what_is_missing_has_a_command() {
        let finding = file_system(Path::new("/sys/fs/bpf/lb"), false);
        assert_eq!(finding.state, State::Fail);
        assert!(
            finding
                .fix
                .expect("a fix")
                .contains("`mount -t bpf bpf /sys/fs/bpf`")
        );
        assert_eq!(btf(false).state, State::Warn);
        assert_eq!(jit_compiler(Some("0\n")).state, State::Warn);
        assert_eq!(jit_compiler(Some("1\n")).state, State::Ok);
        assert_eq!(jit_compiler(None).state, State::Skipped);
    }

    #[test]
    fn pins_that_an_agent_would_refuse_are_a_failure() {
        let path = Path::new("/sys/fs/bpf/lb");
        assert_eq!(pins(path, None).state, State::Ok);
        let finding = pins(path, Some("max_connections needs a table of 8 entries"));
        assert_eq!(finding.state, State::Fail);
        assert!(
            finding
                .fix
                .expect("a fix")
                .contains("`lb unload --pin-path /sys/fs/bpf/lb`")
        );
    }
}
