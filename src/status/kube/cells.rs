//! What a cell of a table says of an object, in the words of kubectl.

use super::super::words;
use crate::model::Moment;
use serde_json::{Value, json};

pub(super) fn node_status(node: &Value) -> String {
    let ready = match &node["status"]["conditions"][0] {
        ready if ready["status"] == "True" => "Ready",
        ready if ready["reason"] == super::nodes::AWAY => "NotReady,Away",
        _ => "NotReady",
    };
    let cordoned = if node["spec"]["unschedulable"] == true { ",SchedulingDisabled" } else { "" };
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let drained = conditions.filter(|condition| condition["type"] == super::nodes::DRAINED);
    let drain = drained.map(|condition| format!(",{}", condition["reason"].as_str().unwrap_or_default()));
    format!("{ready}{cordoned}{}", drain.collect::<String>())
}

pub(super) fn bound(value: &Value) -> String {
    value
        .as_str()
        .map(str::to_owned)
        .or_else(|| value.as_u64().map(|count| count.to_string()))
        .unwrap_or_else(|| "N/A".to_owned())
}

pub(super) fn text(object: &Value, pointer: &str) -> Value {
    json!(or_none(object.pointer(pointer).and_then(Value::as_str).unwrap_or("")))
}

pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// `pod/web-7d4b9c-x2k9f`
pub(super) fn reference(about: &Value) -> String {
    format!("{}/{}", about["kind"].as_str().unwrap_or("").to_lowercase(), about["name"].as_str().unwrap_or(""))
}

/// `driftless-agent, one`
pub(super) fn source(source: &Value) -> String {
    let parts = ["component", "host"].into_iter().filter_map(|part| source[part].as_str());
    parts.collect::<Vec<_>>().join(", ")
}

/// What all containers use together, in the one unit that we write.
pub(super) fn used(pod: &Value, resource: &str, unit: &str) -> String {
    let containers = pod["containers"].as_array().into_iter().flatten();
    let amounts =
        containers.filter_map(|container| container["usage"][resource].as_str()?.strip_suffix(unit)?.parse::<u64>().ok());
    format!("{}{unit}", amounts.sum::<u64>())
}

pub(super) fn count(object: &Value, pointer: &str) -> u64 {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn length(value: &Value) -> usize {
    value.as_object().map(serde_json::Map::len).or_else(|| value.as_array().map(Vec::len)).unwrap_or(0)
}

/// The hosts of an Ingress, three at most, as kubectl has them.
pub(super) fn hosts(rules: &Value) -> String {
    const SHOWN: usize = 3;
    let rules = rules.as_array().into_iter().flatten();
    let hosts: Vec<&str> = rules.map(|rule| rule["host"].as_str().unwrap_or("*")).collect();
    match hosts.len() {
        0 => "*".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", hosts[..SHOWN].join(","), count - SHOWN),
        _ => hosts.join(","),
    }
}

/// Where something is reached from outside.
pub(super) fn load_balancers(places: &Value) -> String {
    let places = places.as_array().into_iter().flatten();
    let addresses = places.filter_map(|place| place["ip"].as_str().or_else(|| place["hostname"].as_str()));
    addresses.collect::<Vec<_>>().join(",")
}

pub(super) fn pairs(value: &Value) -> Value {
    let entries = value.as_object().into_iter().flatten();
    let pairs: Vec<String> = entries.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    json!(or_none(&pairs.join(",")))
}

pub(super) fn since(time: &Value, now: Moment) -> String {
    time.as_str().and_then(|time| words::age_of(time, now)).unwrap_or_else(|| "<unknown>".into())
}

/// Of the containers that go on: sidecars, and what `containers` says.
pub(super) fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |field: &str| pod["status"][field].as_array().into_iter().flatten();
    let lasting = |status: &&Value| sidecars(pod).any(|sidecar| sidecar["name"] == status["name"]);
    of("initContainerStatuses").filter(lasting).chain(of("containerStatuses"))
}

pub(super) fn sidecars(pod: &Value) -> impl Iterator<Item = &Value> {
    let inits = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    inits.filter(|container| container["restartPolicy"] == "Always")
}

/// The word that explains a pod best: why it is not simply running, else its phase.
pub(super) fn pod_status(pod: &Value) -> Value {
    let reason = pod["status"]["reason"].as_str();
    let waiting = statuses(pod).find_map(|status| status["state"]["waiting"]["reason"].as_str());
    let phase = match pod["status"]["phase"].as_str() {
        Some("Succeeded") => "Completed",
        Some("Failed") => "Error",
        other => other.unwrap_or("Unknown"),
    };
    json!(reason.or(waiting).unwrap_or(phase))
}

