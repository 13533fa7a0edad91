//! How many pods a PodDisruptionBudget lets go:
//! <https://kubernetes.io/docs/tasks/run-application/configure-pdb/>.

use crate::model::{BudgetView, DisruptionBudget};

/// What a budget allows of the pods that it selects: how many there are, how many their workloads want, how many are ready. As in
/// Kubernetes, a count that must stay is compared with the pods that are there, a percentage and `maxUnavailable` with those wanted,
/// and percentages are rounded up.
#[must_use]
pub fn status(budget: &DisruptionBudget, pods: u32, wanted: u32, healthy: u32) -> BudgetView {
    let (expected, desired) = match (&budget.max_unavailable, &budget.min_available) {
        (Some(unavailable), _) => (wanted, wanted.saturating_sub(unavailable.part_of(wanted, true))),
        (None, Some(available)) if available.is_percentage() => (wanted, available.part_of(wanted, true)),
        (None, Some(available)) => (pods, available.part_of(pods, true)),
        (None, None) => (pods, 0),
    };
    let allowed = if expected == 0 { 0 } else { healthy.saturating_sub(desired) };
    BudgetView { expected, healthy, desired, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::IntOrString;

    /// `min 2` or `max 50%` of so many pods: what is expected, healthy, desired, allowed.
    fn check(rule: &str, (pods, wanted, healthy): (u32, u32, u32), expected: [u32; 4]) {
        let (bound, text) = rule.split_once(' ').expect("two words");
        let value = text.parse().map_or_else(|_| IntOrString::Text(text.to_owned()), IntOrString::Int);
        let (min, max) = if bound == "min" { (Some(value), None) } else { (None, Some(value)) };
        let view = status(&DisruptionBudget { selector: None, min_available: min, max_unavailable: max }, pods, wanted, healthy);
        assert_eq!([view.expected, view.healthy, view.desired, view.allowed], expected, "{rule}");
    }

    #[test]
    fn a_count_that_must_stay_leaves_the_rest() {
        check("min 2", (3, 3, 3), [3, 3, 2, 1]);
        check("min 2", (3, 3, 2), [3, 2, 2, 0]);
        check("min 5", (3, 3, 3), [3, 3, 5, 0]);
        check("min 0", (0, 3, 0), [0, 0, 0, 0]);
    }

    #[test]
    fn percentages_and_what_may_be_missing_count_from_what_is_wanted() {
        check("min 50%", (3, 5, 3), [5, 3, 3, 0]);
        check("min 50%", (5, 5, 5), [5, 5, 3, 2]);
        check("max 1", (3, 3, 3), [3, 3, 2, 1]);
        check("max 1", (2, 3, 2), [3, 2, 2, 0]);
        check("max 30%", (4, 4, 4), [4, 4, 2, 2]);
        check("max 0", (4, 4, 4), [4, 4, 4, 0]);
    }
}
