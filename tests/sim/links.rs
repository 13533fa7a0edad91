//! The links between the controller and its agents.

use crate::world::{Down, Item, Up, World};
use driftless::agent::core as agent;
use driftless::controller::Event;
use driftless::model::{BootMoment, NodeName};
use std::time::Duration;

/// The heartbeat of an agent.
const HEARTBEAT: Duration = Duration::from_secs(3);

impl World {
    /// Whether a message gets through at this moment.
    pub(crate) fn lost(&mut self, node: &NodeName) -> bool {
        let percent = self.weather.lost_percent;
        self.nodes[node].partitioned || self.rng.chance(percent)
    }

    pub(crate) fn send_down(&mut self, node: &NodeName, message: Down) {
        let Some(link) = self.nodes.get(node).and_then(|node| node.link) else { return };
        if self.lost(node) {
            return self.cut(node);
        }
        for after in self.arrivals(node, true) {
            self.plan(after, Item::Down { node: node.clone(), link, message: message.clone() });
        }
    }

    pub(crate) fn send_up(&mut self, node: &NodeName, message: Up) {
        let Some(link) = self.nodes.get(node).and_then(|node| node.link) else { return };
        if self.lost(node) {
            return self.cut(node);
        }
        for after in self.arrivals(node, false) {
            self.plan(after, Item::Up { node: node.clone(), link, message: message.clone() });
        }
    }

    /// When a message arrives: once, or twice, never before one that was sent earlier.
    pub(crate) fn arrivals(&mut self, node: &NodeName, down: bool) -> Vec<Duration> {
        let copies = if self.rng.chance(self.weather.doubled_percent) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let drawn = self.now + Duration::from_millis(self.rng.between(1, self.weather.delay_ms_max.max(1)));
                let last = self.delivered.entry((node.clone(), down)).or_insert(drawn);
                *last = drawn.max(*last);
                last.since(self.now)
            })
            .collect()
    }

    /// Breaks a link: what is under way on it is lost, and both sides notice.
    pub fn cut(&mut self, node: &NodeName) {
        let Some(state) = self.nodes.get_mut(node) else { return };
        let Some(link) = state.link.take() else { return };
        let life = state.life;
        self.plan(Duration::from_millis(5), Item::Up { node: node.clone(), link, message: Up::Closed });
        self.plan(Duration::from_millis(5), Item::Parted { node: node.clone(), life });
        self.reconnect_soon(node);
    }

    /// An agent notices that its link is broken, unless it has another by now: it knows one link after the other.
    pub(crate) fn part(&mut self, node: &NodeName, life: u64) {
        if self.nodes[node].link.is_none() {
            self.tell_agent(node, life, agent::Event::Disconnected);
        }
    }

    pub(crate) fn reconnect_soon(&mut self, node: &NodeName) {
        let life = self.nodes[node].life;
        let after = Duration::from_millis(self.rng.between(50, 1_500));
        self.plan(after, Item::Connect { node: node.clone(), life });
    }

    pub(crate) fn connect(&mut self, name: &NodeName, life: u64) {
        let node = &self.nodes[name];
        if node.life != life || node.link.is_some() || node.agent.is_none() {
            return;
        }
        if node.partitioned || self.reign.is_none() {
            return self.reconnect_soon(name);
        }
        let now = self.now;
        let Some(hello) = self.nodes[name].greet(now) else { return self.reconnect_soon(name) };
        self.sequence += 1;
        let link = self.sequence;
        self.nodes.get_mut(name).expect("a known node").link = Some(link);
        self.send_up(name, Up::Hello(Box::new(hello)));
        self.plan(HEARTBEAT, Item::Heartbeat { node: name.clone(), link });
        self.tell_agent(name, life, agent::Event::Connected);
    }

    pub(crate) fn heartbeat(&mut self, node: NodeName, link: u64) {
        if self.nodes[&node].link == Some(link) {
            let sent = BootMoment(self.now.0);
            self.send_up(&node, Up::Heartbeat { sent });
            self.plan(HEARTBEAT, Item::Heartbeat { node, link });
        }
    }

    pub(crate) fn receive_up(&mut self, node: NodeName, link: u64, message: Up) {
        let current = self.nodes[&node].link;
        let event = match message {
            Up::Closed if current.is_none() => Event::AgentLost { node },
            Up::Closed => return,
            _ if current != Some(link) => return,
            Up::Hello(hello) => {
                let here = self.nodes[&node].host.containers().map(|container| container.labels.uid).collect();
                self.invariants.greeted(&node, &hello, &here);
                Event::AgentHello { node, hello }
            }
            Up::Heartbeat { sent } => Event::AgentHeartbeat { node, sent },
            Up::Report(report) => {
                self.invariants.reported(&node, &report);
                Event::AgentReport { node, report }
            }
        };
        self.tell_controller(event);
    }

    pub(crate) fn receive_down(&mut self, node: &NodeName, link: u64, message: Down) {
        if self.nodes[node].link != Some(link) {
            return;
        }
        let life = self.nodes[node].life;
        let event = match message {
            Down::Assign(assignment) => {
                self.invariants.delivered(node, &assignment);
                agent::Event::Assigned(Box::new((*assignment).clone()))
            }
            Down::Network(network) => agent::Event::Network(network),
            Down::Ingress(table) => agent::Event::Ingress(table),
            Down::Renewed(renewal) => agent::Event::Renewed(renewal),
            Down::Endpoints(set) => agent::Event::Endpoints(Box::new((*set).clone())),
        };
        self.tell_agent(node, life, event);
    }
}
