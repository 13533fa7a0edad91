//! The tour, in order. Each step does something as a user would and polls until it was seen to work.

use super::Demo;
use super::cluster::PodSeen;
use super::load::Load;
use super::repo::git;
use crate::cli::{CliError, CliResult};
use crate::clock;
use crate::model::Moment;

/// Pods of the web: what its autoscaler keeps at least.
const WEB_PODS: usize = 2;
/// Pods of the api.
const API_PODS: usize = 2;

pub(super) async fn all(demo: &mut Demo) -> CliResult<()> {
    deploy(demo).await?;
    heal(demo).await?;
    let release = roll_out(demo).await?;
    refuse(demo).await?;
    roll_back(demo, &release).await?;
    audit(demo).await
}

async fn deploy(demo: &mut Demo) -> CliResult<()> {
    let Demo { repo, cluster, narrator } = demo;
    let start = clock::now();
    narrator.step("A git push becomes running pods")?;
    narrator.act(&format!("driftless up --repo {}", repo.bare_dir().display()))?;
    cluster
        .wait("the shop is ready", async || {
            cluster.ready_pods("web-", WEB_PODS).await?;
            cluster.ready_pods("api-", API_PODS).await?;
            cluster.ready_pods("worker-", 1).await
        })
        .await?;
    narrator.saw(&format!("{} pods are ready after {}: web, api, worker", WEB_PODS + API_PODS + 1, seconds(start)))?;
    let answer = cluster.wait("the web answers", async || cluster.ask("web").await).await?;
    let url = cluster.service_url("web").await.map_err(CliError::new)?;
    narrator.saw(&format!("GET {url}"))?;
    narrator.quote(&answer)
}

async fn heal(demo: &mut Demo) -> CliResult<()> {
    let Demo { cluster, narrator, .. } = demo;
    narrator.step("A killed instance comes back")?;
    let pods = cluster.ready_pods("web-", WEB_PODS).await.map_err(CliError::new)?;
    let victim = pods.first().ok_or_else(|| CliError::new("there is no web to kill"))?.clone();
    narrator.act(&format!("kill -9 {} ({})", victim.name, short(&victim)))?;
    let start = clock::now();
    cluster.kill(&victim).await?;
    let back = cluster
        .wait("the killed instance is ready again", async || {
            let pods = cluster.ready_pods("web-", WEB_PODS).await?;
            let same = pods.into_iter().find(|pod| pod.name == victim.name).ok_or("the pod is gone")?;
            if same.restarts > victim.restarts { Ok(same) } else { Err("it has not been restarted yet".to_owned()) }
        })
        .await?;
    narrator.saw(&format!("{} is ready again after {} ({})", back.name, seconds(start), short(&back)))
}

/// Returns the commit of the release.
async fn roll_out(demo: &mut Demo) -> CliResult<String> {
    let Demo { repo, cluster, narrator } = demo;
    narrator.step("A new version goes out, rolling and blue/green, under load")?;
    let url = cluster.service_url("web").await.map_err(CliError::new)?;
    let load = Load::start(&url);
    let start = clock::now();
    repo.edit("shop/web.yaml", "value: v1", "value: v2")?;
    repo.edit("api/api.yaml", "value: v1", "value: v2")?;
    let commit = repo.push("Release v2")?;
    narrator.act(&format!("git push: {commit} \"Release v2\" changes web (rolling) and api (blue/green)"))?;
    wait_for_release(demo, "v2").await?;
    let result = load.finish().await;
    let Demo { narrator, .. } = demo;
    narrator.saw(&format!("every pod is v2 after {}", seconds(start)))?;
    if let Some(failure) = result.failures.first() {
        let text = format!("{} of {} requests failed during the rollout", result.failures.len(), result.answered);
        return Err(CliError::with_source(text, failure.clone()));
    }
    narrator.saw(&format!("{} requests to {url} meanwhile, none failed", result.answered))?;
    Ok(commit)
}

async fn refuse(demo: &mut Demo) -> CliResult<()> {
    let Demo { repo, cluster, narrator } = demo;
    narrator.step("A broken manifest is refused, and the old one goes on serving")?;
    repo.edit("shop/web.yaml", "containers:", "contaners:")?;
    let commit = repo.push("A typo")?;
    narrator.act(&format!("git push: {commit} \"A typo\" writes `contaners:` in shop/web.yaml"))?;
    let problem = cluster
        .wait("the problem is shown", async || {
            let problems = cluster.get("/driftless/v1/problems").await?;
            find_problem(&problems, "contaners").ok_or_else(|| problems.to_string())
        })
        .await?;
    narrator.saw("the unit shop is held:")?;
    narrator.quote(&problem)?;
    let answer = cluster.wait("v2 still answers", async || cluster.ask("web").await).await?;
    narrator.saw("the web still answers:")?;
    narrator.quote(&answer)?;
    let undone = repo.revert(&commit)?;
    narrator.act(&format!("git revert {commit} && git push: {undone}"))
}

