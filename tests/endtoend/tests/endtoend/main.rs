//! The real program against real servers: what a user sees, and what is true after it was killed.
//!
//! The program is taken from `LONGHAUL_BIN`, else from cargo's folder of this profile. `LONGHAUL_FULL=1` with `--profile full` runs the long
//! versions: 2 GiB over a slow link, every single step of a download, a minute of idleness, 2,000 examples of each call.

mod asking;
mod bare;
mod blockers;
mod completion;
mod components;
mod conditions;
mod contract;
mod cost;
mod crash;
mod data_plan;
mod devices;
mod from_curl;
mod ftp;
mod get;
mod guests;
mod host_table;
mod idle;
mod input_output;
mod machine_events;
mod metalink;
mod network;
mod packages;
mod player;
mod proxies;
mod refusals;
mod samples;
mod secrets;
mod sensed;
mod servers;
mod service;
mod sleep;
mod steps;
mod systemd;
mod task_cli;
mod task_runs;
mod task_scenarios;
mod upload_samples;
mod uploads;
mod zone;
