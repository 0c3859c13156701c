//! The API as a client sees it, on SQLite and with a bus that only listens.

mod access;
mod baselines;
mod calendars;
mod commands;
mod compliance;
mod compliance_report;
mod cves;
mod documents;
mod executions;
mod gateway;
mod group_compliance;
mod inventory;
mod node_registrations;
mod nodes;
mod operations;
mod policies;
mod protocol;
mod registrations;
mod strangers;
mod support;
mod tls;
mod windows;