async fn roll_back(demo: &mut Demo, release: &str) -> CliResult<()> {
    demo.narrator.step("A rollback is a commit")?;
    let start = clock::now();
    let commit = demo.repo.revert(release)?;
    demo.narrator.act(&format!("git revert {release} && git push: {commit}"))?;
    wait_for_release(demo, "v1").await?;
    demo.narrator.saw(&format!("every pod is v1 again after {}", seconds(start)))
}

async fn audit(demo: &mut Demo) -> CliResult<()> {
    let Demo { repo, cluster, narrator } = demo;
    narrator.step("Everything is on record: signed commits on the audit branch")?;
    let branch = cluster.audit_branch();
    narrator.act(&format!("git log {branch}"))?;
    let log = cluster
        .wait("the rollback is on record", async || {
            let format = "--format=%h  %<(9,trunc)%(trailers:key=Driftless-Outcome,valueonly,separator=)  %s";
            let log = git(repo.bare_dir(), &["log", format, &branch]).map_err(|error| error.render())?;
            let settled = log.lines().next().is_some_and(|line| line.contains("converged"));
            if settled { Ok(log) } else { Err(log) }
        })
        .await?;
    narrator.quote(&log)?;
    let signed = git(repo.bare_dir(), &["cat-file", "commit", &branch])?.contains("-----BEGIN SSH SIGNATURE-----");
    if !signed {
        return Err(CliError::new("the newest audit commit is not signed"));
    }
    narrator.saw(&format!("{} records, signed with the controller's key", log.lines().count()))
}

/// Deletes the shop with a commit that says so, and waits until nothing of it runs.
pub(super) async fn clean_up(demo: &mut Demo, tell: bool) -> CliResult<()> {
    let Demo { repo, cluster, narrator } = demo;
    if tell {
        narrator.step("Nothing is deleted by mistake: removing everything needs a commit that says so")?;
    }
    let commit = repo.remove_everything("Close the shop\n\nDriftless-Allow-Prune: all")?;
    if tell {
        narrator.act(&format!("git push: {commit} \"Close the shop\", with the trailer Driftless-Allow-Prune: all"))?;
    }
    cluster
        .wait("every pod is gone", async || {
            let pods = cluster.pods("").await?;
            let names: Vec<String> = pods.into_iter().map(|pod| pod.name).collect();
            if names.is_empty() { Ok(()) } else { Err(format!("still there: {}", names.join(" "))) }
        })
        .await?;
    if tell { narrator.saw("every pod is gone, nothing is left running") } else { Ok(()) }
}

/// Waits until web and api consist of pods of this release only, and answer so.
async fn wait_for_release(demo: &Demo, release: &str) -> CliResult<()> {
    let cluster = &demo.cluster;
    cluster
        .wait(&format!("web and api are {release}"), async || {
            cluster.ready_pods("web-", WEB_PODS).await?;
            cluster.ready_pods("api-", API_PODS).await?;
            for _ in 0..4 {
                let answer = cluster.ask("web").await?;
                if !(answer.contains(&format!("web {release}")) && answer.contains(&format!("api {release}"))) {
                    return Err(answer);
                }
            }
            Ok(())
        })
        .await
}

/// The first problem whose text mentions `word`, as `file:line:column: message (hint)`.
fn find_problem(items: &serde_json::Value, word: &str) -> Option<String> {
    let list = items.as_array().or_else(|| items["items"].as_array())?;
    let found = list.iter().find(|item| item.to_string().contains(word))?;
    let (problem, at) = (&found["problem"], &found["problem"]["at"]);
    let message = problem["message"].as_str().or(found["message"].as_str())?;
    let hint = problem["hint"].as_str().map(|hint| format!(" ({hint})")).unwrap_or_default();
    Some(format!("{}:{}:{}: {message}{hint}", at["file"].as_str().unwrap_or(""), at["line"], at["column"]))
}

fn short(pod: &PodSeen) -> String {
    let id = pod.container.split_once("://").map_or(pod.container.as_str(), |(_, id)| id);
    let docker = pod.container.starts_with("docker");
    let word = if docker { "container" } else { "pid" };
    format!("{word} {}", id.split(':').next().unwrap_or(id).chars().take(12).collect::<String>())
}

fn seconds(since: Moment) -> String {
    format!("{:.1} s", clock::now().since(since).as_secs_f64())
}
