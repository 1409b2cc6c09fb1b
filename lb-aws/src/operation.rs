//! The actions of the EC2 API that the agent uses.

/// An action of the EC2 API.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Operation {
    /// Associates the Elastic IP with this host.
    AssociateAddress,
    /// Returns the owner of the Elastic IP.
    DescribeAddresses,
    /// Assigns the secondary private address to this host.
    AssignPrivateIpAddresses,
    /// Returns the private addresses of this host's interface.
    DescribeNetworkInterfaces,
}

impl Operation {
    /// Returns the name, as AWS writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AssociateAddress => "AssociateAddress",
            Self::DescribeAddresses => "DescribeAddresses",
            Self::AssignPrivateIpAddresses => "AssignPrivateIpAddresses",
            Self::DescribeNetworkInterfaces => "DescribeNetworkInterfaces",
        }
    }
}
