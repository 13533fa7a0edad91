//! The message of an audit commit: written and read back.
//!
//! ```text
//! shop/web: rolled out 3 pods, nginx:1.26 → 1.27
//!
//! <the plan as a person reads it, and what became of it>
//!
//! Driftless-Revision: <sha of the source commit>
//! Driftless-Trigger: push
//! Driftless-Plan: blake3:<digest of the intent>
//! Driftless-Outcome: converged
//! Driftless-Changes: create=0 update=1 delete=0
//! Driftless-Actor: <who>
//! Driftless-Epoch: 7
//! Driftless-Duration-Ms: 12400
//! ```
//!
//! The order and the spelling are a contract. A trailer without a value is left out: a claim of an epoch has no plan.

use crate::model::{AuditRecord, ChangeCounts, Epoch, Outcome, Revision, Trigger};

/// What is read back from a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parsed {
    pub(super) subject: String,
    pub(super) body: String,
    pub(super) revision: Option<Revision>,
    pub(super) trigger: Option<Trigger>,
    pub(super) plan: Option<String>,
    pub(super) outcome: Option<Outcome>,
    pub(super) changes: ChangeCounts,
    pub(super) actor: Option<String>,
    pub(super) epoch: Option<Epoch>,
    pub(super) duration_ms: Option<u64>,
}

/// The message of a record.
pub(super) fn write(record: &AuditRecord) -> String {
    let ChangeCounts { create, update, delete } = record.changes;
    let trailers = [
        ("Revision", record.revision.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("Trigger", record.trigger.to_string()),
        ("Plan", one_line(&record.plan)),
        ("Outcome", record.outcome.to_string()),
        ("Changes", format!("create={create} update={update} delete={delete}")),
        ("Actor", one_line(&record.actor)),
        ("Epoch", record.epoch.0.to_string()),
        ("Duration-Ms", record.duration_ms.to_string()),
    ];
    let mut text = one_line(&record.subject);
    let body = record.body.replace(['\0', '\r'], "");
    if !body.trim().is_empty() {
        text.push_str("\n\n");
        text.push_str(body.trim_matches('\n').trim_end());
    }
    text.push_str("\n\n");
    for (name, value) in trailers.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("Driftless-{name}: {value}\n"));
    }
    text
}

/// Text on one line: what a commit's author may have put into a name must not become a trailer.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Reads a message back. Only the last paragraph holds trailers; what is missing or misspelt stays empty.
pub(super) fn read(message: &str) -> Parsed {
    let message = message.trim_end();
    let (head, last) = message.rsplit_once("\n\n").unwrap_or((message, ""));
    let is_ours = last.lines().all(|line| line.starts_with("Driftless-")) && !last.is_empty();
    let (text, trailers) = if is_ours { (head, last) } else { (message, "") };
    let (subject, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut parsed = Parsed { subject: subject.to_owned(), body: body.to_owned(), ..Parsed::default() };
    for line in trailers.lines() {
        if let Some((name, value)) = line.split_once(": ") {
            parsed.take(name, value);
        }
    }
    parsed
}

impl Parsed {
    fn take(&mut self, name: &str, value: &str) {
        match name {
            "Driftless-Revision" => self.revision = Some(Revision::new(value)),
            "Driftless-Trigger" => self.trigger = Trigger::parse(value),
            "Driftless-Plan" => self.plan = Some(value.to_owned()),
            "Driftless-Outcome" => self.outcome = Outcome::parse(value),
            "Driftless-Changes" => self.changes = read_changes(value),
            "Driftless-Actor" => self.actor = Some(value.to_owned()),
            "Driftless-Epoch" => self.epoch = value.parse().ok().map(Epoch),
            "Driftless-Duration-Ms" => self.duration_ms = value.parse().ok(),
            _ => {}
        }
    }
}

fn read_changes(text: &str) -> ChangeCounts {
    let of = |name: &str| {
        let count = text.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    ChangeCounts { create: of("create"), update: of("update"), delete: of("delete") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn record() -> AuditRecord {
        AuditRecord {
            subject: "shop/web: rolled out 3 pods, nginx:1.26 → 1.27".into(),
            body: "~ Deployment shop/web\n    image: nginx:1.26 → nginx:1.27\n\n3 pods replaced.\n".into(),
            revision: Some(Revision::new("0123456789abcdef0123456789abcdef01234567")),
            trigger: Trigger::Push,
            plan: "blake3:00ff".into(),
            outcome: Outcome::Converged,
            changes: ChangeCounts { create: 0, update: 1, delete: 0 },
            actor: "Ada <ada@example.org> (unsigned)".into(),
            epoch: Epoch(7),
            duration_ms: 12_400,
            tree: BTreeMap::new(),
        }
    }

    #[test]
    fn the_message_is_the_contract_to_the_letter() {
        let expected = "\
shop/web: rolled out 3 pods, nginx:1.26 → 1.27

~ Deployment shop/web
    image: nginx:1.26 → nginx:1.27

3 pods replaced.

Driftless-Revision: 0123456789abcdef0123456789abcdef01234567
Driftless-Trigger: push
Driftless-Plan: blake3:00ff
Driftless-Outcome: converged
Driftless-Changes: create=0 update=1 delete=0
Driftless-Actor: Ada <ada@example.org> (unsigned)
Driftless-Epoch: 7
Driftless-Duration-Ms: 12400
";
        assert_eq!(write(&record()), expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let parsed = read(&write(&record()));
        assert_eq!(parsed.subject, record().subject);
        assert_eq!(parsed.body, record().body.trim_end());
        assert_eq!(parsed.revision, record().revision);
        assert_eq!((parsed.trigger, parsed.outcome), (Some(Trigger::Push), Some(Outcome::Converged)));
        assert_eq!(parsed.plan.as_deref(), Some("blake3:00ff"));
        assert_eq!(parsed.changes, record().changes);
        assert_eq!(parsed.actor, Some(record().actor));
        assert_eq!((parsed.epoch, parsed.duration_ms), (Some(Epoch(7)), Some(12_400)));
    }

    #[test]
    fn a_name_with_line_breaks_forges_no_trailer() {
        let forged = AuditRecord { actor: "Eve\nDriftless-Epoch: 99\0".into(), body: String::new(), ..record() };
        let text = write(&forged);
        assert!(text.contains("Driftless-Actor: Eve Driftless-Epoch: 99\nDriftless-Epoch: 7\n"), "{text}");
        assert_eq!(read(&text).epoch, Some(Epoch(7)));
    }

    #[test]
    fn trailers_in_the_middle_of_a_body_are_text() {
        let odd = AuditRecord { body: "Driftless-Epoch: 99\n\nthe end".into(), ..record() };
        assert_eq!(read(&write(&odd)).epoch, Some(Epoch(7)));
        assert_eq!(read("a commit of somebody else\n\nwith a body").subject, "a commit of somebody else");
    }
}
