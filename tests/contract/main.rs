//! One list of behaviours, run against every runtime: what the agent relies on must hold for all of them.
//!
//! Docker is required: without an Engine these tests fail, and say so. Every test has a cluster of its own, and removes only
//! what carries its name.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

/// Makes a test of each function, on a stage with Docker.
macro_rules! on_docker {
    ($($name:ident),* $(,)?) => {
        mod tests {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::play(crate::docker::stage().await, |stage| Box::pin(super::$name(stage))).await;
                }
            )*
        }
    };
}

mod behaviours;
mod docker;
mod docker_only;
mod fake;
mod git_audit;
mod git_lab;
mod git_loader;
mod git_mirror;
mod kubectl;
mod kubectl_yaml;
mod leases;
mod namespace;
mod network;
mod other_engines;
mod peers;
mod pod_network;
mod process;
mod process_only;
mod registry;
mod secret_env;
mod settings;
mod stage;
mod status_api;
mod status_cli;
mod status_page;
mod status_server;
mod status_view;
mod status_watch;
mod tunnel;

use stage::Stage;

/// Makes a test of each behaviour on one stage.
macro_rules! play_on {
    ($module:ident, $stage:path, $($behaviour:ident),*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    let stage = $stage().await;
                    super::play(stage, |stage| Box::pin(super::behaviours::$behaviour(stage))).await;
                }
            )*
        }
    };
}

/// What every runtime does, the simulator's fake included.
macro_rules! contract_of_all {
    ($($behaviour:ident),* $(,)?) => {
        play_on!(every_runtime_docker, crate::docker::stage, $($behaviour),*);
        play_on!(every_runtime_process, crate::process::stage, $($behaviour),*);
        play_on!(every_runtime_fake, crate::fake::stage, $($behaviour),*);
    };
}

/// What every runtime does that runs programs.
macro_rules! contract_of_real_ones {
    ($($behaviour:ident),* $(,)?) => {
        play_on!(real_runtime_docker, crate::docker::stage, $($behaviour),*);
        play_on!(real_runtime_process, crate::process::stage, $($behaviour),*);
    };
}

contract_of_all! {
    a_started_container_is_listed_as_it_was_launched,
    starting_twice_gives_the_same_container,
    an_exit_code_is_reported_and_listed,
    a_stop_lets_the_program_end_by_itself,
    a_program_that_ignores_the_signal_is_killed,
    stopping_what_has_ended_says_how_it_ended,
    a_new_client_adopts_what_runs,
    removing_twice_succeeds,
    a_container_killed_behind_our_back_is_reported,
    a_missing_program_is_refused_and_leaves_nothing,
    a_restart_leaves_the_attempt_before,
    usage_tells_the_memory_that_is_held,
    a_lease_that_is_not_renewed_ends_its_container_though_nobody_asks,
    a_program_that_ignores_the_end_of_its_lease_is_killed_after_its_grace,
    a_lease_that_is_renewed_runs_on_until_its_new_end,
    what_has_no_lease_is_never_ended_by_one,
}

contract_of_real_ones! {
    the_environment_is_what_was_launched,
    mounted_files_are_seen_with_their_modes,
    a_second_stop_with_a_shorter_grace_shortens_the_first,
    both_streams_are_in_the_log_and_tail_cuts_it,
    a_followed_log_ends_with_its_container,
    a_log_is_cut_by_time_and_says_when_its_lines_were_written,
    a_command_inside_says_how_it_ended,
    a_command_inside_that_takes_too_long_is_given_up,
    usage_counts_the_cpu_that_was_spent,
    a_program_that_takes_more_memory_than_its_limit_is_killed,
    containers_of_another_node_are_not_listed_nor_touched,
}

/// Runs one behaviour and takes the stage down, also when it failed.
async fn play<F>(stage: Stage, behaviour: F)
where
    F: for<'a> FnOnce(&'a Stage) -> futures_util::future::LocalBoxFuture<'a, ()>,
{
    use futures_util::FutureExt;
    let outcome = std::panic::AssertUnwindSafe(behaviour(&stage)).catch_unwind().await;
    stage.take_down().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
