//! The environment of a container, in Kubernetes' order: Services, then `envFrom`, then `env`; the later wins.

use super::{LaunchError, LaunchInput};
use super::{expand, fields};
use crate::agent::runtime::EnvValue;
use crate::model::{EnvFromSource, EnvVar, EnvVarSource, KeySelector, SecretBytes};
use std::collections::BTreeMap;

/// Things that people should know, each with its reason.
type Notes = Vec<(&'static str, String)>;

/// The whole environment, each name once, and what was passed over.
pub(super) fn resolve(input: &LaunchInput<'_>) -> Result<(Vec<(String, EnvValue)>, Notes), LaunchError> {
    let (mut env, mut notes) = (Vec::new(), Notes::new());
    if input.snapshot.template.spec.enable_service_links {
        add_services(&mut env, input);
    }
    let given = process_ports(input);
    for (name, value) in &given {
        put(&mut env, name, EnvValue::Plain(value.clone()));
    }
    for source in &input.container.env_from {
        notes.extend(add_all_of(&mut env, source, input)?);
    }
    for variable in input.container.env.iter().filter(|variable| given.iter().all(|(name, _)| *name != variable.name)) {
        if let Some(value) = value_of(variable, &env, input)? {
            put(&mut env, &variable.name, value);
        }
    }
    for (name, value) in given {
        put(&mut env, &name, EnvValue::Plain(value));
    }
    Ok((env, notes))
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

/// Takes a whole ConfigMap or Secret in. Keys that cannot be variables are passed over with a note, as Kubernetes does.
fn add_all_of(
    env: &mut Vec<(String, EnvValue)>,
    source: &EnvFromSource,
    input: &LaunchInput<'_>,
) -> Result<Option<(&'static str, String)>, LaunchError> {
    let config = &input.snapshot.config;
    let mut skipped = Vec::new();
    let mut take = |key: &str, value: Option<EnvValue>| {
        let name = format!("{}{key}", source.prefix);
        match value.filter(|_| is_variable(&name)) {
            Some(value) => put(env, &name, value),
            None => skipped.push(name),
        }
    };
    if let Some(reference) = &source.config_map_ref {
        let data = config.config_maps.get(&reference.name);
        for (key, bytes) in present("ConfigMap", &reference.name, data, reference.optional)? {
            let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
            take(key, text.map(|text| EnvValue::Plain(text.to_owned())));
        }
    }
    if let Some(reference) = &source.secret_ref {
        let data = config.secrets.get(&reference.name);
        for (key, bytes) in present("Secret", &reference.name, data, reference.optional)? {
            take(key, Some(bytes).filter(|bytes| !bytes.expose().contains(&0)).map(|bytes| EnvValue::Secret(bytes.clone())));
        }
    }
    let message = || format!("keys that cannot be variables were passed over: {}", skipped.join(", "));
    Ok((!skipped.is_empty()).then(|| ("InvalidEnvironmentVariableNames", message())))
}

/// The entries of an object that `envFrom` names; none if it is optional and missing.
fn present<'a, T>(
    kind: &'static str,
    name: &str,
    data: Option<&'a BTreeMap<String, T>>,
    optional: bool,
) -> Result<impl Iterator<Item = (&'a String, &'a T)>, LaunchError> {
    if data.is_none() && !optional {
        return Err(LaunchError::MissingConfig { kind, name: name.to_owned(), user: "envFrom".to_owned() });
    }
    Ok(data.into_iter().flatten())
}

/// <https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/#restrictions>: letters, digits, `-`, `_` and `.`, not
/// beginning with a digit.
fn is_variable(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.chars().all(fits) && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// `None` if an optional source is missing.
fn value_of(variable: &EnvVar, env: &[(String, EnvValue)], input: &LaunchInput<'_>) -> Result<Option<EnvValue>, LaunchError> {
    let Some(EnvVarSource { config_map_key_ref, secret_key_ref, field_ref, resource_field_ref }) = &variable.value_from else {
        return Ok(Some(expand::value(variable.value.as_deref().unwrap_or_default(), env)));
    };
    if let Some(selector) = config_map_key_ref {
        return config_map_key(variable, selector, input);
    }
    if let Some(selector) = secret_key_ref {
        return secret_key(variable, selector, input);
    }
    let error = |path: &str, why| {
        let user = format!("variable {}", variable.name);
        LaunchError::Field { user, path: path.to_owned(), why }
    };
    if let Some(field) = field_ref {
        let text = fields::field(&field.field_path, input).map_err(|why| error(&field.field_path, why))?;
        return Ok(Some(EnvValue::Plain(text)));
    }
    let Some(reference) = resource_field_ref else { return Ok(None) };
    let amount = fields::amount(reference, input).map_err(|why| error(&reference.resource, why))?;
    Ok(Some(EnvValue::Plain(amount.to_string())))
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
    map: Option<&'a BTreeMap<String, T>>,
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
