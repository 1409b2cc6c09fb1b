//! moto: an independent implementation of the EC2 and Auto Scaling APIs.
//!
//! Differences from AWS: moto refuses to move an associated Elastic IP without explicit permission;
//! it ignores `PrivateIpAddress`; after a move both instances show the Elastic IP, so only
//! `DescribeAddresses` is correct; an address that is assigned to another interface also stays on
//! the first; an Elastic IP is in 127.0.0.0/8 unless its allocation names an address, as the lab's
//! does.

use std::{
    env, fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{Ec2, Interface, Owner, REGION, http};
use crate::{Host, Process, elastic_ip::ELASTIC_IP, wait};

/// Environment variable with the path of moto's server, for a machine where it is neither in
/// cargo's target directory nor on `PATH`.
pub(super) const PROGRAM: &str = "LB_MOTO_SERVER";

/// Time-out for moto to start: it loads much Python code.
const STARTING: Duration = Duration::from_secs(60);

/// A machine image (AMI) that moto has by default.
pub(super) const IMAGE: &str = "ami-12c6146b";

/// A running moto with an Elastic IP and an instance for each balancer. Dropping it stops moto.
pub struct Moto {
    host: Host,
    address: SocketAddr,
    endpoint: String,
    allocation_id: String,
    interfaces: Vec<Interface>,
    process: Process,
}

impl Moto {
    /// Whether moto is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        let program = program();
        program.is_file()
            || env::var_os("PATH").is_some_and(|path| {
                env::split_paths(&path).any(|folder| folder.join(&program).is_file())
            })
    }

    /// Starts moto in the network namespace of `host`, waits until it serves, and creates an
    /// unassociated Elastic IP, and for each of `balancers` an instance with a network interface.
    /// The balancers' addresses must be in 172.31.0.0/20.
    ///
    /// # Errors
    /// When moto is not installed, does not come up in time, or refuses.
    pub fn start(host: &Host, address: SocketAddr, balancers: &[(&str, Ipv4Addr)]) -> Result<Self> {
        Self::start_with(host, address, balancers, &[])
    }

    /// Like [`Moto::start`], but moto also gets these environment variables.
    ///
    /// # Errors
    /// As [`Moto::start`].
    pub fn start_with(
        host: &Host,
        address: SocketAddr,
        balancers: &[(&str, Ipv4Addr)],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let program = program();
        let mut command = host.command("env");
        command
            .args(
                environment
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
            .arg(program)
            .args(["-H", &address.ip().to_string()])
            .args(["-p", &address.port().to_string()]);
        let process = Process::start(host, "moto", command)?;
        host.wait_for_port(address, STARTING).with_context(|| {
            format!(
                "moto_server said: {}\n`cargo xtask setup` installs it; {PROGRAM} may name another",
                process.log()
            )
        })?;
        let mut moto = Self {
            host: host.clone(),
            address,
            endpoint: format!("http://{address}"),
            allocation_id: String::new(),
            interfaces: Vec::new(),
            process,
        };
        moto.furnish(balancers)
            .with_context(|| format!("moto said: {}", moto.process.log()))?;
        Ok(moto)
    }

    /// Calls the EC2 API with a form such as `Action=DescribeAddresses`, and returns the XML of the
    /// response.
    ///
    /// # Errors
    /// When moto does not answer, or not with status 200.
    pub fn call(&self, form: &str) -> Result<String> {
        self.call_service("ec2", "2016-11-15", form)
    }

    /// Calls the Auto Scaling API, as [`Moto::call`] does the EC2 API.
    ///
    /// # Errors
    /// As [`Moto::call`].
    pub fn call_auto_scaling(&self, form: &str) -> Result<String> {
        self.call_service("autoscaling", "2011-01-01", form)
    }

    fn call_service(&self, service: &str, version: &str, form: &str) -> Result<String> {
        let body = format!("{form}&Version={version}");
        let (status, answer) = http::request(
            Some(&self.host),
            self.address,
            &format!(
                "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\
                 Authorization: AWS4-HMAC-SHA256 \
                 Credential=LAB/20260101/{REGION}/{service}/aws4_request, \
                 SignedHeaders=host, Signature=0\r\nContent-Length: {}\r\n\r\n{body}",
                self.address,
                body.len()
            ),
        )?;
        ensure!(
            status == 200,
            "moto answered {form} with {status}: {answer}"
        );
        Ok(answer)
    }

    /// Stops moto by SIGSTOP: connections are accepted by the kernel, and calls get no answer.
    ///
    /// # Errors
    /// When moto has ended.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Continues moto after [`Moto::freeze`]. It also answers calls that arrived meanwhile.
    ///
    /// # Errors
    /// When moto has ended.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// Kills moto, and waits until connections to it are refused. It loses all its state, and
    /// cannot be started again.
    ///
    /// # Errors
    /// When moto has ended.
    pub fn kill(&self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        let port = format!("sport = :{}", self.address.port());
        wait::until_true("moto's port being closed", STARTING, || {
            let open = self.host.run("ss", &["-Hlnt", &port])?;
            Ok(open.trim().is_empty())
        })
    }

    /// Moves the Elastic IP to an interface, or disassociates it (`None`), as a person could.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn move_to(&self, interface: Option<usize>) -> Result<()> {
        let allocation = &self.allocation_id;
        let Some(interface) = interface else {
            let Some(association) = text(&self.describe()?, "associationId").map(str::to_owned)
            else {
                return Ok(());
            };
            return self
                .call(&format!(
                    "Action=DisassociateAddress&AssociationId={association}"
                ))
                .map(drop);
        };
        let id = &self.interfaces[interface].id;
        self.call(&format!(
            "Action=AssociateAddress&AllocationId={allocation}&NetworkInterfaceId={id}\
             &AllowReassociation=true"
        ))
        .map(drop)
    }

    /// Returns moto's output, which has a line for each call.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn furnish(&mut self, balancers: &[(&str, Ipv4Addr)]) -> Result<()> {
        let subnets = self.call(
            "Action=DescribeSubnets&Filter.1.Name=cidr-block&Filter.1.Value.1=172.31.0.0/20",
        )?;
        let subnet = wanted(&subnets, "subnetId")?;
        for (_, address) in balancers {
            let interface = self.instance(&subnet, *address)?;
            self.interfaces.push(interface);
        }
        self.allocation_id = wanted(
            &self.call(&format!(
                "Action=AllocateAddress&Domain=vpc&Address={ELASTIC_IP}"
            ))?,
            "allocationId",
        )?;
        Ok(())
    }

    fn instance(&self, subnet: &str, address: Ipv4Addr) -> Result<Interface> {
        let made = self.call(&format!(
            "Action=CreateNetworkInterface&SubnetId={subnet}&PrivateIpAddress={address}"
        ))?;
        let id = wanted(&made, "networkInterfaceId")?;
        let run = self.call(&format!(
            "Action=RunInstances&ImageId={IMAGE}&InstanceType=t3.micro&MinCount=1&MaxCount=1\
             &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.NetworkInterfaceId={id}"
        ))?;
        Ok(Interface {
            instance_id: wanted(&run, "instanceId")?,
            private_ip: address,
            mac: wanted(&made, "macAddress")?,
            id,
        })
    }

    fn describe(&self) -> Result<String> {
        self.call(&format!(
            "Action=DescribeAddresses&AllocationId.1={}",
            self.allocation_id
        ))
    }
}

