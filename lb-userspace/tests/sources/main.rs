//! Tests of the sources of backends: DNS, with a name server that the tests control, and files. The
//! tests of EC2 are in the module of that source, because they need a metadata service of their
//! own.

mod dns;
mod file;
mod name_server;
