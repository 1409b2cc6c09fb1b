//! Tests of the calls to AWS, against fake servers that can be slow, throttle, fail, hang and
//! return false data, and against moto.

mod calls;
mod environment;
mod failures;
mod instances;
mod metadata;
mod moto;
mod site;
mod worker;
