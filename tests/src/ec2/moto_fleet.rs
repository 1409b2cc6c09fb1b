//! Instances and Auto Scaling groups in moto.
//!
//! Differences from AWS: changes are complete when their call returns; the description of a
//! terminated instance still has its private address; moto gives that address to no other instance;
//! an instance in an Auto Scaling group is `InService`, `Standby` or no longer in it, so
//! [`super::FakeEc2`] has to play states such as `Terminating:Wait`; a group removes its oldest
//! instances first.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use anyhow::{Context as _, Result};

use super::{
    Member, Moto,
    moto::{IMAGE, all, text, wanted},
};

/// The network of the lab's web servers, and its prefix length.
const NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 0, 0), 24);

/// Name of the launch configuration of all groups.
const LAUNCH_CONFIGURATION: &str = "lab";

/// Maximum size of a group.
const MOST_MEMBERS: u8 = 100;

/// Instances and Auto Scaling groups in moto, in the network of the lab's web servers: an instance
/// can have the address of a web server.
#[derive(Debug)]
pub struct MotoFleet {
    moto: Arc<Moto>,
    subnets: Vec<Subnet>,
}

/// A subnet of moto. Each is in a VPC of its own, because all have the same network.
#[derive(Debug)]
struct Subnet {
    id: String,
    /// The addresses that moto gives to no further instance.
    used: BTreeSet<Ipv4Addr>,
}

