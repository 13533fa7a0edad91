//! What the names of images stand for: found out once for each template.

use super::world::World;

impl World {
    /// What runs of `web`, sorted: the letter of the template, and the digest of its image.
    fn images(&self) -> String {
        let pods = self.agents.values().flat_map(|agent| agent.pods.values()).filter(|pod| pod.stopping.is_none());
        let mut images: Vec<String> =
            pods.map(|pod| format!("{}={}", super::world::letter(&pod.run.hash), pod.digest.as_deref().unwrap_or("?"))).collect();
        images.sort();
        images.join(" ")
    }

    fn moves_to(&mut self, digest: &str) {
        self.registry = Some(digest.to_owned());
    }
}

#[test]
fn a_pod_that_is_placed_later_runs_the_image_that_the_first_one_found() {
    let mut world = World::new(&["n1", "n2"]);
    world.moves_to("old");
    world.push("deployment web a 1");
    world.seconds(10);
    world.moves_to("new");
    world.push("deployment web a 3");
    world.seconds(10);
    assert_eq!(world.images(), "a=old a=old a=old");
    world.kill_one("web");
    world.seconds(10);
    assert_eq!(world.images(), "a=old a=old a=old", "in place of one that was lost");
}

#[test]
fn another_template_finds_out_anew_and_the_old_one_keeps_what_it_had() {
    let mut world = World::new(&["n1", "n2"]);
    world.moves_to("old");
    world.push("deployment web a 3");
    world.seconds(10);
    world.moves_to("new");
    world.broken.insert('b');
    world.push("deployment web b 3 deadline=30");
    world.seconds(60);
    assert_eq!(world.images(), "a=old a=old a=old b=new");
    world.restart(false);
    world.greet();
    world.push("deployment web b 3 deadline=30");
    world.moves_to("newest");
    world.seconds(5);
    assert_eq!(world.images(), "a=old a=old a=old b=new");
    world.push("deployment web a 4");
    world.seconds(60);
    assert_eq!(world.images(), "a=old a=old a=old a=old", "also with the next controller");
}

#[test]
fn what_was_found_out_is_in_the_memory() {
    let mut world = World::new(&["n1"]);
    world.moves_to("old");
    world.push("deployment web a 1");
    world.seconds(10);
    let file = &world.files["current/shop/Deployment/web.yaml"];
    assert!(file.contains("\"nginx:a\": old"), "{file}");
    world.push("deployment web a 0");
    world.seconds(10);
    world.moves_to("new");
    world.restart(false);
    world.greet();
    world.push("deployment web a 2");
    world.seconds(10);
    assert_eq!(world.images(), "a=old a=old", "of a template without a pod too");
}
