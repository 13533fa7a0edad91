//! Text scripts: a line is something that happens or a time that passes; what came of it is snapshotted whole.
//!
//! ```text
//! nodes 2                              how many hosts
//! deploy web 3 app:v1                  push a Deployment
//! rollout api 2 app:v1 [manual]        push a blue/green Rollout
//! config settings v2                   push a ConfigMap
//! break web                            push a file that cannot be read
//! remove web api                       push without their files
//! promote api                          push the annotation that promotes what waits for it
//! drain n1 · keep n1                   push a Node that is to be empty, or none any more
//! budget web 50%                       push a disruption budget
//! set db 2 app:v1                      push a StatefulSet with volumes
//! leased queue 2 app:v1                push one without, whose pods have a lease
//! push "message"                       an empty commit (a trailer may follow after |)
//! start · wait 30s · poll · kill n1 · delete n1 · crash controller · crash agent n1 · cut n1 · heal n1
//! reboot n1 · lose n1 · replace n1 · fill n1 · empty n1 · leave n1 60s      (fill: its disk)
//! pods                                 say what runs, and how far each workload is
//! ```

use crate::repo_text::{budget, config, deployment, drained, leased, rollout, stateful};
use crate::world::World;
use driftless::model::NodeName;
use std::time::Duration;

/// Runs a script and returns the transcript.
pub fn play(script: &str) -> String {
    let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let nodes =
        lines.next().and_then(|line| line.strip_prefix("nodes ")).and_then(|count| count.parse().ok()).expect("nodes N first");
    let mut world = World::new(1, nodes);
    for line in lines {
        world.transcript.push(format!("> {line}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        act(&mut world, line, &words);
    }
    world.transcript.join("\n")
}

fn act(world: &mut World, line: &str, words: &[&str]) {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("a number in {line:?}"));
    match words {
        ["start"] => world.start(),
        ["wait", time] => world.run_for(Duration::from_secs(number(time.trim_end_matches('s')))),
        ["poll"] => world.poll(),
        ["deploy", name, replicas, image] => {
            let text = deployment(name, number(replicas), image, "");
            world.push(name, &[(&format!("{name}/{name}.yaml"), Some(text))]);
        }
        ["deploy", name, replicas, image, uses] => {
            let text = deployment(name, number(replicas), image, uses);
            world.push(name, &[(&format!("{name}/{name}.yaml"), Some(text))]);
        }
        ["rollout", name, replicas, image, rest @ ..] => {
            let text = rollout(name, number(replicas), image, rest.is_empty());
            world.push(name, &[(&format!("{name}/{name}.yaml"), Some(text))]);
        }
        ["config", name, value] => world.push(name, &[(&format!("{name}/{name}.yaml"), Some(config(name, value)))]),
        ["break", name] => world.push("broken", &[(&format!("{name}/{name}.yaml"), Some("kind: [\n".to_owned()))]),
        ["remove", names @ ..] => {
            let paths: Vec<String> = names.iter().map(|name| format!("{name}/{name}.yaml")).collect();
            let changes: Vec<(&str, Option<String>)> = paths.iter().map(|path| (path.as_str(), None)).collect();
            world.push(&format!("remove {}", names.join(" ")), &changes);
        }
        ["promote", name] => {
            let path = format!("{name}/{name}.yaml");
            let hash = world.waits_for_promotion(name).unwrap_or_else(|| panic!("{name} does not wait for a promotion"));
            let text = world.repo.head().expect("a commit").files[&path].clone();
            let annotated = text.replacen(
                "namespace: shop}",
                &format!("namespace: shop, annotations: {{driftless.dev/promote: {hash}}}}}"),
                1,
            );
            world.push(&format!("promote {name}"), &[(&path, Some(annotated))]);
        }
        ["drain", node] => world.push(&format!("drain {node}"), &[(&format!("hosts/{node}.yaml"), Some(drained(node)))]),
        ["keep", node] => world.push(&format!("keep {node}"), &[(&format!("hosts/{node}.yaml"), None)]),
        ["budget", name, least] => world.push("budget", &[(&format!("{name}/budget.yaml"), Some(budget(name, least)))]),
        ["set", name, replicas, image] => {
            let text = stateful(name, number(replicas), image, false, false);
            world.push(name, &[(&format!("{name}/{name}.yaml"), Some(text))]);
        }
        ["leased", name, replicas, image] => {
            world.push(name, &[(&format!("{name}/{name}.yaml"), Some(leased(name, number(replicas), image)))]);
        }
        ["push", ..] => {
            let text = line.trim_start_matches("push ").trim_matches('"').replace('|', "\n\n");
            world.push(&text, &[]);
        }
        ["kill", node] => world.kill_container(&NodeName::new(*node)),
        ["delete", node] => world.delete_container(&NodeName::new(*node)),
        ["cut", node] => world.partition(&NodeName::new(*node), true),
        ["heal", node] => world.partition(&NodeName::new(*node), false),
        ["crash", "controller"] => world.crash_controller(Duration::from_secs(2)),
        ["crash", "agent", node] => world.crash_agent(&NodeName::new(*node), Duration::from_secs(2)),
        ["reboot", node] => world.reboot(&NodeName::new(*node), Duration::from_secs(5)),
        ["lose", node] => world.lose_host(&NodeName::new(*node)),
        ["replace", node] => world.replace_host(&NodeName::new(*node)),
        ["fill", node] => world.fill_disk(&NodeName::new(*node), true),
        ["empty", node] => world.fill_disk(&NodeName::new(*node), false),
        ["leave", node, time] => {
            world.announce(&NodeName::new(*node), Duration::from_secs(number(time.trim_end_matches('s'))));
        }
        ["pods"] => world.say_pods(),
        _ => panic!("not understood: {line:?}"),
    }
}
