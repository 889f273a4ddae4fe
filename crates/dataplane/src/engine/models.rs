//! The engine in every order in which few threads can meet in it: packets that look while a reload
//! exchanges policy and inventory, and while their receiver's place is taken away.

use std::sync::OnceLock;

use viaduct_control_plane::Plan;
use viaduct_topology::inventory::{AttachmentId, Change};
use viaduct_wire::VNET_HEADER_LEN;

use super::*;
use crate::sync::model::{explore, spawn, together};

/// A client and a database in `group`, of two groups that admit these ports.
fn network(a: u16, b: u16, group: &str) -> String {
    format!(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      data: {{ cidr_block: 10.0.2.0/24, availability_zone: a }}
    security_groups:
      a: {{ ingress: [ {{ protocol: udp, ports: {a}, from: 10.0.0.0/16 }} ] }}
      b: {{ ingress: [ {{ protocol: udp, ports: {b}, from: 10.0.0.0/16 }} ] }}
    instances:
      client: {{ subnet: data, private_ip: 10.0.2.9, security_groups: [a] }}
      db: {{ subnet: data, private_ip: 10.0.2.10, security_groups: [{group}] }}
"
    )
}

/// A topology, and what it takes to get there.
struct Network {
    topology: Topology,
    plan: Plan,
    changes: Vec<Change>,
}

impl Network {
    fn load(text: &str, previous: Option<&Self>) -> Self {
        let loaded = viaduct_config_plane::load("model.yaml", text)
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let nothing = Plan::default();
        let before = previous.map_or(&nothing, |previous| &previous.plan);
        let plan = viaduct_control_plane::plan_after(before, &loaded.topology).expect("the plan");
        let changes = viaduct_control_plane::changes(before, &plan);
        Self { topology: loaded.topology, plan, changes }
    }

    fn id(&self, name: &str) -> AttachmentId {
        let named = self.plan.attachments.iter().find(|attachment| attachment.name == name);
        named.expect("an attachment of this name").id
    }
}

/// Three topologies, read once for all orders. From the first to the second the database's group and
/// the groups' rules change together: the new group under the old rules, and the old group under the
/// new rules, let 7000 pass and refuse 53. The third admits 54 in the place of 53.
fn networks() -> &'static [Network; 3] {
    static NETWORKS: OnceLock<[Network; 3]> = OnceLock::new();
    NETWORKS.get_or_init(|| {
        let first = Network::load(&network(53, 7000, "a"), None);
        let second = Network::load(&network(7000, 53, "b"), Some(&first));
        let third = Network::load(&network(54, 7000, "a"), Some(&first));
        [first, second, third]
    })
}

/// An engine with the first topology and everything attached.
fn engine() -> Arc<Engine> {
    let [one, ..] = networks();
    let engine = Engine::new(EngineConfig { connections: 4, seed: 7 });
    engine.reload(&one.topology, &one.changes, Moment::ZERO).expect("the first topology");
    for attachment in &one.plan.attachments {
        engine.attached(attachment.id, 1500);
    }
    Arc::new(engine)
}

/// A datagram from the client to the database.
fn datagram(port: u16) -> Vec<u8> {
    let mut buffer = vec![0; VNET_HEADER_LEN];
    etherparse::PacketBuilder::ipv4([10, 0, 2, 9], [10, 0, 2, 10], 64)
        .udp(5000, port)
        .write(&mut buffer, b"?")
        .expect("a datagram");
    buffer
}

/// What comes of a datagram to this port: where it came out, or why not.
fn send(engine: &Engine, port: u16, scratch: &mut Scratch) -> Result<AttachmentId, Reason> {
    let from = networks()[0].id("instance/client");
    match engine.forward(&mut datagram(port), from, Moment::ZERO, scratch) {
        Verdict::Forward { target, .. } => Ok(target),
        Verdict::Drop(dropped) | Verdict::Answer(dropped) => Err(dropped.reason),
        Verdict::Held | Verdict::Split { .. } => panic!("nothing is in fragments"),
    }
}

/// Runs a scenario on a stack that is large enough for loading a topology.
fn explore_engine(scenario: fn()) {
    networks();
    explore(move || spawn(scenario).join().expect("the scenario"));
}

/// What both topologies let pass is not lost, and what neither lets pass does not, at whatever moment
/// of the reload it looks.
#[test]
fn a_packet_meets_one_topology_whole() {
    explore_engine(|| {
        let engine = engine();
        let [one, other, _] = networks();
        let db = one.id("instance/db");
        let packets = {
            let engine = Arc::clone(&engine);
            move || {
                let mut scratch = engine.scratch([1; 32]);
                assert_eq!(send(&engine, 53, &mut scratch), Ok(db));
                let refused = send(&engine, 7000, &mut scratch);
                assert_eq!(refused, Err(Reason::EniSgRulesMismatch));
            }
        };
        let reload = {
            let engine = Arc::clone(&engine);
            move || {
                let generation = engine.generation();
                let next = engine.reload(&other.topology, &other.changes, Moment::ZERO);
                assert!(next.expect("the reload") > generation);
            }
        };
        together([Box::new(packets), Box::new(reload)]);
    });
}

/// A reload that is over is over for everybody: no packet that sets out later is judged by what was.
#[test]
fn a_packet_after_a_reload_meets_the_new_topology() {
    explore_engine(|| {
        let engine = engine();
        let mut scratch = engine.scratch([1; 32]);
        let [.., later] = networks();
        let reload = {
            let engine = Arc::clone(&engine);
            spawn(move || {
                engine.reload(&later.topology, &later.changes, Moment::ZERO).expect("the reload");
            })
        };
        let early = send(&engine, 53, &mut scratch);
        assert!(matches!(early, Ok(_) | Err(Reason::EniSgRulesMismatch)), "{early:?}");
        reload.join().expect("the reload");
        assert_eq!(send(&engine, 54, &mut scratch), Ok(later.id("instance/db")));
    });
}

/// The receiver's place is removed while packets are on their way to it: from then on none is delivered
/// there, its connection ends, and nothing is left.
#[test]
fn an_attachment_is_removed_while_packets_are_forwarded() {
    explore_engine(|| {
        let engine = engine();
        let db = networks()[0].id("instance/db");
        let packets = {
            let engine = Arc::clone(&engine);
            move || {
                let mut scratch = engine.scratch([1; 32]);
                let sent = send(&engine, 53, &mut scratch);
                assert!(
                    matches!(sent, Err(Reason::AttachmentDown | Reason::NoPossibleDestination))
                        || sent == Ok(db),
                    "{sent:?}"
                );
            }
        };
        let removal = {
            let engine = Arc::clone(&engine);
            move || {
                engine.remove_attachment(db).expect("it is there");
                let mut scratch = engine.scratch([2; 32]);
                assert!(send(&engine, 53, &mut scratch).is_err(), "delivered to nobody");
            }
        };
        together([Box::new(packets), Box::new(removal)]);
        let mut scratch = engine.scratch([3; 32]);
        engine.expire(Moment::from_millis(1 << 40), 100, &mut scratch);
        assert_eq!(engine.connection_count(), 0);
    });
}
