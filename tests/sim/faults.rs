//! What goes wrong.

use crate::world::{Item, World};
use driftless::agent::core as agent;
use driftless::agent::runtime::RunState;
use driftless::controller::Event;
use driftless::model::{Assignment, Epoch, Generation, NodeName, RuntimeKind, StopOrder, StopReason};
use std::collections::BTreeMap;
use std::time::Duration;

impl World {
    pub fn crash_controller(&mut self, back_after: Duration) {
        if self.reign.take().is_none() {
            return;
        }
        self.say("controller crashes");
        self.life += 1;
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for node in names {
            self.cut(&node);
        }
        self.plan(back_after, Item::StartController);
    }

    pub fn crash_agent(&mut self, name: &NodeName, back_after: Duration) {
        let now = self.now;
        if self.nodes[name].agent.is_none() {
            return;
        }
        self.cut(name);
        self.nodes.get_mut(name).expect("a known node").crash(now);
        self.say(format!("agent {name} crashes"));
        self.plan(back_after, Item::StartAgent { node: name.clone() });
    }

    pub fn partition(&mut self, name: &NodeName, partitioned: bool) {
        let node = self.nodes.get_mut(name).expect("a known node");
        if node.partitioned == partitioned {
            return;
        }
        node.partitioned = partitioned;
        self.say(if partitioned { format!("{name} is cut off") } else { format!("{name} is reachable again") });
        if partitioned {
            self.cut(name);
        }
    }

    /// A link is cut for so long.
    pub fn cut_for(&mut self, name: &NodeName, time: Duration) {
        self.partition(name, true);
        self.plan(time, Item::Reachable { node: name.clone() });
    }

    /// A host goes down, and comes back: nothing runs on it any more, and what its agent wrote is still there.
    pub fn reboot(&mut self, name: &NodeName, back_after: Duration) {
        if self.nodes[name].agent.is_none() {
            return;
        }
        self.crash_agent(name, back_after);
        self.nodes.get_mut(name).expect("a known node").host.reboot();
        self.say(format!("{name} reboots"));
    }

    /// A host is lost, with everything that was on it. Its name is free for another one.
    pub fn lose_host(&mut self, name: &NodeName) {
        if self.nodes[name].lost {
            return;
        }
        self.crash_agent(name, Duration::ZERO);
        let node = self.nodes.get_mut(name).expect("a known node");
        node.lost = true;
        node.host.reboot();
        self.say(format!("{name} is lost for good"));
    }

    /// A new host takes the name of a lost one.
    pub fn replace_host(&mut self, name: &NodeName) {
        if self.nodes[name].lost {
            self.nodes.get_mut(name).expect("a known node").replace();
            self.invariants.replaced(name);
            self.say(format!("another host takes the name {name}"));
            self.plan(Duration::ZERO, Item::StartAgent { node: name.clone() });
        }
    }

    /// The engine is killed and comes back, which is the end of what it ran; nobody tells the agent.
    pub fn restart_engine(&mut self, name: &NodeName, back_after: Duration) {
        self.set_away(name, true);
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("a known node");
        let now = node.local(now);
        let running = node.host.containers().filter(|container| container.state == RunState::Running);
        let ids: Vec<_> = running.map(|container| container.id.clone()).collect();
        node.host.lose_events = true;
        for id in ids {
            node.host.crash(&id, 137, now);
        }
        self.follow(name, Vec::new());
        self.plan(back_after, Item::EngineBack { node: name.clone() });
    }

    /// The clock of a host is set while its agent is restarted.
    pub fn set_clock(&mut self, name: &NodeName, ahead_ms: i64, back_after: Duration) {
        self.crash_agent(name, back_after);
        self.nodes.get_mut(name).expect("a known node").set_clock(ahead_ms);
        self.say(format!("the clock of {name} is {ahead_ms} ms ahead"));
        self.follow(name, Vec::new());
    }

    /// The clock on the controller's wall is set.
    pub fn set_wall(&mut self, ahead_ms: i64) {
        self.say(format!("the controller's wall clock is {ahead_ms} ms ahead"));
        self.tell_controller(Event::ClockSet { ahead_ms });
    }

    /// The disk of a host has no room any more, or has it again.
    pub fn fill_disk(&mut self, name: &NodeName, full: bool) {
        let node = self.nodes.get_mut(name).expect("a known node");
        if node.host.disk_full != full {
            node.host.disk_full = full;
            self.say(if full { format!("the disk of {name} is full") } else { format!("the disk of {name} has room again") });
        }
    }

    /// A host announces its absence.
    pub fn announce(&mut self, name: &NodeName, away: Duration) {
        let life = self.nodes[name].life;
        self.say(format!("{name} says that it may be away for {} s", away.as_secs()));
        self.tell_agent(name, life, agent::Event::Leave(away));
    }

    /// A container dies by itself.
    pub fn kill_container(&mut self, name: &NodeName) {
        let (draw, now) = (self.rng.next(), self.now);
        let node = self.nodes.get_mut(name).expect("a known node");
        let now = node.local(now);
        let Some((id, container)) = node.running(draw) else { return };
        node.host.crash(&id, 137, now);
        self.say(format!("{container} on {name} is killed"));
        self.follow(name, Vec::new());
    }

    /// A container is deleted behind the agent's back.
    pub fn delete_container(&mut self, name: &NodeName) {
        let (draw, now) = (self.rng.next(), self.now);
        let node = self.nodes.get_mut(name).expect("a known node");
        let now = node.local(now);
        let Some((id, container)) = node.running(draw) else { return };
        node.host.vanish(&id, now);
        self.say(format!("{container} on {name} is deleted by a stranger"));
        self.follow(name, Vec::new());
    }

    /// The engine of a node goes away or comes back; its containers run on.
    pub fn set_away(&mut self, name: &NodeName, away: bool) {
        let node = self.nodes.get_mut(name).expect("a known node");
        if node.away != away {
            node.away = away;
            node.host.lose_events = false;
            node.host.set_down(RuntimeKind::Docker, away);
            self.say(if away { format!("the engine of {name} goes away") } else { format!("the engine of {name} is back") });
        }
    }

    /// An assignment of an earlier reign, or an earlier one of this, arrives late and says to stop everything: the agent refuses it.
    pub fn send_stale(&mut self, name: &NodeName) {
        let (now, of_reign) = (self.now, self.rng.chance(50));
        let node = &self.nodes[name];
        let Some(hello) = node.greet(now) else { return };
        let (epoch, generation) = hello.assignment;
        let stale = match (epoch.0, generation.0) {
            (_, 1..) if of_reign => (epoch, Generation(generation.0 - 1)),
            (1.., _) => (Epoch(epoch.0 - 1), Generation(generation.0 + 1_000)),
            _ => return,
        };
        let stop = |uid| (uid, StopOrder { uid, reason: StopReason::Pruned, commit: None });
        let assignment = Assignment {
            epoch: stale.0,
            generation: stale.1,
            run: BTreeMap::new(),
            stop: hello.pods.iter().map(|pod| stop(pod.uid)).collect(),
            erase: hello.volumes.clone(),
            templates: BTreeMap::new(),
        };
        let life = node.life;
        self.say(format!("{name} is told {}.{} after {}.{}", stale.0.0, stale.1.0, epoch.0, generation.0));
        self.tell_agent(name, life, agent::Event::Assigned(Box::new(assignment)));
        if self.nodes[name].greet(now).is_some_and(|after| after.assignment != hello.assignment) {
            self.fail(&format!("{name} accepts a stale assignment"));
        }
    }
}
