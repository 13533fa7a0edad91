//! A launch in the Engine's words. Pure.

use super::init::Init;
use super::settle::Settled;
use super::{labels, network, sandbox};
use crate::agent::runtime::{ContainerLaunch, EnvValue, LaunchPort, Propagation, Role, RuntimeError, Seccomp, Security};
use crate::model::{HostAlias, Protocol};
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};

/// The scheduling period of cpu limits, in microseconds, as the kubelet's default.
const CPU_PERIOD_MICROS: i64 = 100_000;

/// The kernel refuses a smaller share of a period.
const CPU_QUOTA_MICROS_MIN: i64 = 1_000;

/// The smallest weight that the kernel takes.
const CPU_SHARES_MIN: i64 = 2;

/// What to send to make the container.
pub(super) fn body(launch: &ContainerLaunch, settled: &Settled) -> Result<ContainerCreateBody, RuntimeError> {
    if launch.labels.role == Role::Sandbox {
        return Ok(sandbox::body(launch, settled));
    }
    let image = launch.image.clone().ok_or_else(|| RuntimeError::Refused {
        message: format!("container {} has no image, and only host processes may go without", launch.labels.container),
    })?;
    let (entrypoint, cmd) = match &settled.init {
        // As in Kubernetes, a command replaces the entry point and drops the image's own arguments; the Engine does that by itself.
        None => (launch.command.clone(), launch.args.clone()),
        Some(init) => init.entrypoint(),
    };
    let with_init = settled.init.is_some().then(|| (labels::INIT.to_owned(), "1".to_owned()));
    let shared = shared(launch);
    Ok(ContainerCreateBody {
        image: Some(image),
        entrypoint: not_empty(&entrypoint),
        cmd: not_empty(&cmd),
        working_dir: launch.working_dir.clone(),
        env: Some(plain_env(launch)),
        user: settled.user.clone(),
        open_stdin: Some(launch.terminal.stdin),
        stdin_once: Some(launch.terminal.stdin_once),
        tty: Some(launch.terminal.tty),
        host_config: Some(host_config(launch, settled)),
        labels: shared.labels.map(|labels| labels.into_iter().chain(with_init).collect()),
        ..shared
    })
}

/// What all containers have, sandboxes too.
pub(super) fn shared(launch: &ContainerLaunch) -> ContainerCreateBody {
    // A container in a sandbox has that one's names and ports, and one in the host's network the host's.
    let owns_network = launch.sandbox.is_none() && !launch.network.host;
    ContainerCreateBody {
        labels: Some(labels::write(&launch.labels, &launch.ports).into_iter().collect()),
        hostname: owns_network.then(|| launch.network.hostname.clone()),
        domainname: launch.network.domain.clone().filter(|_| owns_network),
        exposed_ports: owns_network.then(|| launch.ports.iter().map(port_key).collect()),
        ..ContainerCreateBody::default()
    }
}

fn not_empty(words: &[String]) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.to_vec())
}

/// What the Engine may know of the environment: it writes it to its disk.
fn plain_env(launch: &ContainerLaunch) -> Vec<String> {
    let plain = launch.env.iter().filter_map(|(name, value)| match value {
        EnvValue::Plain(text) => Some(format!("{name}={text}")),
        EnvValue::Secret(_) => None,
    });
    plain.collect()
}

fn host_config(launch: &ContainerLaunch, settled: &Settled) -> HostConfig {
    let limits = launch.limits;
    let memory = limits.memory_bytes.map(saturate);
    let config = HostConfig {
        mounts: Some(launch.mounts.iter().chain(settled.init.iter().flat_map(Init::mounts)).map(mount).collect()),
        // Not NanoCpus: the Engine refuses more of them than the host has, while a limit above that is good Kubernetes.
        cpu_period: limits.cpu_milli.map(|_| CPU_PERIOD_MICROS),
        cpu_quota: limits
            .cpu_milli
            .map(|milli| (saturate(milli).saturating_mul(CPU_PERIOD_MICROS) / 1000).max(CPU_QUOTA_MICROS_MIN)),
        cpu_shares: limits.cpu_request_milli.map(|milli| (saturate(milli).saturating_mul(1024) / 1000).max(CPU_SHARES_MIN)),
        memory,
        // The limit is on memory and swap together: no swap, as in Kubernetes.
        memory_swap: memory,
        ..shared_host_config(launch, settled)
    };
    with_rights(config, &launch.security, settled)
}