impl MotoFleet {
    /// Prepares moto for instances and Auto Scaling groups.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn new(moto: &Arc<Moto>) -> Result<Self> {
        moto.call_auto_scaling(&format!(
            "Action=CreateLaunchConfiguration&LaunchConfigurationName={LAUNCH_CONFIGURATION}\
             &ImageId={IMAGE}&InstanceType=t3.micro"
        ))?;
        Ok(Self {
            moto: Arc::clone(moto),
            subnets: Vec::new(),
        })
    }

    /// Starts an instance with this private address, in 10.0.0.0/24, and these tags, keys with
    /// values. Returns its ID.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn launch(&mut self, address: Ipv4Addr, tags: &[(&str, &str)]) -> Result<String> {
        let subnet = self.subnet_for(address)?;
        let run = self.moto.call(&format!(
            "Action=RunInstances&ImageId={IMAGE}&InstanceType=t3.micro&MinCount=1&MaxCount=1\
             &SubnetId={subnet}&PrivateIpAddress={address}"
        ))?;
        let id = wanted(&run, "instanceId")?;
        for (key, value) in tags {
            self.tag(&id, key, value)?;
        }
        Ok(id)
    }

    /// Stops an instance, which keeps its private address.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn stop(&self, instance: &str) -> Result<()> {
        self.instance_action("StopInstances", instance)
    }

    /// Starts an instance after [`MotoFleet::stop`].
    ///
    /// # Errors
    /// When moto refuses.
    pub fn start(&self, instance: &str) -> Result<()> {
        self.instance_action("StartInstances", instance)
    }

    /// Terminates an instance. If it is in an Auto Scaling group, the group replaces it.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn terminate(&self, instance: &str) -> Result<()> {
        self.instance_action("TerminateInstances", instance)
    }

    /// Sets a tag of an instance.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn tag(&self, instance: &str, key: &str, value: &str) -> Result<()> {
        let (key, value) = (encoded(key), encoded(value));
        self.ec2(&format!(
            "Action=CreateTags&ResourceId.1={instance}&Tag.1.Key={key}&Tag.1.Value={value}"
        ))
    }

    /// Removes a tag of an instance.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn untag(&self, instance: &str, key: &str) -> Result<()> {
        let key = encoded(key);
        self.ec2(&format!(
            "Action=DeleteTags&ResourceId.1={instance}&Tag.1.Key={key}"
        ))
    }

    /// Returns the state of an instance, such as `running`, `stopped` or `terminated`.
    ///
    /// # Errors
    /// When moto does not know the instance.
    pub fn state(&self, instance: &str) -> Result<String> {
        let described = self.describe(instance)?;
        let (_, state) = (described.split_once("<instanceState>"))
            .with_context(|| format!("{instance} has no state: {described}"))?;
        wanted(state, "name")
    }

    /// Returns the private address of an instance.
    ///
    /// # Errors
    /// When moto does not know the instance.
    pub fn address(&self, instance: &str) -> Result<Ipv4Addr> {
        Ok(wanted(&self.describe(instance)?, "privateIpAddress")?.parse()?)
    }

    /// Creates an Auto Scaling group with `size` instances. The group's instances get `addresses`,
    /// in ascending order, each of them once; a further instance is an error. All addresses must be
    /// in 10.0.0.0/24.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn create_group(&mut self, name: &str, addresses: &[Ipv4Addr], size: u8) -> Result<()> {
        let subnet = self.new_subnet()?;
        // Instances without a wanted address get the first one that is not reserved, as on AWS.
        for (block, prefix) in blocks_without(addresses, NETWORK) {
            self.ec2(&format!(
                "Action=CreateSubnetCidrReservation&SubnetId={subnet}&Cidr={block}/{prefix}\
                 &ReservationType=explicit"
            ))?;
        }
        self.auto_scaling(&format!(
            "Action=CreateAutoScalingGroup&AutoScalingGroupName={}&DesiredCapacity={size}\
             &LaunchConfigurationName={LAUNCH_CONFIGURATION}&MinSize=0&MaxSize={MOST_MEMBERS}\
             &VPCZoneIdentifier={subnet}",
            encoded(name)
        ))
    }

    /// Deletes an Auto Scaling group, and terminates its instances.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn delete_group(&self, name: &str) -> Result<()> {
        self.group_action("DeleteAutoScalingGroup", name, "&ForceDelete=true")
    }

    /// Sets the number of instances of a group that are in service: the group launches or
    /// terminates instances.
    ///
    /// # Errors
    /// When moto refuses, or the group has no address for a further instance.
    pub fn scale(&self, group: &str, size: u8) -> Result<()> {
        let size = format!("&DesiredCapacity={size}");
        self.group_action("SetDesiredCapacity", group, &size)
    }

    /// Returns the instances of a group.
    ///
    /// # Errors
    /// When moto does not answer. A group that does not exist has no instances.
    pub fn members(&self, group: &str) -> Result<Vec<Member>> {
        let group = encoded(group);
        let described = self.moto.call_auto_scaling(&format!(
            "Action=DescribeAutoScalingGroups&AutoScalingGroupNames.member.1={group}"
        ))?;
        let states = all(&described, "LifecycleState").zip(all(&described, "HealthStatus"));
        let members = all(&described, "InstanceId").zip(states);
        Ok(members
            .map(|(instance, (lifecycle, health))| Member {
                instance_id: instance.to_owned(),
                lifecycle: lifecycle.to_owned(),
                healthy: health == "Healthy",
            })
            .collect())
    }

    /// Returns the private addresses of the instances of a group that are in service, in ascending
    /// order.
    ///
    /// # Errors
    /// As [`MotoFleet::members`].
    pub fn addresses_in_service(&self, group: &str) -> Result<Vec<Ipv4Addr>> {
        let members = self.members(group)?;
        let in_service = (members.iter()).filter(|member| member.lifecycle == "InService");
        let mut addresses = in_service
            .map(|member| self.address(&member.instance_id))
            .collect::<Result<Vec<_>>>()?;
        addresses.sort_unstable();
        Ok(addresses)
    }

    /// Terminates an instance of a group. The group replaces it (`replace`), or shrinks.
    ///
    /// # Errors
    /// When moto refuses, or the group has no address for the replacement.
    pub fn terminate_member(&self, instance: &str, replace: bool) -> Result<()> {
        self.auto_scaling(&format!(
            "Action=TerminateInstanceInAutoScalingGroup&InstanceId={instance}\
             &ShouldDecrementDesiredCapacity={}",
            !replace
        ))
    }

    /// Moves an instance of a group to the state `Standby`; the group does not replace it.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn enter_standby(&self, group: &str, instance: &str) -> Result<()> {
        let more = format!("&InstanceIds.member.1={instance}&ShouldDecrementDesiredCapacity=true");
        self.group_action("EnterStandby", group, &more)
    }

    /// Moves an instance of a group from the state `Standby` to `InService`.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn exit_standby(&self, group: &str, instance: &str) -> Result<()> {
        let more = format!("&InstanceIds.member.1={instance}");
        self.group_action("ExitStandby", group, &more)
    }

    /// Adds an instance of [`MotoFleet::launch`] to a group, which grows by it.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn attach(&self, group: &str, instance: &str) -> Result<()> {
        let more = format!("&InstanceIds.member.1={instance}");
        self.group_action("AttachInstances", group, &more)
    }

    /// Removes an instance from its group, which shrinks by it. The instance continues to run.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn detach(&self, group: &str, instance: &str) -> Result<()> {
        let more = format!("&InstanceIds.member.1={instance}&ShouldDecrementDesiredCapacity=true");
        self.group_action("DetachInstances", group, &more)
    }

    /// Sets whether Auto Scaling considers an instance of a group healthy. moto does not replace an
    /// instance that is not.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn set_health(&self, instance: &str, healthy: bool) -> Result<()> {
        let status = if healthy { "Healthy" } else { "Unhealthy" };
        self.auto_scaling(&format!(
            "Action=SetInstanceHealth&InstanceId={instance}&HealthStatus={status}"
        ))
    }

    fn instance_action(&self, action: &str, instance: &str) -> Result<()> {
        self.ec2(&format!("Action={action}&InstanceId.1={instance}"))
    }

    fn group_action(&self, action: &str, group: &str, more: &str) -> Result<()> {
        let group = encoded(group);
        self.auto_scaling(&format!(
            "Action={action}&AutoScalingGroupName={group}{more}"
        ))
    }

    fn describe(&self, instance: &str) -> Result<String> {
        self.moto
            .call(&format!("Action=DescribeInstances&InstanceId.1={instance}"))
    }

    fn ec2(&self, form: &str) -> Result<()> {
        self.moto.call(form).map(drop)
    }

    fn auto_scaling(&self, form: &str) -> Result<()> {
        self.moto.call_auto_scaling(form).map(drop)
    }

    /// Returns the ID of a subnet in which no instance has had this address.
    fn subnet_for(&mut self, address: Ipv4Addr) -> Result<String> {
        let mut subnets = self.subnets.iter_mut();
        if let Some(subnet) = subnets.find(|subnet| !subnet.used.contains(&address)) {
            subnet.used.insert(address);
            return Ok(subnet.id.clone());
        }
        let id = self.new_subnet()?;
        self.subnets.push(Subnet {
            id: id.clone(),
            used: BTreeSet::from([address]),
        });
        Ok(id)
    }

    fn new_subnet(&self) -> Result<String> {
        let (base, prefix) = NETWORK;
        let vpc = (self.moto).call(&format!("Action=CreateVpc&CidrBlock={base}/{prefix}"))?;
        let vpc = text(&vpc, "vpcId").context("moto's VPC has no ID")?;
        let subnet = self.moto.call(&format!(
            "Action=CreateSubnet&VpcId={vpc}&CidrBlock={base}/{prefix}"
        ))?;
        wanted(&subnet, "subnetId")
    }
}

