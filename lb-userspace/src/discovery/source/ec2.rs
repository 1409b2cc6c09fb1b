//! A source of backends that is EC2: running instances with tags, or those of an Auto Scaling
//! group.

use std::net::SocketAddr;

use crate::{
    aws::{Instances, InstancesSettings},
    config::{InstanceFilter, Name},
    discovery::{Answer, ListedBackend, SourceError},
};

/// Running EC2 instances, by their private addresses, each with the same port.
#[derive(Debug)]
pub(super) struct Ec2 {
    settings: InstancesSettings,
    instances: InstanceFilter,
    port: u16,
    /// The client that made the last query; `None` before the first query, and after one that
    /// failed: the region and credentials are then found again.
    client: Option<Instances>,
}

impl Ec2 {
    pub(super) fn new(settings: InstancesSettings, instances: InstanceFilter, port: u16) -> Self {
        Self {
            settings,
            instances,
            port,
            client: None,
        }
    }

    /// Lists the instances. Each backend is named after its instance's ID.
    pub(super) async fn query(&mut self) -> Result<Answer, SourceError> {
        let failed = |error: crate::aws::ApiError| SourceError(error.sentence);
        let client = match self.client.take() {
            Some(client) => client,
            None => Instances::connect(&self.settings).await.map_err(failed)?,
        };
        let listed = client.list(&self.instances).await.map_err(failed)?;
        self.client = Some(client);
        let backends = listed.into_iter().map(|instance| ListedBackend {
            name: Name::parse(&instance.id),
            ..ListedBackend::at(SocketAddr::from((instance.private_ip, self.port)))
        });
        Ok(Answer {
            backends: backends.collect(),
            valid_for: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use lab::ec2::{Ec2 as _, FakeEc2, Imds, Instance};

    use super::*;

    #[tokio::test]
    async fn instances_are_backends_and_a_failed_query_connects_from_the_beginning() {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let balancers = [("lb-a", Ipv4Addr::new(172, 31, 0, 68))];
        let api = FakeEc2::start(None, any_port, &balancers).expect("an EC2 API");
        let mut hosts = Instance::of(&api);
        hosts[0].asks_from = vec![Ipv4Addr::LOCALHOST];
        let metadata = Imds::start(None, any_port, hosts).expect("a metadata service");
        let address = Ipv4Addr::new(10, 0, 0, 6);
        let id = api.fleet(|fleet| fleet.launch(address, &[("Role", "web")]));
        let settings = InstancesSettings {
            endpoint: Some(api.endpoint().to_owned()),
            metadata_endpoint: Some(metadata.endpoint()),
            ..InstancesSettings::default()
        };
        let tags = InstanceFilter::Tags(vec![("Role".to_owned(), "web".to_owned())]);
        let mut source = Ec2::new(settings, tags, 8080);
        let web = ListedBackend {
            name: Name::parse(&id),
            ..ListedBackend::at(SocketAddr::from((address, 8080)))
        };
        let expected = Answer {
            backends: vec![web],
            valid_for: None,
        };
        for _ in 0..2 {
            assert_eq!(source.query().await, Ok(expected.clone()));
            assert!(source.client.is_some());
        }
        api.deny("DescribeInstances");
        let error = source.query().await.expect_err("a denied call");
        assert!(error.0.contains("allow ec2:DescribeInstances"), "{error}");
        assert!(source.client.is_none());
        api.restore();
        assert_eq!(source.query().await, Ok(expected));
        api.fleet(|fleet| fleet.instances.clear());
        assert_eq!(source.query().await, Ok(Answer::default()));
    }
}
