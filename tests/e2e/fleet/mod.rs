//! Driftless on several hosts: real controllers, agents, Engines and links between them, which are cut and mended.

mod app;
mod availability;
mod faults;
mod lab;
