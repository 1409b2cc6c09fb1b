//! Partitions between the two balancers; all other traffic continues.

use anyhow::Result;

use crate::{Host, Lab, gateway::nft, topology::BALANCERS};

/// Which traffic between the balancers is dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// All traffic between the balancers is dropped.
    Everything,
    /// Adverts (IP protocol 112) are dropped.
    Adverts,
    /// TCP is dropped, which includes the link between the two agents.
    Link,
}

/// In which direction the traffic is dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// The traffic is dropped in both directions.
    Both,
    /// The traffic is dropped only from the balancer with this index in [`BALANCERS`] to the other.
    From(usize),
}

/// A partition between the two balancers, which ends when this value is dropped.
#[derive(Debug)]
pub struct Partition {
    gateway: Host,
}

impl Lab {
    /// Separates the two balancers from each other. Both still reach the EC2 API, the clients and
    /// the web servers, and their interfaces keep their carrier. Only one partition can exist at a
    /// time: heal it before making another.
    ///
    /// # Errors
    /// When the kernel refuses the rules of the partition.
    pub fn part(&self, lost: Lost, way: Way) -> Result<Partition> {
        let [(first, _), (second, _)] = BALANCERS else {
            anyhow::bail!("a partition needs exactly two balancers");
        };
        let matching = match lost {
            Lost::Everything => "",
            Lost::Adverts => "ip protocol 112",
            Lost::Link => "ip protocol tcp",
        };
        let ways: &[_] = match way {
            Way::Both => &[(first, second), (second, first)],
            Way::From(0) => &[(first, second)],
            Way::From(_) => &[(second, first)],
        };
        let rules: String = (ways.iter())
            .map(|(from, to)| format!("iifname \"{from}\" oifname \"{to}\" {matching} drop\n"))
            .collect();
        let gateway = self.internet_gateway.host().clone();
        // The rules are on the gateway's bridge, which forwards frames from one balancer's cable to
        // the other's.
        nft(
            &gateway,
            &format!(
                "{NONE}table bridge partition {{\n\
                   chain between {{\n\
                     type filter hook forward priority 0;\n\
                     {rules}\
                   }}\n\
                 }}\n"
            ),
        )?;
        Ok(Partition { gateway })
    }
}

impl Partition {
    /// Ends the partition.
    ///
    /// # Errors
    /// When the kernel refuses the change.
    pub fn heal(self) -> Result<()> {
        // Dropping `self` at the end removes the rules once more, which has no effect.
        nft(&self.gateway, NONE)
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // Errors are ignored: the gateway may have ended, with all hosts of the test.
        drop(nft(&self.gateway, NONE));
    }
}

const NONE: &str = "table bridge partition\ndelete table bridge partition\n";
