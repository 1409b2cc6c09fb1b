//! Tools from PyPI, each in a separate virtual environment within the target directory.

use std::fs;

use crate::workspace::Workspace;

/// A package from PyPI, the package index of Python.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PythonPackage {
    /// The name and version of the package, in the form that is passed to pip.
    pub(crate) requirement: &'static str,
    /// The directory of the package's virtual environment, within the target directory.
    pub(crate) directory: &'static str,
}

impl PythonPackage {
    /// Returns whether the package's virtual environment exists and was made for another
    /// requirement than the present one. The requirement of an environment is recorded as its
    /// prompt, in `pyvenv.cfg`; one without a record is outdated, too.
    pub(crate) fn is_outdated(&self) -> bool {
        let Ok(workspace) = Workspace::find() else {
            return false;
        };
        let settings = workspace.target.join(self.directory).join("pyvenv.cfg");
        fs::read_to_string(settings).is_ok_and(|settings| !self.is_recorded_in(&settings))
    }

    fn is_recorded_in(&self, settings: &str) -> bool {
        let record = format!("prompt = '{}'", self.requirement);
        settings.lines().any(|line| line.trim() == record)
    }
}

/// moto, which simulates the EC2 and Auto Scaling APIs and CloudFormation. It depends on cfn-lint,
/// which checks templates.
pub(crate) const MOTO: PythonPackage = PythonPackage {
    requirement: "moto[server,ec2,cloudformation,autoscaling]==5.2.*",
    directory: "moto",
};

/// The Python package with Grafana's published model of dashboards. The number before the
/// exclamation mark is the release of the package, the one behind it the version of Grafana.
pub(crate) const GRAFANA_MODEL: PythonPackage = PythonPackage {
    requirement: "grafana-foundation-sdk==1769699998!10.1.0",
    directory: "grafana",
};

/// Playwright, which drives a browser. The browser itself is a package of the distribution.
pub(crate) const PLAYWRIGHT: PythonPackage = PythonPackage {
    requirement: "playwright==1.*",
    directory: "playwright",
};

/// The AWS CLI, which scripts of keepalived call.
pub(crate) const AWS_CLI: PythonPackage = PythonPackage {
    requirement: "awscli==1.*",
    directory: "awscli",
};

/// typos, which checks spelling.
pub(crate) const TYPOS: PythonPackage = PythonPackage {
    requirement: "typos==1.52.*",
    directory: "typos",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_for_the_requirement_that_is_its_prompt() {
        let settings = |prompt: &str| format!("home = /usr/bin\n{prompt}version = 3.11.2\n");
        let present = settings("prompt = 'typos==1.52.*'\n");
        assert!(TYPOS.is_recorded_in(&present));
        assert!(!TYPOS.is_recorded_in(&settings("prompt = 'typos==1.51.*'\n")));
        assert!(!TYPOS.is_recorded_in(&settings("")));
    }
}
