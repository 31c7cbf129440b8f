//! The built program, seen from outside: what it prints, what it answers, how it ends.

mod demo;
mod export;
mod gateway;
mod http;
mod http_client;
mod ledger;
mod metrics;
mod relay;
mod start;
mod stop;
