//! The environment of a container, in Kubernetes' order: Services, then `envFrom`, then `env`; the later wins.

use super::expand;
use super::{LaunchError, LaunchInput};
use crate::agent::runtime::EnvValue;
use crate::model::{EnvFromSource, EnvVar, EnvVarSource, FieldRef, KeySelector, SecretBytes};
use std::collections::BTreeMap;

/// The whole environment, each name once.
pub(super) fn resolve(input: &LaunchInput<'_>) -> Result<Vec<(String, EnvValue)>, LaunchError> {
    let mut env = Vec::new();
    if input.snapshot.template.spec.enable_service_links {
        add_services(&mut env, input);
    }
    let given = process_ports(input);
    for (name, value) in &given {
        put(&mut env, name, EnvValue::Plain(value.clone()));
    }
    for source in &input.container.env_from {
        add_all_of(&mut env, source, input)?;
    }
    for variable in input.container.env.iter().filter(|variable| given.iter().all(|(name, _)| *name != variable.name)) {
        if let Some(value) = value_of(variable, &env, input)? {
            put(&mut env, &variable.name, value);
        }
    }
    for (name, value) in given {
        put(&mut env, &name, EnvValue::Plain(value));
    }
    Ok(env)
}

fn put(env: &mut Vec<(String, EnvValue)>, name: &str, value: EnvValue) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => env.push((name.to_owned(), value)),
    }
}

/// `web-api` → `WEB_API`.
fn variable_name(name: &str) -> String {
    name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// `{NAME}_SERVICE_HOST`, `{NAME}_SERVICE_PORT` (the first port) and `{NAME}_SERVICE_PORT_<PORTNAME>`:
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn add_services(env: &mut Vec<(String, EnvValue)>, input: &LaunchInput<'_>) {
    for service in input.services {
        let name = variable_name(&service.name);
        let Some((_, first)) = service.ports.first() else { continue };
        put(env, &format!("{name}_SERVICE_HOST"), EnvValue::Plain(service.host.to_string()));
        put(env, &format!("{name}_SERVICE_PORT"), EnvValue::Plain(first.to_string()));
        for (port_name, port) in service.ports.iter().filter(|(port_name, _)| !port_name.is_empty()) {
            let variable = format!("{name}_SERVICE_PORT_{}", variable_name(port_name));
            put(env, &variable, EnvValue::Plain(port.to_string()));
        }
    }
}

/// `HOST`, `PORT` (the first port) and `PORT_<NAME>` (by name, else by number) of a host process.
fn process_ports(input: &LaunchInput<'_>) -> Vec<(String, String)> {
    let mut given = Vec::new();
    if !input.snapshot.template.spec.is_process() {
        return given;
    }
    for port in &input.container.ports {
        let Some(number) = input.ports.get(&port.container_port) else { continue };
        if given.is_empty() {
            given.push(("HOST".to_owned(), input.host_address.to_string()));
            given.push(("PORT".to_owned(), number.to_string()));
        }
        let name = if port.name.is_empty() { port.container_port.to_string() } else { variable_name(&port.name) };
        given.push((format!("PORT_{name}"), number.to_string()));
    }
    given
}

/// Keys that cannot be variables are passed over, as Kubernetes does.
fn add_all_of(env: &mut Vec<(String, EnvValue)>, source: &EnvFromSource, input: &LaunchInput<'_>) -> Result<(), LaunchError> {
    let config = &input.snapshot.config;
    let missing = |kind, name: &str| LaunchError::MissingConfig { kind, name: name.to_owned(), user: "envFrom".to_owned() };
    let usable = |key: &str| !key.is_empty() && !key.contains(['=', '\0']);
    if let Some(reference) = &source.config_map_ref {
        match config.config_maps.get(&reference.name) {
            Some(data) => {
                for (key, bytes) in data.iter().filter(|(key, _)| usable(key)) {
                    let Ok(text) = std::str::from_utf8(bytes) else { continue };
                    put(env, &format!("{}{key}", source.prefix), EnvValue::Plain(text.to_owned()));
                }
            }
            None if reference.optional => {}
            None => return Err(missing("ConfigMap", &reference.name)),
        }
    }
    if let Some(reference) = &source.secret_ref {
        match config.secrets.get(&reference.name) {
            Some(data) => {
                for (key, bytes) in data.iter().filter(|(key, bytes)| usable(key) && !bytes.expose().contains(&0)) {
                    put(env, &format!("{}{key}", source.prefix), EnvValue::Secret(bytes.clone()));
                }
            }
            None if reference.optional => {}
            None => return Err(missing("Secret", &reference.name)),
        }
    }
    Ok(())
}

/// `None` if an optional source is missing.
fn value_of(variable: &EnvVar, env: &[(String, EnvValue)], input: &LaunchInput<'_>) -> Result<Option<EnvValue>, LaunchError> {
    let Some(EnvVarSource { config_map_key_ref, secret_key_ref, field_ref, resource_field_ref: _ }) = &variable.value_from else {
        return Ok(Some(expand::value(variable.value.as_deref().unwrap_or_default(), env)));
    };
    if let Some(selector) = config_map_key_ref {
        return config_map_key(variable, selector, input);
    }
    if let Some(selector) = secret_key_ref {
        return secret_key(variable, selector, input);
    }
    field_ref.as_ref().map(|field| field_value(variable, field, input)).transpose()
}

fn config_map_key(variable: &EnvVar, selector: &KeySelector, input: &LaunchInput<'_>) -> Result<Option<EnvValue>, LaunchError> {
    let map = input.snapshot.config.config_maps.get(&selector.name);
    match key_of("ConfigMap", map, selector, &variable.name)? {
        None => Ok(None),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(Some(EnvValue::Plain(text.to_owned()))),
            Ok(_) | Err(_) => Err(not_text("ConfigMap", selector, variable)),
        },
    }
}