/// Returns the fewest blocks, by base and prefix length, that contain all addresses of a block but
/// these.
fn blocks_without(addresses: &[Ipv4Addr], block: (Ipv4Addr, u8)) -> Vec<(Ipv4Addr, u8)> {
    let (base, prefix) = block;
    let size = 1 << (32 - prefix);
    let within = |address: &Ipv4Addr| (address.to_bits() ^ base.to_bits()) < size;
    if !addresses.iter().any(within) {
        return vec![block];
    }
    if prefix == 32 {
        return Vec::new();
    }
    let upper = Ipv4Addr::from_bits(base.to_bits() + size / 2);
    let mut blocks = blocks_without(addresses, (base, prefix + 1));
    blocks.extend(blocks_without(addresses, (upper, prefix + 1)));
    blocks
}

/// Encodes a text for a form.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_address_of_the_network_is_in_exactly_one_block() {
        let addresses = [6, 7, 9, 19].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let blocks = blocks_without(&addresses, NETWORK);
        for last in 0..=255 {
            let address = Ipv4Addr::new(10, 0, 0, last);
            let containing = blocks.iter().filter(|(base, prefix)| {
                (address.to_bits() ^ base.to_bits()) >> (32 - prefix) == 0
            });
            let expected = usize::from(!addresses.contains(&address));
            assert_eq!(containing.count(), expected, "{address} in {blocks:?}");
        }
        assert_eq!(blocks_without(&[], NETWORK), [NETWORK]);
    }
}
