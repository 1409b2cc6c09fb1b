//! Tools from PyPI, each in a virtual environment of its own within the target directory.

/// A package from PyPI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PythonPackage {
    /// The requirement that pip is given.
    pub(crate) requirement: &'static str,
    /// The directory of its virtual environment, within the target directory.
    pub(crate) directory: &'static str,
}

/// Simulates the EC2 API.
pub(crate) const MOTO: PythonPackage = PythonPackage {
    requirement: "moto[server,ec2]==5.2.*",
    directory: "moto",
};

/// Checks spelling.
pub(crate) const TYPOS: PythonPackage = PythonPackage {
    requirement: "typos==1.52.*",
    directory: "typos",
};