fn secret_key(variable: &EnvVar, selector: &KeySelector, input: &LaunchInput<'_>) -> Result<Option<EnvValue>, LaunchError> {
    let map = input.snapshot.config.secrets.get(&selector.name);
    match key_of("Secret", map, selector, &variable.name)? {
        None => Ok(None),
        Some(bytes) if bytes.expose().contains(&0) => Err(not_text("Secret", selector, variable)),
        Some(bytes) => Ok(Some(EnvValue::Secret(SecretBytes::clone(bytes)))),
    }
}

fn not_text(kind: &'static str, selector: &KeySelector, variable: &EnvVar) -> LaunchError {
    let (name, key) = (selector.name.clone(), selector.key.clone());
    LaunchError::NotText { kind, name, key, variable: variable.name.clone() }
}

fn key_of<'a, T>(
    kind: &'static str,
    map: Option<&'a std::collections::BTreeMap<String, T>>,
    selector: &KeySelector,
    variable: &str,
) -> Result<Option<&'a T>, LaunchError> {
    let user = || format!("variable {variable}");
    match map {
        None if selector.optional => Ok(None),
        None => Err(LaunchError::MissingConfig { kind, name: selector.name.clone(), user: user() }),
        Some(map) => match map.get(&selector.key) {
            None if selector.optional => Ok(None),
            None => {
                let (name, key) = (selector.name.clone(), selector.key.clone());
                Err(LaunchError::MissingKey { kind, name, key, user: user() })
            }
            found => Ok(found),
        },
    }
}

fn field_value(variable: &EnvVar, field: &FieldRef, input: &LaunchInput<'_>) -> Result<EnvValue, LaunchError> {
    let path = field.field_path.as_str();
    let meta = &input.snapshot.template.metadata;
    let error = |why| LaunchError::Field { variable: variable.name.clone(), path: path.to_owned(), why };
    let text = match path {
        "metadata.name" => input.run.name.clone(),
        "metadata.namespace" => input.run.workload.namespace.clone(),
        "metadata.uid" => input.run.uid.to_string(),
        "spec.nodeName" => input.facts.name.to_string(),
        "status.hostIP" => input.host_address.to_string(),
        "status.podIP" => {
            input.pod_address.ok_or_else(|| error("is not known before a container has been started on Docker"))?.to_string()
        }
        _ => match subscript(path) {
            // A label or annotation that is absent is empty, as in Kubernetes.
            Some(("metadata.labels", key)) => of_pod(&meta.labels, key, input),
            Some(("metadata.annotations", key)) => of_pod(&meta.annotations, key, input),
            Some(_) | None => return Err(error("is not a field that Driftless offers")),
        },
    };
    Ok(EnvValue::Plain(text))
}

/// A label or annotation: the pod's own, else its template's.
fn of_pod(map: &BTreeMap<String, String>, key: &str, input: &LaunchInput<'_>) -> String {
    input.run.own_labels().get(key).or_else(|| map.get(key)).cloned().unwrap_or_default()
}

/// `metadata.labels['app']` → (`metadata.labels`, `app`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}
