//! `driftless demo`: the main job from a git push to running pods, on a repo of its own, told step by step.
//!
//! It uses what its user would use: the `git` program, `driftless up` as a process, the Service addresses and the read-only API.
//! It never claims what it did not see: each step polls for its outcome and fails with the last state otherwise.

mod cluster;
mod load;
mod narrator;
mod repo;
mod steps;

use super::{CliError, CliResult};
use clap::{Args, ValueEnum};
use cluster::Cluster;
use narrator::Narrator;
use repo::DemoRepo;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Watch Driftless do its job on a small shop: deploy, heal, roll out, refuse, roll back, audit.
///
/// The demo makes a bare git repo from the example repo in a temporary folder and runs controller and agent on it. Nothing of it
/// is left behind unless you ask for it with --keep.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  driftless demo                          look around afterwards, Ctrl-C ends it\n  driftless demo --once                   the tour, then clean up and exit\n  driftless demo --once --runtime docker  the same in containers"
)]
pub struct DemoArgs {
    /// End after the tour: exit code 0 only if every step was seen to happen, and nothing is left running.
    #[arg(long)]
    once: bool,
    /// Leave the pods and the folder where they are at the end.
    #[arg(long, conflicts_with = "once")]
    keep: bool,
    /// Where the shop runs.
    #[arg(long, value_enum, default_value_t = DemoRuntime::Process)]
    runtime: DemoRuntime,
    /// The Docker Engine's socket, as the docker program takes it.
    #[arg(long, env = "DOCKER_HOST", value_name = "unix:///PATH")]
    docker_host: Option<String>,
}

/// The runtimes that the demo has a shop for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DemoRuntime {
    /// Host processes: needs nothing but git.
    Process,
    /// Containers of a small image that the demo makes itself: needs a Docker Engine, and no registry.
    Docker,
}

impl DemoRuntime {
    fn as_str(self) -> &'static str {
        match self {
            DemoRuntime::Process => "process",
            DemoRuntime::Docker => "docker",
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// The first step that was not seen to happen, with the last state that was seen.
pub(super) fn run(args: &DemoArgs) -> CliResult<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::with_source("cannot start the runtime", error))?;
    runtime.block_on(demo(args))?;
    Ok(ExitCode::SUCCESS)
}

/// What every step works with.
struct Demo {
    repo: DemoRepo,
    cluster: Cluster,
    narrator: Narrator,
}

async fn demo(args: &DemoArgs) -> CliResult<()> {
    let folder = tempfile::Builder::new()
        .prefix("driftless-demo-")
        .tempdir()
        .map_err(|error| CliError::with_source("cannot make a temporary folder", error))?;
    let mut narrator = Narrator::new();
    narrator.title(&format!("Driftless demo: the {} runtime, in {}", args.runtime.as_str(), folder.path().display()))?;
    if args.runtime == DemoRuntime::Docker {
        cluster::import_image(args.docker_host.as_deref(), &mut narrator).await?;
    }
    let repo = DemoRepo::create(folder.path(), args.runtime.as_str())?;
    let cluster = Cluster::start(folder.path(), &repo, args).await?;
    let mut demo = Demo { repo, cluster, narrator };
    let toured = tour(&mut demo, args).await;
    let ended = end(&mut demo, args, toured.is_ok()).await;
    if args.keep || (toured.is_err() && ended.is_err()) {
        let kept = folder.keep();
        demo.narrator.note(&format!("kept: {}", kept.display()))?;
    }
    toured.and(ended)
}

async fn tour(demo: &mut Demo, args: &DemoArgs) -> CliResult<()> {
    let interrupted = interrupted()?;
    tokio::select! {
        done = steps::all(demo) => done?,
        () = interrupted => return Err(CliError::new("interrupted")),
    }
    if args.once {
        return Ok(());
    }
    demo.narrator.note(&format!(
        "The shop goes on running. Look around:\n  open {}\n  kubectl --server {} get pods -A\n  push to {}\nCtrl-C ends it.",
        demo.cluster.url(),
        demo.cluster.url(),
        demo.repo.clone_dir().display()
    ))?;
    self::interrupted()?.await;
    Ok(())
}

/// Cleans up as a user would, with a commit; the processes of a failed tour are stopped the same way.
async fn end(demo: &mut Demo, args: &DemoArgs, tell: bool) -> CliResult<()> {
    if args.keep {
        return demo.cluster.stop().await;
    }
    let cleaned = steps::clean_up(demo, tell).await;
    demo.cluster.stop().await?;
    cleaned?;
    demo.cluster.remove_run_folder()?;
    if args.runtime == DemoRuntime::Docker { demo.cluster.remove_network().await } else { Ok(()) }
}

/// Ends with Ctrl-C or SIGTERM.
fn interrupted() -> CliResult<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).map_err(|error| CliError::with_source("cannot listen for signals", error));
    let (mut int, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    })
}
