//! Tests of the sources of backends, against a DNS server of the tests, and files. Those of EC2
//! are beside the source, because they need a metadata service of their own.

mod dns;
mod file;
mod name_server;
