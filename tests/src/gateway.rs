//! The Internet gateway: knows which host the Elastic IP belongs to, and translates.

use std::{io::Write as _, net::Ipv4Addr, process::Stdio};

use anyhow::{Result, ensure};

use crate::{host::Host, topology::ELASTIC_IP};

/// The Internet gateway of the lab's cloud.
///
/// It translates as AWS's does: one address to one address, both ways, without remembering
/// connections. When the Elastic IP moves, the very next packet goes to its new owner.
#[derive(Clone, Debug)]
pub struct InternetGateway {
    host: Host,
}

impl InternetGateway {
    pub(crate) fn new(host: Host) -> Self {
        Self { host }
    }

    /// The host that the gateway is.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Gives the Elastic IP to the interface that has this private address.
    ///
    /// # Errors
    /// When `nft` is missing or the kernel refuses the rules; the old owner then keeps it.
    pub fn point_elastic_ip_at(&self, owner: Ipv4Addr) -> Result<()> {
        // One transaction: no packet sees half of it.
        let rules = format!(
            "table ip elastic_ip\n\
             delete table ip elastic_ip\n\
             table ip elastic_ip {{\n\
               chain inbound {{\n\
                 type filter hook prerouting priority raw;\n\
                 ip daddr {ELASTIC_IP} ip daddr set {owner}\n\
               }}\n\
               chain outbound {{\n\
                 type filter hook postrouting priority srcnat;\n\
                 oifname \"wan\" ip saddr {owner} ip saddr set {ELASTIC_IP}\n\
               }}\n\
             }}\n"
        );
        let mut nft = self
            .host
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = nft.stdin.take() {
            stdin.write_all(rules.as_bytes())?;
        }
        let output = nft.wait_with_output()?;
        ensure!(
            output.status.success(),
            "could not point the Elastic IP at {owner}: nft says {}",
            String::from_utf8_lossy(&output.stderr).trim(),
        );
        Ok(())
    }
}
