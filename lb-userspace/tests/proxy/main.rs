//! The HTTP front on loopback: real sockets, real TLS, backends made for the test or real nginx.

mod backends;
mod bodies;
mod both;
mod cancellations;
mod clients;
mod connections;
mod departures;
mod failures;
mod frames;
mod handover;
mod http2;
mod memory;
mod mutated;
mod odd_responses;
mod raw_http2;
mod refusals;
mod reload;
mod replay;
mod requests;
mod retries;
mod segments;
mod site;
mod slow;
mod tls;
mod tls_settings;
mod uploads;
