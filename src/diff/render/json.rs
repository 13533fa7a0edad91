//! A plan for programs.

use super::{replaced, verb};
use crate::model::{Change, Plan};
use serde_json::{Value, json};

/// The plan as JSON. The shape is stable: fields may be added, none is renamed or removed.
///
/// ```json
/// { "from": "<revision or null>", "to": "…", "digest": "blake3:…",
///   "summary": { "create": 1, "update": 2, "delete": 0, "unchanged": 12, "podsReplaced": 5, "downtime": false },
///   "changes": [ { "action": "create|update|replace|scale|delete", "kind": "Deployment", "namespace": "shop", "name": "web",
///     "unit": "shop", "file": "shop/web.yaml", "line": 1, "renamedFrom": null,
///     "fields": [ { "path": "spec.template.spec.containers[web].image", "old": "a:1", "new": "a:2" } ],
///     "effect": { "starts": 3, "stops": 3, "order": "…", "downtime": false, "estimate": false } } ],
///   "blocked": null }
/// ```
///
/// `blocked` is `{ "reason": "…", "objects": [ { "kind", "namespace", "name" } ] }` where the brake holds deletions back.
#[must_use]
pub fn json(plan: &Plan) -> Value {
    let counts = plan.counts();
    json!({
        "from": plan.from,
        "to": plan.to,
        "digest": plan.digest,
        "summary": {
            "create": counts.create,
            "update": counts.update,
            "delete": counts.delete,
            "unchanged": plan.unchanged,
            "podsReplaced": replaced(plan),
            "downtime": plan.changes.iter().any(|change| change.effect.downtime),
        },
        "changes": plan.changes.iter().map(of_change).collect::<Vec<_>>(),
        "blocked": plan.blocked.as_ref().map(|block| json!({ "reason": block.reason, "objects": block.objects })),
    })
}

fn of_change(change: &Change) -> Value {
    let effect = &change.effect;
    json!({
        "action": verb(change.action),
        "kind": change.key.kind,
        "namespace": change.key.namespace,
        "name": change.key.name,
        "unit": change.source.unit,
        "file": change.source.file,
        "line": change.source.line,
        "renamedFrom": change.renamed_from,
        "fields": change.fields,
        // The template hashes stay out: without the cluster's key they would give short secrets away.
        "effect": {
            "starts": effect.starts,
            "stops": effect.stops,
            "order": effect.order,
            "downtime": effect.downtime,
            "estimate": effect.estimate,
        },
    })
}
