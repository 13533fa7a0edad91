//! Which form of answer a client wants.

use super::super::refusal::Refusal;

/// The forms that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Objects as they are.
    Json,
    /// `meta.k8s.io/v1 Table`: columns and cells, for people.
    Table,
}

impl Form {
    /// The first form in an Accept header that we speak; a missing header accepts all.
    ///
    /// # Errors
    /// 406 when there is none.
    pub(super) fn choose(accept: Option<&str>) -> Result<Form, Refusal> {
        let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Form::Json) };
        accept.split(',').find_map(form_of).ok_or_else(|| Refusal::not_acceptable(accept))
    }
}

/// The form of one media range, if we speak it.
fn form_of(range: &str) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?;
    if !["application/json", "application/*", "*/*"].iter().any(|known| media.eq_ignore_ascii_case(known)) {
        return None;
    }
    let parameters: Vec<&str> = parts.collect();
    let wanted = |name: &str| parameters.iter().find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='));
    match (wanted("as"), wanted("v")) {
        (None, _) => Some(Form::Json),
        (Some("Table"), None | Some("v1")) => Some(Form::Table),
        (Some(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_we_speak_wins() {
        let kubectl =
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(Form::choose(Some(kubectl)), Ok(Form::Table));
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(Form::choose(Some(discovery)), Ok(Form::Json));
        assert_eq!(Form::choose(Some("application/vnd.kubernetes.protobuf, */*")), Ok(Form::Json));
        assert_eq!(Form::choose(None), Ok(Form::Json));
    }

    #[test]
    fn nothing_that_we_speak_is_not_acceptable() {
        assert_eq!(Form::choose(Some("text/html")), Err(Refusal::not_acceptable("text/html")));
    }
}
