//! Instances and Auto Scaling groups of the fake AWS account.

use std::{collections::BTreeMap, net::Ipv4Addr};

/// The instances and Auto Scaling groups that the fake EC2 API describes, beside the balancers,
/// whose instances it does not describe. Tests change them through [`super::FakeEc2::fleet`].
#[derive(Clone, Debug, Default)]
pub struct FakeFleet {
    /// All instances, also those that are terminated, which AWS describes for about an hour.
    pub instances: Vec<FleetInstance>,
    /// All Auto Scaling groups.
    pub groups: Vec<Group>,
    launched: u32,
}

/// An instance of the fake EC2 API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FleetInstance {
    /// ID of the instance, `i-…`.
    pub id: String,
    /// The primary private address. As on AWS, the description of a terminated instance has none.
    pub private_ip: Ipv4Addr,
    /// State of the instance.
    pub state: InstanceState,
    /// The instance's tags: value by key.
    pub tags: BTreeMap<String, String>,
}

/// State of an instance, as EC2 names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InstanceState {
    /// `pending`: it starts.
    Pending,
    /// `running`.
    Running,
    /// `stopping`: it stops.
    Stopping,
    /// `stopped`: it keeps its private address, and can be started again.
    Stopped,
    /// `shutting-down`: it is about to be terminated.
    ShuttingDown,
    /// `terminated`: it no longer exists, and is described for a while.
    Terminated,
}

impl InstanceState {
    /// Returns the state's code and name in the EC2 API.
    pub(super) fn described(self) -> (u8, &'static str) {
        match self {
            Self::Pending => (0, "pending"),
            Self::Running => (16, "running"),
            Self::ShuttingDown => (32, "shutting-down"),
            Self::Terminated => (48, "terminated"),
            Self::Stopping => (64, "stopping"),
            Self::Stopped => (80, "stopped"),
        }
    }
}

/// An Auto Scaling group of the fake EC2 API, which launches and terminates nothing by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Name of the group.
    pub name: String,
    /// The instances of the group.
    pub members: Vec<Member>,
}

/// An instance in an Auto Scaling group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// ID of the instance, `i-…`.
    pub instance_id: String,
    /// AWS's name of the state, such as `InService`, `Pending:Wait`, `Terminating:Wait` or
    /// `Standby`.
    pub lifecycle: String,
    /// Whether Auto Scaling considers the instance healthy.
    pub healthy: bool,
}

impl FakeFleet {
    /// Adds a running instance with this private address and these tags, keys with values, and
    /// returns its ID.
    pub fn launch(&mut self, private_ip: Ipv4Addr, tags: &[(&str, &str)]) -> String {
        self.launched += 1;
        let id = format!("i-0fedcba98765{:05x}", self.launched);
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.instances.push(FleetInstance {
            id: id.clone(),
            private_ip,
            state: InstanceState::Running,
            tags: tags.iter().map(owned).collect(),
        });
        id
    }

    /// Returns the instance with this ID.
    ///
    /// # Panics
    /// If there is none.
    pub fn instance(&mut self, id: &str) -> &mut FleetInstance {
        let mut instances = self.instances.iter_mut();
        let found = instances.find(|instance| instance.id == id);
        found.unwrap_or_else(|| panic!("the fake EC2 API has no instance {id}"))
    }

    /// Removes an instance from its group and from the account: the EC2 API no longer knows its ID,
    /// as an hour after its termination.
    pub fn forget(&mut self, id: &str) {
        self.detach(id);
        self.instances.retain(|instance| instance.id != id);
    }

    /// Adds an Auto Scaling group without instances.
    pub fn create_group(&mut self, name: &str) {
        self.groups.push(Group {
            name: name.to_owned(),
            members: Vec::new(),
        });
    }

    /// Adds a healthy instance to a group, with AWS's name of its lifecycle state. As on AWS, the
    /// instance then has the tag `aws:autoscaling:groupName`.
    ///
    /// # Panics
    /// If there is no such group or instance.
    pub fn attach(&mut self, group: &str, instance: &str, lifecycle: &str) {
        let tags = &mut self.instance(instance).tags;
        tags.insert(GROUP_TAG.to_owned(), group.to_owned());
        let mut groups = self.groups.iter_mut();
        let found = groups.find(|one| one.name == group);
        let found = found.unwrap_or_else(|| panic!("the fake EC2 API has no group {group}"));
        found.members.push(Member {
            instance_id: instance.to_owned(),
            lifecycle: lifecycle.to_owned(),
            healthy: true,
        });
    }

    /// Removes an instance from its group, if it is in one. The instance keeps its state.
    pub fn detach(&mut self, instance: &str) {
        for group in &mut self.groups {
            group
                .members
                .retain(|member| member.instance_id != instance);
        }
        for one in &mut self.instances {
            if one.id == instance {
                one.tags.remove(GROUP_TAG);
            }
        }
    }

    /// Returns the membership of an instance in its group.
    ///
    /// # Panics
    /// If it is in none.
    pub fn member(&mut self, instance: &str) -> &mut Member {
        let mut members = self.groups.iter_mut().flat_map(|group| &mut group.members);
        let found = members.find(|member| member.instance_id == instance);
        found.unwrap_or_else(|| panic!("{instance} is in no group of the fake EC2 API"))
    }
}

/// The tag by which AWS marks the instances of an Auto Scaling group.
const GROUP_TAG: &str = "aws:autoscaling:groupName";
