//! The actions of the EC2 API that the agent uses.

/// An action of the EC2 API.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Operation {
    /// Associates the Elastic IP with this host.
    AssociateAddress,
    /// Says whose the Elastic IP is.
    DescribeAddresses,
    /// Gives this host the secondary private address.
    AssignPrivateIpAddresses,
    /// Says which private addresses this host's interface has.
    DescribeNetworkInterfaces,
}

impl Operation {
    /// Its name, as AWS writes it.
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
