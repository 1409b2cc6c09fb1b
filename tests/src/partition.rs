//! Partitions between the two balancers; all other traffic continues.

use anyhow::Result;

use crate::{Host, Lab, gateway::nft, topology::BALANCERS};

/// Blocked traffic between the balancers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// All traffic.
    Everything,
    /// Adverts: IP protocol 112.
    Adverts,
    /// TCP, and so the link between the two agents.
    Link,
}

/// Blocked direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Both directions.
    Both,
    /// Only from this balancer, by its place in [`BALANCERS`], to the other.
    From(usize),
}

/// A partition of the balancers' network, which ends on drop.
#[derive(Debug)]
pub struct Partition {
    gateway: Host,
}

impl Lab {
    /// Parts the two balancers from each other. Both go on reaching the EC2 API, the clients and
    /// the web servers, and keep their carrier. There is one partition at a time: the next one is
    /// made when the last one was healed.
    ///
    /// # Errors
    /// When the kernel refuses.
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
        // On the bridge, where their frames pass from one's cable to the other's.
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
    /// When the kernel refuses.
    pub fn heal(self) -> Result<()> {
        // Dropping finds it healed.
        nft(&self.gateway, NONE)
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // Where it has been healed, or the lab is ending, there is nothing to do.
        drop(nft(&self.gateway, NONE));
    }
}

const NONE: &str = "table bridge partition\ndelete table bridge partition\n";
