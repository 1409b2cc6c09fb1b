//! Lists the EC2 instances that are the backends of a pool: by their tags, or by their Auto Scaling
//! group.

use std::net::Ipv4Addr;

use aws_sdk_autoscaling::types::{Instance as GroupMember, LifecycleState};
use aws_sdk_ec2::types::{Filter, Reservation};
use lb_config::InstanceFilter;

use super::{
    ApiError, ErrorKind, Operation, metadata,
    sdk::{self, Sdk},
};

/// Number of instances that one call of DescribeInstances asks for: so many are returned in a
/// fraction of a second. AWS allows at most 200 values in a filter, and 1,000 instances in an
/// answer.
const PAGE: usize = 200;

/// The most instances that are listed. So many take 50 calls by tags, which must end within the
/// time limit of a query.
const MOST: usize = 10_000;

/// How to reach the APIs that list instances.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InstancesSettings {
    /// The AWS region of the instances; `None` to ask the metadata service for this host's.
    pub region: Option<String>,
    /// The URL of the EC2 API; `None` for that in the environment variable `AWS_ENDPOINT_URL_EC2`,
    /// or else the region's own URL.
    pub endpoint: Option<String>,
    /// The URL of the Auto Scaling API; `None` for that in the environment variable
    /// `AWS_ENDPOINT_URL_AUTO_SCALING`, or else the region's own URL.
    pub auto_scaling_endpoint: Option<String>,
    /// The URL of the metadata service; `None` for that in the environment variable
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`, or else `http://169.254.169.254`.
    pub metadata_endpoint: Option<String>,
}

/// An EC2 instance that is running.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// The ID of the instance, `i-…`.
    pub id: String,
    /// The primary private address of the instance's primary network interface.
    pub private_ip: Ipv4Addr,
}

/// A client of the APIs that list instances.
///
/// The calls are not in [`super::Counters`], which are about the Elastic IP: the agent counts the
/// queries of each pool's source.
#[derive(Clone, Debug)]
pub struct Instances {
    ec2: aws_sdk_ec2::Client,
    auto_scaling: aws_sdk_autoscaling::Client,
    region: String,
}

impl Instances {
    /// Finds the region and obtains credentials. This makes no call of the APIs that list
    /// instances.
    ///
    /// # Errors
    /// The metadata service is needed and does not answer, or no credentials are found.
    pub async fn connect(settings: &InstancesSettings) -> Result<Self, ApiError> {
        let sdk = Sdk::new(settings.metadata_endpoint.as_deref())?;
        let region = match &settings.region {
            Some(region) => aws_sdk_ec2::config::Region::new(region.clone()),
            None => metadata::region(&sdk.metadata).await?,
        };
        let shared = sdk.shared(region.clone(), sdk::LIST_LIMIT).await?;
        Ok(Self {
            ec2: sdk::ec2(&shared, settings.endpoint.as_deref()),
            auto_scaling: sdk::auto_scaling(&shared, settings.auto_scaling_endpoint.as_deref()),
            region: region.to_string(),
        })
    }

    /// Returns the running instances that match a filter, in no particular order; none if there are
    /// none. An instance that has no private address yet is left out. Each call is limited to 4 s,
    /// and made once.
    ///
    /// # Errors
    /// A call failed, the Auto Scaling group does not exist, or there are more than 10,000
    /// instances.
    pub async fn list(&self, filter: &InstanceFilter) -> Result<Vec<Instance>, ApiError> {
        let running = named_filter("instance-state-name", ["running"]);
        let subject = filter.to_string();
        let mut instances = Vec::new();
        match filter {
            InstanceFilter::Tags(tags) => {
                let mut filters = vec![running];
                let tags = tags.iter();
                filters
                    .extend(tags.map(|(tag, value)| named_filter(&format!("tag:{tag}"), [value])));
                self.describe(&subject, filters, &mut instances).await?;
            }
            InstanceFilter::AutoScalingGroup(group) => {
                // Instances are selected by a filter and not by the parameter for IDs, which
                // refuses the whole call when one of the instances has just been terminated.
                for ids in self.in_service(&subject, group).await?.chunks(PAGE) {
                    let filters = vec![running.clone(), named_filter("instance-id", ids)];
                    self.describe(&subject, filters, &mut instances).await?;
                }
            }
        }
        Ok(instances)
    }

    /// Adds the instances that match all filters to `instances`, page by page.
    async fn describe(
        &self,
        subject: &str,
        filters: Vec<Filter>,
        instances: &mut Vec<Instance>,
    ) -> Result<(), ApiError> {
        let size = i32::try_from(PAGE).unwrap_or(i32::MAX);
        let mut next = None;
        loop {
            let call = self
                .ec2
                .describe_instances()
                .set_filters(Some(filters.clone()))
                .max_results(size)
                .set_next_token(next)
                .send();
            let page = call.await.map_err(|error| {
                ApiError::of_discovery(Operation::DescribeInstances, subject, &error)
            })?;
            let reservations = page.reservations().iter();
            instances.extend(
                reservations
                    .flat_map(Reservation::instances)
                    .filter_map(instance),
            );
            if instances.len() > MOST {
                let why = format!(
                    "DescribeInstances on {subject} returned more than {MOST} instances, which are \
                     too many for a pool; add a tag to ec2_tags in [pool.discover]"
                );
                return Err(ApiError::new(ErrorKind::Invalid, why));
            }
            next = page
                .next_token()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Returns the IDs of the instances of an Auto Scaling group that are in service and healthy.
    async fn in_service(&self, subject: &str, group: &str) -> Result<Vec<String>, ApiError> {
        let operation = Operation::DescribeAutoScalingGroups;
        let call = self
            .auto_scaling
            .describe_auto_scaling_groups()
            .auto_scaling_group_names(group)
            .send();
        let described = call
            .await
            .map_err(|error| ApiError::of_discovery(operation, subject, &error))?;
        let mut groups = described.auto_scaling_groups().iter();
        let found = groups.find(|one| one.auto_scaling_group_name() == Some(group));
        let found = found.ok_or_else(|| {
            let why = format!(
                "{} on {subject} failed: there is no group of this name in {}; check \
                 auto_scaling_group and region in [pool.discover]",
                operation.name(),
                self.region
            );
            ApiError::new(ErrorKind::Invalid, why)
        })?;
        let members = found.instances().iter().filter(|member| serves(member));
        Ok(members
            .filter_map(|member| member.instance_id().map(str::to_owned))
            .collect())
    }
}

fn instance(described: &aws_sdk_ec2::types::Instance) -> Option<Instance> {
    Some(Instance {
        id: described.instance_id()?.to_owned(),
        private_ip: described.private_ip_address()?.parse().ok()?,
    })
}

/// Returns whether an instance of an Auto Scaling group is to get connections. An unhealthy one is
/// about to be terminated.
fn serves(member: &GroupMember) -> bool {
    let is_healthy = |status: &str| status.eq_ignore_ascii_case("healthy");
    member.lifecycle_state() == Some(&LifecycleState::InService)
        && member.health_status().is_some_and(is_healthy)
}

fn named_filter<V: Into<String> + Clone>(name: &str, values: impl AsRef<[V]>) -> Filter {
    let values = values.as_ref().iter().cloned().map(Into::into).collect();
    Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}
