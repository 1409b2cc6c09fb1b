//! The catalogue of checks, from which docs/doctor.md is generated.

use super::{
    agent, aws, backends, certificates, checksums, clock, configuration, files, host, interface,
    kernel, names, pair, ports,
};

/// One kind of check. Its findings refer to it.
#[derive(Debug, Eq, PartialEq)]
pub struct Check {
    /// The name in the output, in JSON and in docs/doctor.md: lower case, words joined by `_`.
    pub name: &'static str,
    /// The group that it is listed in.
    pub group: Group,
    /// What it looks at.
    pub looks_at: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// How to fix it, in general; a finding says it for the case at hand.
    pub fix: &'static str,
}

/// The groups of checks, in the order of the output.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Group {
    /// The configuration file and the agent.
    Agent,
    /// The kernel.
    Kernel,
    /// The interfaces of `[node]`.
    Interfaces,
    /// Limits, sysctls, ports and the clock of the host.
    Host,
    /// Routes to backends, and the backends.
    Backends,
    /// The other host.
    Pair,
    /// The EC2 API and the instance metadata service.
    Aws,
    /// DNS names and certificates.
    Certificates,
    /// Files, folders and disks.
    Files,
}

impl Group {
    /// Returns the word for the group, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Kernel => "kernel",
            Self::Interfaces => "interfaces",
            Self::Host => "host",
            Self::Backends => "backends",
            Self::Pair => "pair",
            Self::Aws => "aws",
            Self::Certificates => "certificates",
            Self::Files => "files",
        }
    }

    /// Returns the heading of the group.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Agent => "Configuration and agent",
            Self::Kernel => "Kernel",
            Self::Interfaces => "Interfaces",
            Self::Host => "Host limits and ports",
            Self::Backends => "Routes and backends",
            Self::Pair => "Pair",
            Self::Aws => "AWS",
            Self::Certificates => "Names and certificates",
            Self::Files => "Files and disk",
        }
    }
}

/// Returns every check, in the order of the output.
pub fn all() -> impl Iterator<Item = &'static Check> {
    ALL.iter().copied().flatten().copied()
}

static ALL: [&[&Check]; 14] = [
    &configuration::CHECKS,
    &agent::CHECKS,
    &kernel::CHECKS,
    &interface::CHECKS,
    &checksums::CHECKS,
    &host::CHECKS,
    &ports::CHECKS,
    &clock::CHECKS,
    &backends::CHECKS,
    &pair::CHECKS,
    &aws::CHECKS,
    &names::CHECKS,
    &certificates::CHECKS,
    &files::CHECKS,
];

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use super::*;

    #[test]
    fn names_are_unique_and_groups_stay_together() {
        let mut names: Vec<_> = all().map(|check| check.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all().is_sorted_by_key(|check| check.group));
    }

    /// Returns the sections of docs/doctor.md that the catalogue determines.
    fn sections() -> String {
        let mut text = String::new();
        let mut group = None;
        for check in all() {
            if group.replace(check.group) != Some(check.group) {
                text.push_str(&format!("\n## {}\n", check.group.heading()));
            }
            let Check {
                name,
                looks_at,
                why,
                fix,
                ..
            } = check;
            text.push_str(&format!(
                "\n### `{name}`\n\n- **Looks at:** {looks_at}\n- **Why:** {why}\n- **Fix:** {fix}\n"
            ));
        }
        text
    }

    /// `UPDATE=1 cargo test -p lb-userspace --lib doctor` writes the sections.
    #[test]
    fn the_page_has_every_check() {
        const MARK: &str = "<!-- checks -->\n";
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/doctor.md");
        let page = fs::read_to_string(&file).expect("docs/doctor.md");
        let (before, _) = page.split_once(MARK).expect("the mark");
        let wanted = format!("{before}{MARK}{}", sections());
        if env::var_os("UPDATE").is_some() {
            fs::write(&file, &wanted).expect("docs/doctor.md can be written");
        } else {
            assert!(
                page == wanted,
                "docs/doctor.md differs from the checks: UPDATE=1 cargo test --lib doctor"
            );
        }
    }
}