pub(super) fn endpoints(object: &Value) -> Value {
    let subsets = object["subsets"].as_array().into_iter().flatten();
    let places = subsets.filter(|subset| subset.get("addresses").is_some()).flat_map(|subset| {
        let ip = subset["addresses"][0]["ip"].as_str().unwrap_or("").to_owned();
        let ports = subset["ports"].as_array().into_iter().flatten();
        ports.map(move |port| format!("{ip}:{}", port["port"])).collect::<Vec<_>>()
    });
    json!(or_none(&places.collect::<Vec<_>>().join(",")))
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == name && condition["status"] == "True")
}

pub(super) fn job_status(job: &Value) -> &'static str {
    let known = [("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"), ("Forgotten", "Forgotten")];
    known.into_iter().find(|(name, _)| condition(job, name).is_some()).map_or("Running", |(_, word)| word)
}

pub(super) fn completions(job: &Value) -> String {
    let succeeded = count(job, "/status/succeeded");
    match (job["spec"]["completions"].as_u64(), count(job, "/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, workers) if workers > 1 => format!("{succeeded}/1 of {workers}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

/// From its start to its end; to now, while it runs.
pub(super) fn job_duration(job: &Value, now: Moment) -> String {
    let end = ["Complete", "Failed"].into_iter().find_map(|name| condition(job, name)?["lastTransitionTime"].as_str());
    let end = end.and_then(words::moment_of).unwrap_or(now);
    job["status"]["startTime"].as_str().and_then(|start| words::age_of(start, end)).unwrap_or_default()
}

pub(super) fn containers(object: &Value, field: &str) -> String {
    let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let texts: Vec<&str> = containers.filter_map(|container| container[field].as_str()).collect();
    or_none(&texts.join(",")).to_owned()
}

/// How many metrics of an autoscaler are listed.
const TARGETS_MAX: usize = 2;

/// What each metric is and should be, as kubectl prints it: two of them at most.
pub(super) fn targets(object: &Value) -> String {
    let metrics = object["spec"]["metrics"].as_array().map_or(&[][..], Vec::as_slice);
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .take(TARGETS_MAX)
        .map(|(index, metric)| target(metric, &object["status"]["currentMetrics"][index]))
        .collect();
    let more = metrics.len().saturating_sub(TARGETS_MAX);
    if more > 0 { format!("{} + {more} more...", shown.join(", ")) } else { shown.join(", ") }
}

fn target(metric: &Value, current: &Value) -> String {
    let source = if metric["type"] == "ContainerResource" { "containerResource" } else { "resource" };
    let (wanted, used) = (&metric[source]["target"], &current[source]["current"]);
    let percent = |value: &Value| value.as_u64().map(|percent| format!("{percent}%"));
    let amount = |value: &Value| value.as_str().map(str::to_owned);
    let (used, wanted) = match percent(&wanted["averageUtilization"]) {
        Some(wanted) => (percent(&used["averageUtilization"]), wanted),
        None => (amount(&used["averageValue"]), amount(&wanted["averageValue"]).unwrap_or_default()),
    };
    let name = metric[source]["name"].as_str().unwrap_or_default();
    format!("{name}: {}/{wanted}", used.as_deref().unwrap_or("<unknown>"))
}

pub(super) fn access_modes(modes: &Value) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    modes.as_array().into_iter().flatten().map(short).collect::<Vec<_>>().join(",")
}

/// As kubectl has it: the name of an ExternalName, the addresses of a load balancer, `<pending>` before it has one.
pub(super) fn external_ip(service: &Value) -> String {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let addresses: Vec<&str> = ingress.filter_map(|entry| entry["ip"].as_str()).collect();
    match service["spec"]["type"].as_str() {
        Some("ExternalName") => service["spec"]["externalName"].as_str().unwrap_or("<none>").to_owned(),
        Some("LoadBalancer") if addresses.is_empty() => "<pending>".to_owned(),
        Some("LoadBalancer") => addresses.join(","),
        Some(_) | None => "<none>".to_owned(),
    }
}

/// `80:30080/TCP,443/TCP`
pub(super) fn service_ports(service: &Value) -> String {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = |port: &Value| {
        let node_port = port["nodePort"].as_u64().map(|number| format!(":{number}")).unwrap_or_default();
        format!("{}{node_port}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"))
    };
    ports.map(port).collect::<Vec<_>>().join(",")
}
