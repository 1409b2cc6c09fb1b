//! The calls of AWS against servers that can be slow, throttle, fail, hang and lie, and against
//! moto.

mod calls;
mod environment;
mod failures;
mod metadata;
mod moto;
mod site;
mod worker;
