//! A launch in the Engine's words. Pure.

use super::{labels, network};
use crate::agent::runtime::{ContainerLaunch, LaunchPort, RuntimeError};
use crate::model::Protocol;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

/// The scheduling period of cpu limits, in microseconds, as the kubelet's default.
const CPU_PERIOD_MICROS: i64 = 100_000;

/// The kernel refuses a smaller share of a period.
const CPU_QUOTA_MICROS_MIN: i64 = 1_000;

/// The smallest weight that the kernel takes.
const CPU_SHARES_MIN: i64 = 2;

/// A host name has at most 63 characters; Kubernetes cuts longer pod names too.
const HOSTNAME_MAX: usize = 63;

/// What to send to make the container.
pub(super) fn body(launch: &ContainerLaunch) -> Result<ContainerCreateBody, RuntimeError> {
    let image = launch.image.clone().ok_or_else(|| RuntimeError::Refused {
        message: format!("container {} has no image, and only host processes may go without", launch.labels.container),
    })?;
    Ok(ContainerCreateBody {
        image: Some(image),
        // As in Kubernetes, a command replaces the entry point and drops the image's own arguments; the Engine does that by itself.
        entrypoint: not_empty(&launch.command),
        cmd: not_empty(&launch.args),
        working_dir: launch.working_dir.clone(),
        env: Some(env(launch)?),
        labels: Some(labels::write(&launch.labels, &launch.ports).into_iter().collect()),
        // A container in another's network has that one's host name.
        hostname: launch.network_of.is_none().then(|| launch.labels.pod.chars().take(HOSTNAME_MAX).collect()),
        exposed_ports: launch.network_of.is_none().then(|| launch.ports.iter().map(port_key).collect()),
        host_config: Some(host_config(launch)),
        ..ContainerCreateBody::default()
    })
}

fn not_empty(words: &[String]) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.to_vec())
}

fn env(launch: &ContainerLaunch) -> Result<Vec<String>, RuntimeError> {
    let pairs = launch.env.iter().map(|(name, value)| {
        let text = std::str::from_utf8(value.expose()).map_err(|_| RuntimeError::Refused {
            message: format!("the value of the variable {name} is not UTF-8, and the Engine takes no other; mount it as a file"),
        })?;
        Ok(format!("{name}={text}"))
    });
    pairs.collect()
}

fn host_config(launch: &ContainerLaunch) -> HostConfig {
    let limits = launch.limits;
    let memory = limits.memory_bytes.map(saturate);
    let log = [("max-size", launch.log.file_bytes_max.to_string()), ("max-file", launch.log.files_max.to_string())];
    HostConfig {
        network_mode: Some(match &launch.network_of {
            Some(first) => format!("container:{first}"),
            None => network::name_of(&launch.labels.cluster),
        }),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        mounts: Some(launch.mounts.iter().map(mount).collect()),
        // Not NanoCpus: the Engine refuses more of them than the host has, while a limit above that is good Kubernetes.
        cpu_period: limits.cpu_milli.map(|_| CPU_PERIOD_MICROS),
        cpu_quota: limits
            .cpu_milli
            .map(|milli| (saturate(milli).saturating_mul(CPU_PERIOD_MICROS) / 1000).max(CPU_QUOTA_MICROS_MIN)),
        cpu_shares: limits.cpu_request_milli.map(|milli| (saturate(milli).saturating_mul(1024) / 1000).max(CPU_SHARES_MIN)),
        memory,
        // The limit is on memory and swap together: no swap, as in Kubernetes.
        memory_swap: memory,
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(log.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        }),
        port_bindings: Some(
            launch
                .ports
                .iter()
                .filter(|_| launch.network_of.is_none())
                .filter_map(|port| port.host_port.map(|host| (port_key(port), Some(vec![binding(host)]))))
                .collect(),
        ),
        ..HostConfig::default()
    }
}

fn saturate(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn mount(mount: &crate::agent::runtime::Mount) -> Mount {
    Mount {
        target: Some(mount.target.clone()),
        source: Some(mount.source.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(mount.read_only),
        ..Mount::default()
    }
}

fn port_key(port: &LaunchPort) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", port.container_port)
}

fn binding(host_port: u16) -> PortBinding {
    PortBinding { host_ip: None, host_port: Some(host_port.to_string()) }
}
