//! Check of `lb doctor` about the configuration file.

use std::path::Path;

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    admin::wording::counted,
    config::{Config, Errors},
};

pub(super) static VALID: Check = Check {
    name: "configuration",
    group: Group::Agent,
    looks_at: "The configuration file, as `lb check` does.",
    why: "The agent does not start with an invalid file. All other checks are about what the file names, \
          so they are left out until it is valid.",
    fix: "Correct the line that is quoted; docs/configuration.md has all keys.",
};

pub(super) static CHECKS: [&Check; 1] = [&VALID];

/// Reads the configuration file. Returns the configuration, `None` if the file is invalid, and the
/// finding about the file. Without a configuration nothing else can be checked.
pub(super) fn read(file: &Path) -> (Option<Config>, Vec<Finding>) {
    judge(
        file,
        Config::load(file).map(|parsed| (parsed.config, parsed.warnings.len())),
    )
}

fn judge(file: &Path, read: Result<(Config, usize), Errors>) -> (Option<Config>, Vec<Finding>) {
    let name = file.display();
    match read {
        Ok((config, 0)) => (Some(config), vec![VALID.ok(name, "valid")]),
        Ok((config, warnings)) => {
            let finding = VALID.warn(
                name,
                format!("valid, with {}", counted(warnings as u64, "warning")),
                format!("see them with `lb check --config {}`", file.display()),
            );
            (Some(config), vec![finding])
        }
        Err(errors) => {
            let fix = format!("correct the file; `lb check --config {name}` checks it again");
            (None, vec![VALID.fail(name, errors.render(false), fix)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn an_invalid_file_is_a_failure_with_its_line() {
        let file = Path::new("/etc/lb/lb.toml");
        let read = Config::parse(file, "[node]\nnam = 1\n").map(|parsed| (parsed.config, 0));
        let (config, findings) = judge(file, read);
        assert!(config.is_none());
        assert_eq!(findings[0].state, State::Fail);
        assert!(findings[0].found.contains("lb.toml:2"), "{findings:?}");
    }

    #[test]
    fn one_warning_is_in_the_singular() {
        let text = r#"
            [node]
            name = "lb-a"
            interface = "lo"
            [[pool]]
            name = "web"
            backends = ["10.0.0.6:80"]
            [[service]]
            name = "web"
            listen = "127.0.0.1:80"
            mode = "http"
            pool = "web"
        "#;
        let config = Config::parse(Path::new("lb.toml"), text).expect("valid");
        let found = |warnings| {
            let read = Ok((config.config.clone(), warnings));
            judge(Path::new("lb.toml"), read).1[0].found.clone()
        };
        assert_eq!(found(1), "valid, with 1 warning");
        assert_eq!(found(2), "valid, with 2 warnings");
    }
}
