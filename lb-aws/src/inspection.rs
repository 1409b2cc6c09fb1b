//! Checks ahead of time whether the calls to the EC2 API that a failover needs would be permitted
//! and succeed.

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{ApiError, Ec2, ErrorKind, Operation};

/// What a check of this host's permissions in AWS and of its settings has found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inspection {
    /// Actions of the EC2 API that the role of this host does not permit.
    pub denied: Vec<Denied>,
    /// Other obstacles to moving the Elastic IP to this host, one sentence for each.
    pub wrong: Vec<String>,
}

/// An action of the EC2 API that the role of this host does not permit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denied {
    /// The action of the EC2 API that is not permitted.
    pub operation: Operation,
    /// What AWS answered, and what the operator can do, as a sentence.
    pub sentence: String,
}

impl Inspection {
    /// Returns whether the check of this host's permissions in AWS and of its settings has found no
    /// obstacle.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.denied.is_empty() && self.wrong.is_empty()
    }

    /// Returns what the check of this host's permissions in AWS and of its settings has found, one
    /// sentence for each obstacle.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        let denied = self.denied.iter().map(|denied| denied.sentence.as_str());
        denied.chain(self.wrong.iter().map(String::as_str))
    }

    fn take_in(
        &mut self,
        operation: Operation,
        result: Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind == ErrorKind::Denied => {
                self.denied.push(Denied {
                    operation,
                    sentence: error.sentence,
                });
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Invalid => {
                self.wrong.push(error.sentence);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Ec2 {
    /// Checks with `DryRun` whether the role of this host permits the required actions, and whether
    /// the private address is assigned to this host's interface (unless that address moves, too).
    /// Changes nothing.
    ///
    /// AssignPrivateIpAddresses has no `DryRun`, so whether this action is permitted is known only
    /// when it is called.
    ///
    /// # Errors
    /// A call failed in a way that does not show whether it is permitted, so the result is unknown.
    pub async fn dry_run(&self) -> Result<Inspection, ApiError> {
        let mut found = Inspection::default();
        let associate = Operation::AssociateAddress;
        found.take_in(associate, self.may_associate().await)?;
        let describe = Operation::DescribeAddresses;
        found.take_in(describe, self.may_describe().await)?;
        let interfaces = Operation::DescribeNetworkInterfaces;
        match self.private_addresses().await {
            Err(error) => found.take_in(interfaces, Err(error))?,
            Ok(addresses) => {
                let private_ip = self.identity.private_ip;
                if !self.moves_private_ip && !addresses.contains(&private_ip) {
                    found.wrong.push(format!(
                        "{private_ip}, which the Elastic IP is to be associated with, is not an \
                         address of {}: assign it to the interface as a secondary private address, \
                         or correct private_ip in [ha.elastic_ip]",
                        self.identity.interface
                    ));
                }
            }
        }
        Ok(found)
    }

    async fn may_associate(&self) -> Result<(), ApiError> {
        // The dry run names no private address if that address moves with the Elastic IP: the
        // address may be at the other host now, and AWS would refuse the call.
        let private_ip = (!self.moves_private_ip).then(|| self.identity.private_ip.to_string());
        let asked = self
            .client
            .associate_address()
            .dry_run(true)
            .allocation_id(&self.allocation_id)
            .network_interface_id(&self.identity.interface)
            .set_private_ip_address(private_ip)
            .allow_reassociation(true)
            .send()
            .await;
        permitted(Operation::AssociateAddress, &self.allocation_id, asked)
    }

    async fn may_describe(&self) -> Result<(), ApiError> {
        let asked = self
            .client
            .describe_addresses()
            .dry_run(true)
            .allocation_ids(&self.allocation_id)
            .send()
            .await;
        permitted(Operation::DescribeAddresses, &self.allocation_id, asked)
    }
}

/// Returns whether a dry run shows that the call is permitted. AWS reports a call that would
/// succeed as the error `DryRunOperation`.
fn permitted<T, E>(
    operation: Operation,
    subject: &str,
    asked: Result<T, SdkError<E, HttpResponse>>,
) -> Result<(), ApiError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match asked {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("DryRunOperation") => Ok(()),
        Err(error) => Err(ApiError::of_call(operation, subject, &error)),
    }
}
