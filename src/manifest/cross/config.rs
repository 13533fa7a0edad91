//! ConfigMaps and Secrets that pods refer to.

use super::{Checker, Found, Place};
use crate::manifest::draft::{Draft, Reference};
use crate::model::{Body, Kind};

impl Checker<'_> {
    /// The object must be there, and the key in it, unless it is optional.
    pub(super) fn config(
        &mut self,
        index: usize,
        reference: &Reference,
        kind: Kind,
        namespace: &str,
        name: &str,
        key: Option<&str>,
    ) {
        let place = Place::of(index, reference);
        match (self.find(kind, namespace, name), key) {
            _ if reference.optional => {}
            (Found::Nothing(_), Some(_)) if reference.path.ends_with(".key") => {} // reported at the volume's name
            (Found::Nothing(object), _) => self.missing(place, object),
            (Found::Draft(draft), Some(key)) if !has_key(draft, key) => {
                let message = format!("{} has no key {key}", draft.key);
                let hint = format!("it is written in {}:{}", draft.at.file, draft.line);
                self.error(place, message, &hint, Some(draft.key.clone()));
            }
            (Found::Draft(_) | Found::Excused, _) => {}
        }
    }
}

fn has_key(draft: &Draft, key: &str) -> bool {
    match draft.plain() {
        Some(Body::ConfigMap(data)) => data.contains_key(key),
        Some(Body::Secret(data)) => data.contains_key(key),
        Some(_) | None => false,
    }
}
