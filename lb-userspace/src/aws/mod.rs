//! AWS: the EC2 API and the instance metadata service.
