//! The actions of AWS's APIs that the agent uses.

/// An action of an API of AWS that the agent uses: of EC2, if its description names no other.
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
    /// Returns instances: their private addresses for the discovery of backends, and the settings
    /// of the metadata service for `lb doctor`.
    DescribeInstances,
    /// The action of Auto Scaling that returns the instances of a group.
    DescribeAutoScalingGroups,
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
            Self::DescribeAutoScalingGroups => "DescribeAutoScalingGroups",
        }
    }

    /// Returns the name of the service of AWS that has the action.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::DescribeAutoScalingGroups => "Auto Scaling",
            _ => "EC2",
        }
    }

    /// Returns the permission that the action needs, as policies write it.
    pub(super) fn permission(self) -> String {
        let prefix = match self {
            Self::DescribeAutoScalingGroups => "autoscaling",
            _ => "ec2",
        };
        format!("{prefix}:{}", self.name())
    }
}
