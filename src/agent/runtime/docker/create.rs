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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::runtime::{ContainerId, EnvValue, Labels, Limits, LogRetention, PullPolicy};
    use crate::model::{Kind, NodeName, ObjectKey, PodUid, Revision, RuntimeKind, SecretBytes, TemplateHash};
    use uuid::Uuid;

    fn launch() -> ContainerLaunch {
        ContainerLaunch {
            runtime: RuntimeKind::Docker,
            labels: Labels {
                cluster: "prod".to_owned(),
                node: NodeName::new("host-1"),
                uid: PodUid(Uuid::from_u128(7)),
                pod: "web-7d4b9c-x2k9f".to_owned(),
                workload: ObjectKey::new(Kind::Deployment, "shop", "web"),
                slot: 0,
                container: "web".to_owned(),
                hash: TemplateHash::new("7d4b9c"),
                revision: Revision::new("abc"),
                attempt: 0,
            },
            image: Some("nginx:1.27".to_owned()),
            pull: PullPolicy::IfNotPresent,
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env: Vec::new(),
            volumes: Vec::new(),
            mounts: Vec::new(),
            limits: Limits::default(),
            ports: vec![LaunchPort { name: String::new(), container_port: 80, protocol: Protocol::Udp, host_port: Some(8080) }],
            network_of: None,
            log: LogRetention::default(),
        }
    }

    #[test]
    fn what_a_launch_leaves_out_is_left_to_the_image() {
        let body = body(&launch()).unwrap();
        assert_eq!((body.entrypoint, body.cmd, body.working_dir), (None, None, None));
        let host = body.host_config.unwrap();
        assert_eq!((host.memory, host.cpu_quota, host.cpu_shares), (None, None, None), "no limit is no limit");
        assert_eq!(host.network_mode.as_deref(), Some("driftless-prod"));
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO), "restarts are the core's");
        let published = host.port_bindings.unwrap()["80/udp"].clone().unwrap();
        assert_eq!(published[0].host_port.as_deref(), Some("8080"));
    }

    #[test]
    fn command_and_args_replace_entry_point_and_command() {
        let mut launch = launch();
        launch.command = vec!["sh".to_owned(), "-c".to_owned()];
        launch.args = vec!["true".to_owned()];
        let body = body(&launch).unwrap();
        assert_eq!((body.entrypoint, body.cmd), (Some(launch.command), Some(launch.args)));
    }

    #[test]
    fn a_container_in_anothers_network_has_neither_name_nor_ports_of_its_own() {
        let mut launch = launch();
        launch.network_of = Some(ContainerId("f1257".to_owned()));
        let body = body(&launch).unwrap();
        assert_eq!((body.hostname, body.exposed_ports), (None, None), "the Engine refuses both");
        let host = body.host_config.unwrap();
        assert_eq!(
            (host.network_mode.as_deref(), host.port_bindings.map(|ports| ports.len())),
            (Some("container:f1257"), Some(0))
        );
    }

    #[test]
    fn a_long_pod_name_is_cut_for_the_host_name() {
        let mut launch = launch();
        launch.labels.pod = "a".repeat(80);
        assert_eq!(body(&launch).unwrap().hostname.map(|name| name.len()), Some(63));
    }

    #[test]
    fn a_small_share_of_cpu_is_raised_to_what_the_kernel_takes() {
        let mut launch = launch();
        launch.limits = Limits { cpu_milli: Some(1), memory_bytes: None, cpu_request_milli: Some(1) };
        let host = body(&launch).unwrap().host_config.unwrap();
        assert_eq!((host.cpu_quota, host.cpu_shares), (Some(1_000), Some(2)));
    }

    #[test]
    fn a_secret_that_is_not_text_is_refused_without_showing_it() {
        let mut launch = launch();
        launch.env = vec![("KEY".to_owned(), EnvValue::Secret(SecretBytes::new(vec![0x68, 0x75, 0x6e, 0xff])))];
        let message = body(&launch).unwrap_err().to_string();
        assert!(message.contains("KEY") && !message.contains("hun"), "{message}");
    }
}