/// User, groups and rights.
fn with_rights(config: HostConfig, security: &Security, settled: &Settled) -> HostConfig {
    let seccomp = match &security.seccomp {
        Seccomp::Unconfined => Some("seccomp=unconfined".to_owned()),
        Seccomp::RuntimeDefault | Seccomp::Profile(_) => settled.seccomp.as_ref().map(|text| format!("seccomp={text}")),
    };
    let no_new_privileges = security.no_new_privileges.then(|| "no-new-privileges:true".to_owned());
    HostConfig {
        privileged: Some(security.privileged),
        cap_add: not_empty(&security.add),
        cap_drop: not_empty(&security.drop),
        readonly_rootfs: Some(security.read_only_root),
        security_opt: not_empty(&seccomp.into_iter().chain(no_new_privileges).collect::<Vec<_>>()),
        group_add: not_empty(&security.groups.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ..config
    }
}

/// What all containers have, sandboxes too: log, namespaces, names and ports. In a sandbox they are that one's.
pub(super) fn shared_host_config(launch: &ContainerLaunch, settled: &Settled) -> HostConfig {
    let log = [("max-size", launch.log.file_bytes_max.to_string()), ("max-file", launch.log.files_max.to_string())];
    let config = HostConfig {
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(log.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        }),
        ..HostConfig::default()
    };
    let host = |shares: bool| shares.then(|| "host".to_owned());
    let (pid, ipc) = (host(launch.security.host_pid), host(launch.security.host_ipc));
    if let Some(sandbox) = launch.sandbox.as_ref().map(|sandbox| format!("container:{sandbox}")) {
        return HostConfig {
            pid_mode: pid.or_else(|| Some(sandbox.clone()).filter(|_| launch.share_processes)),
            ipc_mode: ipc.or_else(|| Some(sandbox.clone())),
            network_mode: Some(sandbox),
            port_bindings: Some(PortMap::new()),
            ..config
        };
    }
    let network = &launch.network;
    let mut sysctls = launch.security.sysctls.clone();
    sysctls.extend(network.sysctls.clone());
    HostConfig {
        pid_mode: pid,
        ipc_mode: ipc,
        network_mode: Some(if network.host { "host".to_owned() } else { network::name_of(&launch.labels.cluster) }),
        port_bindings: Some(if network.host { PortMap::new() } else { port_bindings(&launch.ports) }),
        sysctls: (!sysctls.is_empty()).then(|| sysctls.into_iter().collect()),
        dns: not_empty(&settled.dns.servers),
        dns_search: not_empty(&settled.dns.searches),
        dns_options: not_empty(&settled.dns.options),
        extra_hosts: not_empty(&extra_hosts(&network.hosts)),
        ..config
    }
}

fn extra_hosts(aliases: &[HostAlias]) -> Vec<String> {
    aliases.iter().flat_map(|alias| alias.hostnames.iter().map(|name| format!("{name}:{}", alias.ip))).collect()
}

