//! Simulated fabrics in the place of live ones: a model of what their daemons say is the same again, and is said not to be where it is not.

use super::*;
use crate::sim::Settings;
use crate::sim::fault::Fault;
use crate::sim::plan::{Picture, compare};
use weft_bgp::time::Duration;
use weft_fabric::node::Node;

/// Virtual time within which everything must be at rest.
const LIMIT: Duration = Duration::from_secs(60);

fn plant(file: &str) -> Sim {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(file);
    let topology = Topology::load(&path, &|_| None).unwrap();
    let configs = Sim::load(&topology).unwrap();
    let mut sim = Sim::new(&topology, &configs, Settings::default(), 5).unwrap();
    sim.settle(LIMIT).unwrap();
    sim
}

/// What its daemons answer.
fn asked(sim: &Sim) -> Fabric {
    let one = |node: &Node| {
        let ask = |question| api::answer(node, sim.now(), &Surroundings::default(), &question).body;
        let all = || Selection::Page { after: None, limit: MAX_LIMIT };
        let (
            Body::Configuration(config),
            Body::Interfaces(interfaces),
            Body::Neighbors(neighbors),
            Body::Routes(routes),
            Body::Bgp(paths),
            Body::Originated(originated),
        ) = (
            ask(Question::Configuration),
            ask(Question::Interfaces),
            ask(Question::Neighbors),
            ask(Question::Routes(all())),
            ask(Question::Bgp(all())),
            ask(Question::Originated),
        )
        else {
            panic!("other answers than asked for")
        };
        Seen {
            config,
            interfaces: interfaces.interfaces,
            neighbors: neighbors.neighbors,
            routes: routes.routes,
            paths: paths.routes,
            originated: originated.originated,
        }
    };
    let running = sim.machines().iter().filter_map(|machine| Some((machine.name.clone(), machine.daemon.as_deref()?)));
    running.map(|(name, node)| (name, one(node))).collect()
}

fn modelled_again(fabric: &Fabric) -> (Sim, Vec<String>) {
    let (world, notes) = world(fabric).unwrap();
    let mut sim = world.cold(77, 0).unwrap();
    world.rest(&mut sim, 0).unwrap();
    (sim, notes)
}

#[test]
fn a_model_of_a_plant_is_the_plant() {
    // One with addresses, and racks with several machines on a bridge; one without any.
    for file in ["two-racks.clab.yml", "unnumbered.clab.yml"] {
        let live = plant(file);
        let fabric = asked(&live);
        let (model, notes) = modelled_again(&fabric);
        assert_eq!((differences(&model, &fabric), notes), (Vec::new(), Vec::new()), "{file}");
        let plan = compare(&Picture::of(&live), &Picture::of(&model), &BTreeSet::new());
        assert!(plan.flows > 100 && plan.is_good() && plan.flows_moved + plan.flows_new == 0, "{file}: {plan:?}");
    }
}

#[test]
fn a_link_that_is_down_is_not_in_the_model() {
    let mut live = plant("two-racks.clab.yml");
    let cable = live.cable("spine1", "tor1");
    live.inject(Fault::Unplug(cable));
    live.settle(LIMIT).unwrap();
    let fabric = asked(&live);
    let (model, notes) = modelled_again(&fabric);
    assert_eq!(differences(&model, &fabric), Vec::<String>::new());
    assert!(notes.iter().any(|note| note.starts_with("tor1: the session with spine1 is ")), "{notes:?}");
    assert!(model.network.between(model.id("spine1"), model.id("tor1")).is_none());
}

#[test]
fn neighbors_that_were_not_asked_announce_what_they_announced() {
    for (file, outside) in [("two-racks.clab.yml", "border"), ("unnumbered.clab.yml", "border")] {
        let mut fabric = asked(&plant(file));
        fabric.remove(outside).unwrap();
        assert_eq!(beside_strangers(&fabric), BTreeSet::from(["spine1".to_owned(), "spine2".to_owned()]), "{file}");
        let (model, notes) = modelled_again(&fabric);
        assert_eq!(differences(&model, &fabric), Vec::<String>::new(), "{file}");
        assert!(notes[0].starts_with("outside1 stands for border of spine1, border of spine2, AS "), "{notes:?}");
    }
}

#[test]
fn what_is_announced_beside_the_file_is_in_the_model() {
    let mut fabric = asked(&plant("unnumbered.clab.yml"));
    let route = OriginatedRoute {
        prefix: "10.64.9.0/27".parse().unwrap(),
        source: "kernel".to_owned(),
        why: "table 119 protocol 30".to_owned(),
        announced: true,
        communities: vec!["65000:7".to_owned()],
        large_communities: vec!["1:2:3".to_owned()],
        weight: None,
        owner: None,
        lease_s: None,
    };
    fabric.get_mut("spine1").unwrap().originated.push(route);
    let (model, _) = modelled_again(&fabric);
    let config = &model.machine(model.id("spine1")).config;
    let told = config.originate.iter().find(|route| route.why.starts_with("table 119")).unwrap();
    assert_eq!((&told.communities[..], &told.large_communities[..]), (&[65_000 << 16 | 7][..], &[[1, 2, 3]][..]));
    let found = differences(&model, &fabric);
    assert!(found.iter().any(|line| line.ends_with("10.64.9.0/27: no route; in the model local")), "{found:?}");
}

#[test]
fn where_model_and_fabric_part_is_said() {
    let mut fabric = asked(&plant("two-racks.clab.yml"));
    let tor = fabric.get_mut("tor1").unwrap();
    let default = tor.routes.iter_mut().find(|route| route.prefix.prefix_len() == 0).unwrap();
    let gone = default.via.pop().unwrap().interface;
    let left = default.via[0].interface.clone();
    let (model, _) = modelled_again(&fabric);
    let mut both = [left.clone(), gone];
    both.sort();
    let expected = format!("tor1: 0.0.0.0/0: bgp via {left}; in the model bgp via {}, {}", both[0], both[1]);
    assert_eq!(differences(&model, &fabric), [expected]);
}

#[test]
fn a_network_without_a_bridge_among_many_is_refused() {
    let mut fabric = asked(&plant("two-racks.clab.yml"));
    for seen in fabric.values_mut() {
        for link in &mut seen.interfaces {
            link.kind = None;
        }
    }
    let error = world(&fabric).unwrap_err();
    assert!(error.contains("share this network") && error.contains("remedy"), "{error}");
}
