//! Why a remote did not take a push, in the words of `git push --porcelain`.

/// Why a ref was not updated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Somebody else moved it.
    Race,
    /// The remote does not want it.
    Other(String),
}

/// Reads `git push --porcelain`: `!\t<from>:<to>\t[rejected] (fetch first)`.
pub(super) fn refusal(stdout: &str) -> Option<Refusal> {
    let line = stdout.lines().find(|line| line.starts_with("!\t"))?;
    let summary = line.rsplit('\t').next().unwrap_or("");
    let race = [
        "(fetch first)",
        "(non-fast-forward)",
        "(stale info)",
        "failed to update ref",
        "incorrect old value",
        "cannot lock ref",
        "reference already exists",
    ];
    if race.iter().any(|words| summary.contains(words)) {
        return Some(Refusal::Race);
    }
    let reason = summary.split_once('(').map_or(summary, |(_, reason)| reason.trim_end_matches(')'));
    Some(Refusal::Other(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_race_and_a_refusal_are_told_apart() {
        let race = "To /srv/shop.git\n!\t0123:refs/heads/driftless/audit\t[rejected] (fetch first)\nDone\n";
        assert_eq!(refusal(race), Some(Refusal::Race));
        let hook = "!\t0123:refs/heads/driftless/audit\t[remote rejected] (pre-receive hook declined)\n";
        assert_eq!(refusal(hook), Some(Refusal::Other("pre-receive hook declined".into())));
        assert_eq!(refusal("Done\n"), None);
    }
}