fn saturate(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn mount(mount: &crate::agent::runtime::Mount) -> Mount {
    let propagation = match mount.propagation {
        Propagation::Private => None,
        Propagation::HostToContainer => Some(MountBindOptionsPropagationEnum::RSLAVE),
        Propagation::Bidirectional => Some(MountBindOptionsPropagationEnum::RSHARED),
    };
    Mount {
        target: Some(mount.target.clone()),
        source: Some(mount.source.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(mount.read_only),
        bind_options: propagation.map(|way| MountBindOptions { propagation: Some(way), ..MountBindOptions::default() }),
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

/// One port may be published at several addresses.
fn port_bindings(ports: &[LaunchPort]) -> PortMap {
    let mut bindings = PortMap::new();
    for port in ports {
        let Some(host_port) = port.host_port else { continue };
        let host_ip = port.host_ip.map(|address| address.to_string());
        let binding = PortBinding { host_ip, host_port: Some(host_port.to_string()) };
        bindings.entry(port_key(port)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::runtime::{ContainerId, Limits, PodNetwork, samples};
    use crate::model::SecretBytes;

    fn body(launch: &ContainerLaunch) -> Result<ContainerCreateBody, RuntimeError> {
        super::body(launch, &Settled::default())
    }

    /// With a port.
    fn launch() -> ContainerLaunch {
        let (name, protocol) = (String::new(), Protocol::Udp);
        let port = LaunchPort { name, container_port: 80, protocol, host_port: Some(8080), host_ip: None };
        ContainerLaunch { ports: vec![port], ..samples::launch() }
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
    fn a_container_in_a_sandbox_has_neither_name_nor_ports_of_its_own() {
        let mut launch = launch();
        launch.sandbox = Some(ContainerId("f1257".to_owned()));
        let body = body(&launch).unwrap();
        assert_eq!((body.hostname, body.exposed_ports), (None, None), "the Engine refuses both");
        let host = body.host_config.unwrap();
        assert_eq!(
            (host.network_mode.as_deref(), host.port_bindings.map(|ports| ports.len())),
            (Some("container:f1257"), Some(0))
        );
        assert_eq!((host.ipc_mode.as_deref(), host.pid_mode), (Some("container:f1257"), None));
    }

    #[test]
    fn only_containers_that_want_it_see_each_others_processes() {
        let mut launch = launch();
        (launch.sandbox, launch.share_processes) = (Some(ContainerId("f1257".to_owned())), true);
        assert_eq!(body(&launch).unwrap().host_config.unwrap().pid_mode.as_deref(), Some("container:f1257"));
    }

    #[test]
    fn a_sandbox_has_the_name_and_ports_of_the_pod_and_no_rights() {
        let mut launch = launch();
        (launch.labels.role, launch.image) = (Role::Sandbox, None);
        launch.network.hostname = "web-7d4b9c-x2k9f".to_owned();
        let body = body(&launch).unwrap();
        assert_eq!((body.hostname.as_deref(), body.exposed_ports), (Some("web-7d4b9c-x2k9f"), Some(vec!["80/udp".to_owned()])));
        let host = body.host_config.unwrap();
        assert_eq!((host.ipc_mode.as_deref(), host.cap_drop), (Some("shareable"), Some(vec!["ALL".to_owned()])));
        assert_eq!(host.network_mode.as_deref(), Some("driftless-prod"));
    }

    #[test]
    fn a_container_in_the_hosts_network_has_no_names_and_publishes_nothing() {
        let mut launch = launch();
        launch.network = PodNetwork { host: true, ..PodNetwork::default() };
        let body = body(&launch).unwrap();
        assert_eq!((body.hostname, body.exposed_ports), (None, None));
        let host = body.host_config.unwrap();
        assert_eq!((host.network_mode.as_deref(), host.port_bindings.map(|ports| ports.len())), (Some("host"), Some(0)));
    }

    #[test]
    fn a_port_is_published_at_each_address_that_it_names() {
        let mut launch = launch();
        let at = |address: &str| LaunchPort { host_ip: address.parse().ok(), ..launch.ports[0].clone() };
        launch.ports = vec![at("127.0.0.1"), at("10.0.0.7")];
        let bindings = body(&launch).unwrap().host_config.unwrap().port_bindings.unwrap()["80/udp"].clone().unwrap();
        let addresses: Vec<Option<String>> = bindings.into_iter().map(|binding| binding.host_ip).collect();
        assert_eq!(addresses, [Some("127.0.0.1".to_owned()), Some("10.0.0.7".to_owned())]);
    }

    #[test]
    fn what_reaches_into_the_host_is_asked_of_the_engine_only_if_it_was_asked_for() {
        let host = |launch: &ContainerLaunch| body(launch).unwrap().host_config.unwrap();
        let mut launch = launch();
        launch.mounts = vec![crate::agent::runtime::Mount::default()];
        let plain = host(&launch);
        assert_eq!((plain.privileged, plain.pid_mode, plain.ipc_mode, plain.security_opt), (Some(false), None, None, None));
        assert_eq!(plain.mounts.unwrap()[0].bind_options, None);
        launch.security = Security { privileged: true, host_pid: true, host_ipc: true, ..Security::default() };
        launch.mounts[0].propagation = Propagation::Bidirectional;
        let open = host(&launch);
        let shared = Some("host".to_owned());
        assert_eq!((open.privileged, open.pid_mode, open.ipc_mode), (Some(true), shared.clone(), shared));
        let propagation = open.mounts.unwrap()[0].bind_options.as_ref().and_then(|options| options.propagation);
        assert_eq!(propagation, Some(MountBindOptionsPropagationEnum::RSHARED));
    }

    #[test]
    fn a_small_share_of_cpu_is_raised_to_what_the_kernel_takes() {
        let mut launch = launch();
        launch.limits = Limits { cpu_milli: Some(1), memory_bytes: None, cpu_request_milli: Some(1) };
        let host = body(&launch).unwrap().host_config.unwrap();
        assert_eq!((host.cpu_quota, host.cpu_shares), (Some(1_000), Some(2)));
    }

    #[test]
    fn the_engine_is_told_no_secret() {
        let mut launch = launch();
        let secret = EnvValue::Secret(SecretBytes::new(b"hunter2".to_vec()));
        launch.env = vec![("COLOUR".to_owned(), EnvValue::Plain("blue".to_owned())), ("KEY".to_owned(), secret)];
        let settled = Settled { init: Some(Init::default()), ..Settled::default() };
        let body = super::body(&launch, &settled).unwrap();
        assert_eq!(body.env, Some(vec!["COLOUR=blue".to_owned()]));
        assert_eq!(body.entrypoint, Some(vec!["/.driftless/init".to_owned()]));
        assert!(body.labels.unwrap().contains_key(labels::INIT), "so that commands inside go through it too");
    }
}