impl Ec2 for Moto {
    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn allocation_id(&self) -> &str {
        &self.allocation_id
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn owner(&self) -> Result<Option<Owner>> {
        let described = self.describe()?;
        let id = text(&described, "networkInterfaceId").filter(|id| !id.is_empty());
        let Some(id) = id else {
            return Ok(None);
        };
        let interface = self
            .interfaces
            .iter()
            .position(|interface| interface.id == id)
            .with_context(|| format!("moto gave the Elastic IP to {id}, which we do not know"))?;
        let private_ip = self.interfaces[interface].private_ip;
        Ok(Some(Owner {
            interface,
            private_ip,
        }))
    }
}

impl fmt::Debug for Moto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moto")
            .field("endpoint", &self.endpoint)
            .field("allocation_id", &self.allocation_id)
            .field("interfaces", &self.interfaces)
            .finish_non_exhaustive()
    }
}

/// Returns the contents of all elements with that name, in order.
pub(super) fn all<'a>(xml: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let open = format!("<{element}>");
    let parts: Vec<_> = xml.split(open.as_str()).skip(1).collect();
    parts
        .into_iter()
        .filter_map(|part| Some(part.split_once("</")?.0))
}

/// Returns the path of `moto_server`: the one named in the environment, else the one that xtask
/// installed, else the one on `PATH`.
fn program() -> PathBuf {
    if let Some(named) = env::var_os(PROGRAM) {
        return named.into();
    }
    let ours = env::current_exe().unwrap_or_default();
    ours.ancestors()
        .map(|folder| folder.join("moto/bin/moto_server"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| "moto_server".into())
}

/// Returns the content of the first element with that name.
pub(super) fn text<'a>(xml: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{element}>"))?;
    rest.split_once("</").map(|(text, _)| text)
}

/// Returns the content of the first element with that name, which must exist.
pub(super) fn wanted(xml: &str, element: &str) -> Result<String> {
    text(xml, element)
        .map(str::to_owned)
        .with_context(|| format!("moto's answer has no {element}: {xml}"))
}
