//! The actions of the EC2 API that the agent uses.

/// An action of the EC2 API that the agent uses.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Operation {
    /// The action that associates the Elastic IP with this host.
    AssociateAddress,
    /// The action that returns the owner of the Elastic IP.
    DescribeAddresses,
    /// The action that assigns the Elastic IP's private address, a secondary one, to this host.
    AssignPrivateIpAddresses,
    /// The action that returns the private addresses of this host's network interface.
    DescribeNetworkInterfaces,
    /// Returns the rules of security groups; only `lb doctor` uses it.
    DescribeSecurityGroups,
    /// Returns the settings of the metadata service; only `lb doctor` uses it.
    DescribeInstances,
}

impl Operation {
    /// Returns the name of the action, as AWS writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AssociateAddress => "AssociateAddress",
            Self::DescribeAddresses => "DescribeAddresses",
            Self::AssignPrivateIpAddresses => "AssignPrivateIpAddresses",
            Self::DescribeNetworkInterfaces => "DescribeNetworkInterfaces",
            Self::DescribeSecurityGroups => "DescribeSecurityGroups",
            Self::DescribeInstances => "DescribeInstances",
        }
    }
}
