//! Tools from PyPI, each in a separate virtual environment within the target directory.

/// A package from PyPI, the package index of Python.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PythonPackage {
    /// The name and version of the package, in the form that is passed to pip.
    pub(crate) requirement: &'static str,
    /// The directory of the package's virtual environment, within the target directory.
    pub(crate) directory: &'static str,
}

/// moto, which simulates the EC2 API and CloudFormation. It depends on cfn-lint, which checks templates.
pub(crate) const MOTO: PythonPackage = PythonPackage {
    requirement: "moto[server,ec2,cloudformation]==5.2.*",
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
