//! Reading containers, leniently: an Engine that says more than we know must not hide what we know.

use super::labels;
use crate::agent::runtime::{ContainerId, ContainerStatus, RunState};
use crate::model::{Exit, Moment, RuntimeKind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// One row of `GET /containers/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Row {
    pub(super) id: String,
}

/// `GET /containers/ID/json`, as far as we read it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    /// The id of the image.
    #[serde(default)]
    pub(super) image: String,
    pub(super) state: State,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    network_settings: NetworkSettings,
}

/// Its text (`Status`) is asked for one word only, which nothing else says: `Running`, `Dead` and the times tell all that we need, for states
/// to come too.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    status: String,
    running: bool,
    dead: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    exit_code: i64,
    started_at: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    #[serde(rename = "IPAddress")]
    address: Option<String>,
}

impl State {
    /// Whether it runs. A container that never started has the zero time, the year 1.
    pub(super) fn run_state(&self) -> RunState {
        if self.running {
            RunState::Running
        } else if self.dead || self.status == "removing" {
            RunState::Dead
        } else if self.started().is_none() {
            RunState::Created
        } else {
            RunState::Exited(self.exit())
        }
    }

    /// How it ended, for one that did.
    pub(super) fn exit(&self) -> Exit {
        exit(self.exit_code, self.oom_killed)
    }

    fn started(&self) -> Option<Moment> {
        let stamp: jiff::Timestamp = self.started_at.parse().ok()?;
        u64::try_from(stamp.as_millisecond()).ok().filter(|millis| *millis > 0).map(Moment)
    }

    fn age(&self, now: Moment) -> Duration {
        self.started().map_or(Duration::ZERO, |started| now.since(started))
    }
}

/// In Kubernetes' words.
pub(super) fn exit(code: i64, oom_killed: bool) -> Exit {
    let reason = match code {
        _ if oom_killed => "OOMKilled",
        0 => "Completed",
        _ => "Error",
    };
    Exit { code: i32::try_from(code).unwrap_or(i32::MAX), reason: reason.to_owned() }
}

impl Container {
    /// The name of its image, as it was made with.
    pub(super) fn image_name(&self) -> &str {
        &self.config.image
    }

    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        self.config.labels.clone().unwrap_or_default()
    }

    /// Its address on our network, or the host's for one in the host's network; `None` while it does not run, and where the network
    /// is another container's.
    pub(super) fn address(&self) -> Option<IpAddr> {
        if self.host_config.network_mode == "host" {
            return Some(IpAddr::V4(Ipv4Addr::LOCALHOST)).filter(|_| self.state.running);
        }
        let endpoints = self.network_settings.networks.iter().flat_map(BTreeMap::values);
        endpoints.filter_map(|endpoint| endpoint.address.as_deref()?.parse().ok()).next()
    }

    /// As the agent sees it; `Err` names the label that is missing or unreadable.
    pub(super) fn status(&self, image_digest: Option<String>, now: Moment) -> Result<ContainerStatus, &'static str> {
        let (labels, ports) = labels::read(&self.labels())?;
        Ok(ContainerStatus {
            id: ContainerId(self.id.clone()),
            runtime: RuntimeKind::Docker,
            labels,
            state: self.state.run_state(),
            age: self.state.age(now),
            address: self.address(),
            ports,
            image_digest,
            lease: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(json: serde_json::Value) -> RunState {
        let container = serde_json::json!({ "Id": "c1", "State": json, "Unheard": { "of": [1] } });
        serde_json::from_value::<Container>(container).unwrap().state.run_state()
    }

    #[test]
    fn a_state_that_nobody_has_heard_of_is_read_by_what_it_means() {
        let json = serde_json::json!({ "Status": "hibernating", "Running": true, "StartedAt": "2026-11-21T10:00:00.5Z" });
        assert_eq!(state(json), RunState::Running);
    }

    #[test]
    fn a_container_that_never_started_is_created_and_one_that_ended_says_how() {
        assert_eq!(state(serde_json::json!({ "Status": "created", "StartedAt": "0001-01-01T00:00:00Z" })), RunState::Created);
        let ended = serde_json::json!({ "ExitCode": 137, "OOMKilled": true, "StartedAt": "2026-11-21T10:00:00Z" });
        assert_eq!(state(ended), RunState::Exited(Exit { code: 137, reason: "OOMKilled".to_owned() }));
    }

    #[test]
    fn a_container_is_dead_once_its_removal_was_begun_and_it_has_ended() {
        let started = "2026-11-21T10:00:00Z";
        assert_eq!(state(serde_json::json!({ "Status": "removing", "ExitCode": 137, "StartedAt": started })), RunState::Dead);
        assert_eq!(
            state(serde_json::json!({ "Status": "dead", "Dead": true, "StartedAt": "0001-01-01T00:00:00Z" })),
            RunState::Dead
        );
        let killed = serde_json::json!({ "Status": "running", "Running": true, "StartedAt": started });
        assert_eq!(state(killed), RunState::Running, "its end comes first");
    }
}
