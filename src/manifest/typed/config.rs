//! ConfigMaps and Secrets: their contents as bytes.

use super::super::findings::Findings;
use crate::model::SecretBytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::BTreeMap;

fn texts<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = value.get(key).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)))
}

pub(super) fn config_map(value: &Value, findings: &mut Findings<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut data: BTreeMap<String, Vec<u8>> =
        texts(value, "data").map(|(key, text)| (key.clone(), text.as_bytes().to_vec())).collect();
    for (key, text) in texts(value, "binaryData") {
        let Some(bytes) = decode("binaryData", key, text, findings) else { continue };
        if data.insert(key.clone(), bytes).is_some() {
            findings.error_at_key("/binaryData", key, "is also a key of data", None);
        }
    }
    data
}

pub(super) fn secret(value: &Value, findings: &mut Findings<'_>) -> BTreeMap<String, SecretBytes> {
    let mut data = BTreeMap::new();
    for (key, text) in texts(value, "data") {
        if let Some(bytes) = decode("data", key, text, findings) {
            data.insert(key.clone(), SecretBytes::new(bytes));
        }
    }
    for (key, text) in texts(value, "stringData") {
        data.insert(key.clone(), SecretBytes::new(text.as_bytes().to_vec()));
    }
    data
}

fn decode(part: &str, key: &str, text: &str, findings: &mut Findings<'_>) -> Option<Vec<u8>> {
    let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = STANDARD.decode(packed).ok();
    if bytes.is_none() {
        let hint = Some("plain text goes into stringData".to_owned());
        findings.error_at_key(&format!("/{part}"), key, "is not base64", hint);
    }
    bytes
}
