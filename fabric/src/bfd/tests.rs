//! Every state × every event of a session as a table (RFC 5880 §6.2, §6.8.6), then what the table cannot show: time.

mod pair;

use super::*;
use std::fmt::Write as _;

const NOW: Instant = Instant(1_000_000_000_000);
const LINK: IfIndex = IfIndex(7);
const THEIRS: u32 = 0xbeef;
const MS: u64 = 1_000;

fn timers(interval_ms: u32, multiplier: u8) -> Timers {
    Timers { transmit_us: interval_ms * 1_000, receive_us: interval_ms * 1_000, multiplier }
}

fn peer(number: u32) -> IpAddr {
    IpAddr::from([10, 0, u8::try_from(number / 250).unwrap(), u8::try_from(number % 250).unwrap()])
}

fn wanted(number: u32) -> Wanted {
    Wanted {
        peer: PeerId(number),
        remote: peer(number),
        local: None,
        path: Path::SingleHop(LINK),
        timers: timers(50, 3),
        on_failure: OnFailure::FailOver,
        is_established: false,
        known_failure: 0,
    }
}

/// The machine with a peer whose packets the test writes.
struct Rig {
    bfd: Bfd,
    now: Instant,
    wanted: Wanted,
    /// Everything but packets, as it came.
    said: Vec<Output>,
}

impl Rig {
    fn new(wanted: Wanted) -> Self {
        let mut rig = Self { bfd: Bfd::new(1), now: NOW, wanted: wanted.clone(), said: Vec::new() };
        rig.give(Input::Sessions(vec![wanted]));
        rig
    }

    fn give(&mut self, input: Input) {
        self.bfd.handle(self.now, input);
        while let Some(output) = self.bfd.poll() {
            self.said.push(output);
        }
    }

    fn sent(&mut self) -> Vec<Control> {
        let sent = std::iter::from_fn(|| self.bfd.poll_transmit(self.now));
        sent.map(|(_, packet)| Control::decode(&packet, packet.len()).unwrap()).collect()
    }

    /// What the peer says by default: 50 ms × 3, and it knows us.
    fn packet(&self, state: State) -> Control {
        Control {
            diagnostic: Diagnostic::NONE,
            state,
            poll: false,
            is_final: false,
            independent: false,
            demand: false,
            detect_mult: 3,
            my_discriminator: THEIRS,
            your_discriminator: self.ours(),
            desired_min_tx_us: 50_000,
            required_min_rx_us: 50_000,
            required_min_echo_rx_us: 0,
        }
    }

    fn ours(&self) -> u32 {
        let closing = self.bfd.entries.values().next().unwrap();
        closing.session.discriminator
    }

    fn heard(&self, packet: &Control) -> Heard {
        let first = packet.encode();
        Heard { is_multihop: false, link: LINK, from: self.wanted.remote, ttl: 255, first, length: first.len() }
    }

    fn hear(&mut self, packet: &Control) {
        let heard = self.heard(packet);
        self.give(Input::Packet(heard));
    }

    fn hear_state(&mut self, state: State) {
        self.hear(&self.packet(state));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.give(Input::Tick);
    }

    fn state(&self) -> State {
        self.bfd.entries.values().next().unwrap().session.state
    }

    fn status(&self) -> Status {
        self.bfd.status().next().unwrap()
    }

    /// In a state, with nothing to be sent.
    fn in_state(state: State) -> Self {
        let mut rig = Self::new(wanted(1));
        rig.sent();
        if state != State::Down {
            rig.hear_state(State::Down);
        }
        if matches!(state, State::Up | State::AdminDown) {
            rig.hear_state(State::Init);
        }
        rig.sent();
        if state == State::Up {
            let last = Control { is_final: true, ..rig.packet(State::Up) };
            rig.hear(&last);
        }
        if state == State::AdminDown {
            rig.give(Input::Sessions(Vec::new()));
        }
        rig.sent();
        assert_eq!(rig.state(), state);
        rig.said.clear();
        rig
    }

    /// Up, and the poll that tells the fast interval is over.
    fn up() -> Self {
        Self::in_state(State::Up)
    }

    /// Where it sends at its own pace for so long, hearing the peer every 40 ms: when each packet went.
    fn times(&mut self, time: Duration, answer: Option<Control>) -> Vec<Instant> {
        let (end, mut times) = (self.now + time, Vec::new());
        let mut next = if answer.is_some() { self.now } else { end };
        while self.now < end {
            let due = self.bfd.next_timeout().map_or(end, |(at, _)| at).min(next).min(end);
            self.now = due.max(self.now);
            if let Some(packet) = answer.filter(|_| self.now >= next) {
                self.hear(&packet);
                next = self.now + Duration::from_millis(40);
            }
            self.give(Input::Tick);
            times.extend(self.sent().iter().map(|_| self.now));
        }
        times
    }
}

fn describe(packet: &Control) -> String {
    let flags = format!("{}{}", if packet.poll { " P" } else { "" }, if packet.is_final { " F" } else { "" });
    format!("{}{flags} diag {} tx {} ms", packet.state, packet.diagnostic.0, packet.desired_min_tx_us / 1_000)
}

type Event = (&'static str, fn(&mut Rig));

const EVENTS: [Event; 9] = [
    ("AdminDown heard", |rig| rig.hear_state(State::AdminDown)),
    ("Down heard", |rig| rig.hear_state(State::Down)),
    ("Init heard", |rig| rig.hear_state(State::Init)),
    ("Up heard", |rig| rig.hear_state(State::Up)),
    ("Up with Poll heard", |rig| rig.hear(&Control { poll: true, ..rig.packet(State::Up) })),
    ("Up with Final heard", |rig| rig.hear(&Control { is_final: true, ..rig.packet(State::Up) })),
    ("no timer due", |rig| rig.pass(Duration::from_micros(1))),
    ("detection time over", |rig| rig.pass(Duration::from_millis(150))),
    ("a second passes", |rig| rig.pass(Duration::from_secs(1))),
];

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    let mut table = String::new();
    for (name, event) in EVENTS {
        for state in [State::AdminDown, State::Down, State::Init, State::Up] {
            let mut rig = Rig::in_state(state);
            event(&mut rig);
            let next = rig.bfd.entries.values().next().map_or("forgotten", |entry| entry.session.state.name());
            let said = rig.said.clone();
            let sent: Vec<String> = rig.sent().iter().map(describe).collect();
            let said = said.iter().map(|output| match output {
                Output::Alive(_, alive) => if *alive { "alive" } else { "dead" }.to_owned(),
                Output::Changed(notice) => format!("{:?}", notice.cause),
                Output::Open(..) => "open".to_owned(),
                Output::Close(_) => "close".to_owned(),
            });
            let said: Vec<String> = said.collect();
            let line = format!("{name:20} {state:9} ▶ {next:9} {:24} {}", said.join(", "), sent.join("; "));
            writeln!(table, "{}", line.trim_end()).unwrap();
        }
    }
    let golden = include_str!("table.txt");
    assert!(table == golden, "the table is now:\n{table}");
}

/// RFC 5880 §6.8.3: at most one packet a second while not Up, whatever is configured; and §6.8.7: jittered.
#[test]
fn a_session_that_is_not_up_sends_once_a_second_at_most() {
    let mut rig = Rig::new(wanted(1));
    let times = rig.times(Duration::from_secs(60), None);
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1].since(pair[0]).as_millis().try_into().unwrap()).collect();
    assert!(gaps.iter().all(|gap| (750..=1_000).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().max() > gaps.iter().min(), "{gaps:?}");
}

/// RFC 5880 §6.8.7: between 75 and 100 % of the interval; between 75 and 90 % where a single miss counts.
#[test]
fn each_interval_is_shortened_at_random() {
    for (multiplier, most) in [(3, 50 * MS), (1, 45 * MS)] {
        let mut rig = Rig::up();
        rig.give(Input::Sessions(vec![Wanted { timers: timers(50, multiplier), ..wanted(1) }]));
        rig.sent();
        let answer = rig.packet(State::Up);
        let times = rig.times(Duration::from_secs(20), Some(answer));
        let gaps: Vec<u64> =
            times.windows(2).map(|pair| pair[1].since(pair[0]).as_micros().try_into().unwrap()).collect();
        assert!(gaps.iter().all(|gap| (75 * 50 * MS / 100..=most).contains(gap)), "{gaps:?}");
        let mean = gaps.iter().sum::<u64>() / u64::try_from(gaps.len()).unwrap();
        assert!(gaps.iter().max() > gaps.iter().min() && mean < most, "{mean}");
    }
}

/// RFC 5880 §6.8.2, §6.8.7: never faster than the other end wants to receive.
#[test]
fn the_slower_of_both_ends_sets_the_pace() {
    let mut rig = Rig::up();
    let slow = Control { required_min_rx_us: 400_000, ..rig.packet(State::Up) };
    rig.hear(&slow);
    rig.sent();
    let times = rig.times(Duration::from_secs(20), Some(slow));
    assert!(times.windows(2).all(|pair| pair[1].since(pair[0]).as_millis() >= 300), "{times:?}");
    assert_eq!(rig.status().transmit_us, 400_000);
}

/// RFC 5880 §6.8.3: a reduced Required Min RX Interval counts at once, not only after the interval under way.
#[test]
fn a_faster_pace_that_the_peer_allows_begins_at_once() {
    let mut rig = Rig::up();
    let slow = Control { required_min_rx_us: 10_000_000, ..rig.packet(State::Up) };
    rig.hear(&slow);
    rig.times(Duration::from_millis(200), Some(slow));
    let fast = rig.packet(State::Up);
    rig.hear(&fast);
    let (at, _) = rig.bfd.next_timeout().unwrap();
    assert!(at.since(rig.now) <= Duration::from_millis(50));
}

/// RFC 5880 §6.8.1, §6.8.7: who asks for no packets gets none.
#[test]
fn a_peer_that_wants_no_periodic_packets_gets_none() {
    let mut rig = Rig::up();
    let mute = Control { required_min_rx_us: 0, ..rig.packet(State::Up) };
    rig.hear(&mute);
    rig.sent();
    assert_eq!(rig.times(Duration::from_secs(5), Some(mute)), []);
    // But an answer to a poll is due whatever the timers are.
    rig.hear(&Control { poll: true, ..mute });
    assert!(rig.sent().iter().any(|packet| packet.is_final));
}

/// RFC 5880 §6.8.6: a peer in demand mode is not sent to while both are Up; a poll still is (§6.6).
#[test]
fn a_peer_in_demand_mode_is_left_in_peace() {
    let mut rig = Rig::up();
    let demand = Control { demand: true, ..rig.packet(State::Up) };
    rig.hear(&demand);
    rig.sent();
    assert_eq!(rig.times(Duration::from_secs(2), Some(demand)), []);
    rig.give(Input::Sessions(vec![Wanted { timers: timers(100, 3), ..wanted(1) }]));
    assert!(rig.sent().iter().all(|packet| packet.poll));
}

/// RFC 5880 §6.8.4: the other end's Detect Mult times the slower of both intervals.
#[test]
fn the_detection_time_is_the_peers_multiplier_times_the_agreed_interval() {
    let mut rig = Rig::up();
    rig.hear(&Control { detect_mult: 5, desired_min_tx_us: 80_000, ..rig.packet(State::Up) });
    assert_eq!(rig.status().detection_us, 400_000);
    rig.pass(Duration::from_micros(399_999));
    assert_eq!(rig.state(), State::Up);
    rig.pass(Duration::from_micros(1));
    assert_eq!((rig.state(), rig.status().diagnostic), (State::Down, Diagnostic::TIME_EXPIRED));
}

/// RFC 5880 §6.8.1: after a detection time without packets the other end's discriminator is forgotten, in any state.
#[test]
fn a_silent_peers_discriminator_is_forgotten() {
    for state in [State::Down, State::Init, State::Up] {
        let mut rig = Rig::in_state(state);
        rig.hear_state(State::AdminDown);
        assert_eq!(rig.status().remote_discriminator, THEIRS);
        rig.pass(Duration::from_secs(3));
        assert_eq!(rig.status().remote_discriminator, 0);
        assert!(rig.sent().iter().all(|packet| packet.your_discriminator == 0));
    }
}

/// RFC 5880 §6.5: P stays set until F comes; P and F are never set together.
#[test]
fn a_poll_lasts_until_its_answer() {
    let mut rig = Rig::up();
    rig.give(Input::Sessions(vec![Wanted { timers: timers(100, 3), ..wanted(1) }]));
    let plain = rig.packet(State::Up);
    for _ in 0..10 {
        assert!(rig.sent().iter().all(|packet| packet.poll && packet.desired_min_tx_us == 100_000));
        rig.hear(&plain);
        rig.pass(Duration::from_millis(40));
    }
    rig.hear(&Control { poll: true, ..plain });
    let answers: Vec<_> = rig.sent().into_iter().filter(|packet| packet.is_final).collect();
    assert!(answers.len() == 1 && !answers[0].poll);
    rig.hear(&Control { is_final: true, ..plain });
    rig.pass(Duration::from_millis(100));
    let after = rig.sent();
    assert!(!after.is_empty() && after.iter().all(|packet| !packet.poll && !packet.is_final));
}

/// RFC 5880 §6.5, §6.8.3: an answer that may be one to older values does not end a poll for newer ones.
#[test]
fn a_change_during_a_poll_is_polled_for_again() {
    let mut rig = Rig::up();
    rig.give(Input::Sessions(vec![Wanted { timers: timers(100, 3), ..wanted(1) }]));
    assert!(rig.sent()[0].poll);
    rig.give(Input::Sessions(vec![Wanted { timers: timers(200, 3), ..wanted(1) }]));
    rig.sent();
    let last = Control { is_final: true, ..rig.packet(State::Up) };
    rig.hear(&last);
    assert!(rig.sent()[0].poll);
    assert_eq!(rig.status().transmit_us, 50_000);
    rig.hear(&last);
    assert_eq!(rig.status().transmit_us, 200_000);
}

/// RFC 5880 §6.8.3: a slower pace waits for the end of the poll, else the peer would miss packets; a faster one does not.
#[test]
fn new_intervals_do_not_bounce_a_session() {
    let mut rig = Rig::up();
    let plain = rig.packet(State::Up);
    rig.give(Input::Sessions(vec![Wanted { timers: timers(500, 3), ..wanted(1) }]));
    assert_eq!((rig.status().transmit_us, rig.sent()[0].desired_min_tx_us), (50_000, 500_000));
    // What we may be sent grows at once.
    rig.hear(&plain);
    assert_eq!(rig.status().detection_us, 1_500_000);
    rig.hear(&Control { is_final: true, ..plain });
    assert_eq!(rig.status().transmit_us, 500_000);
    // And shrinks only after the peer knows of it.
    rig.give(Input::Sessions(vec![Wanted { timers: timers(50, 3), ..wanted(1) }]));
    rig.sent();
    rig.hear(&plain);
    assert_eq!((rig.status().transmit_us, rig.status().detection_us), (50_000, 1_500_000));
    rig.hear(&Control { is_final: true, ..plain });
    assert_eq!(rig.status().detection_us, 150_000);
    assert!(!rig.said.iter().any(|output| matches!(output, Output::Changed(_))));
}

/// RFC 5880 §6.8.7: what the other end does not know yet is not kept until the next interval.
#[test]
fn a_new_state_is_told_at_once() {
    let mut rig = Rig::new(wanted(1));
    rig.sent();
    rig.pass(Duration::from_millis(1));
    rig.hear_state(State::Down);
    assert_eq!(rig.sent()[0].state, State::Init);
    rig.hear_state(State::Init);
    assert_eq!(rig.sent()[0].state, State::Up);
}

/// RFC 5880 §6.8.6, the A bit: discarded, because no authentication is in use; the session hears nothing.
#[test]
fn authenticated_packets_are_not_heard() {
    let mut rig = Rig::in_state(State::Down);
    let mut heard = rig.heard(&rig.packet(State::Down));
    heard.first[1] |= 0x04;
    heard.first[3] = 28;
    heard.length = 28;
    rig.give(Input::Packet(heard));
    assert_eq!((rig.state(), rig.bfd.totals().discarded[Discard::Authentication.index()]), (State::Down, 1));
}

/// RFC 5881 §5: what has passed a router is no neighbour's.
#[test]
fn a_single_hop_packet_from_behind_a_router_is_discarded() {
    let mut rig = Rig::in_state(State::Down);
    for ttl in [254, 64, 1, 0] {
        let heard = Heard { ttl, ..rig.heard(&rig.packet(State::Down)) };
        rig.give(Input::Packet(heard));
    }
    assert_eq!((rig.state(), rig.bfd.totals().discarded[Discard::TimeToLive.index()]), (State::Down, 4));
}

/// RFC 5881 §3: before the discriminators are known, by the link and the sender.
#[test]
fn first_packets_are_told_apart_by_link_and_sender() {
    let mut rig = Rig::in_state(State::Down);
    let first = Control { your_discriminator: 0, ..rig.packet(State::Down) };
    for heard in [
        Heard { link: IfIndex(8), ..rig.heard(&first) },
        Heard { from: peer(2), ..rig.heard(&first) },
        Heard { is_multihop: true, ..rig.heard(&first) },
    ] {
        rig.give(Input::Packet(heard));
        assert_eq!(rig.state(), State::Down);
    }
    rig.hear(&first);
    assert_eq!(rig.state(), State::Init);
}

/// RFC 5880 §6.3: then by our discriminator alone, whatever address it comes from.
#[test]
fn later_packets_are_told_apart_by_the_discriminator_alone() {
    let mut rig = Rig::in_state(State::Down);
    let known = rig.packet(State::Down);
    rig.give(Input::Packet(Heard { from: peer(9), link: IfIndex(8), ..rig.heard(&known) }));
    assert_eq!(rig.state(), State::Init);
    rig.hear(&Control { your_discriminator: rig.ours() ^ 1, ..rig.packet(State::Up) });
    assert_eq!((rig.state(), rig.bfd.totals().discarded[Discard::NoSession.index()]), (State::Init, 1));
}

/// RFC 5883 §5: the port of several hops takes any time to live, and keeps up no session of a single one.
#[test]
fn several_hops_are_a_world_of_their_own() {
    let mut rig = Rig::new(Wanted { path: Path::Multihop, ..wanted(1) });
    let far = |rig: &Rig, state| Heard { is_multihop: true, ttl: 61, ..rig.heard(&rig.packet(state)) };
    let heard = far(&rig, State::Down);
    rig.give(Input::Packet(heard));
    assert_eq!(rig.state(), State::Init);
    rig.hear_state(State::Up);
    assert_eq!(rig.state(), State::Init);
    let heard = far(&rig, State::Up);
    rig.give(Input::Packet(heard));
    rig.pass(Duration::from_secs(1));
    // No neighbour of the kernel stands for it.
    assert!(rig.state() == State::Down && !rig.said.iter().any(|output| matches!(output, Output::Alive(..))));
    assert_eq!(rig.status().failures, 1);
}

/// RFC 5882 §3.2: what is taken down on purpose has not failed.
#[test]
fn admin_down_is_no_failure() {
    let mut rig = Rig::up();
    rig.hear_state(State::AdminDown);
    assert_eq!((rig.state(), rig.status().failures, rig.status().is_dead), (State::Down, 0, false));
    assert!(matches!(rig.said[..], [Output::Changed(Notice { cause: Cause::NeighborAdminDown, .. })]));
    rig.hear_state(State::Down);
    rig.hear_state(State::Init);
    assert_eq!(rig.state(), State::Up);
}

/// The kernel hears of it before BGP does, and again when the session is Up.
#[test]
fn a_failure_reaches_the_kernel_first() {
    let mut rig = Rig::up();
    rig.pass(Duration::from_millis(150));
    let member = Member { link: LINK, gateway: peer(1) };
    assert_eq!(rig.said[0], Output::Alive(member, false));
    assert!(matches!(rig.said[1], Output::Changed(Notice { failure: 1, cause: Cause::TimeExpired, .. })));
    rig.said.clear();
    rig.hear_state(State::Down);
    rig.hear_state(State::Init);
    assert!(rig.said.contains(&Output::Alive(member, true)));
}

/// A picture of the node that was drawn before it heard of the failure revives nobody; one drawn after it, with a session, does.
#[test]
fn only_a_session_after_the_failure_revives_a_neighbour() {
    let mut rig = Rig::up();
    rig.pass(Duration::from_millis(150));
    rig.give(Input::Sessions(vec![Wanted { is_established: true, ..wanted(1) }]));
    assert!(rig.status().is_dead);
    rig.give(Input::Sessions(vec![Wanted { known_failure: 1, ..wanted(1) }]));
    assert!(rig.status().is_dead);
    rig.give(Input::Sessions(vec![Wanted { is_established: true, known_failure: 1, ..wanted(1) }]));
    assert!(!rig.status().is_dead);
}

/// RFC 5882 §4.3.1, §4.3.2: a peer that restarts keeps its routes, unless BFD there would have outlived that.
#[test]
fn a_restart_is_not_aborted_by_bfd_that_dies_with_it() {
    for (independent, dead) in [(false, false), (true, true)] {
        let mut rig = Rig::up();
        rig.hear(&Control { independent, ..rig.packet(State::Up) });
        rig.give(Input::Sessions(vec![Wanted { on_failure: OnFailure::Keep, ..wanted(1) }]));
        rig.pass(Duration::from_millis(150));
        assert_eq!((rig.status().failures, rig.status().is_dead), (1, dead));
        let notice =
            rig.said.iter().find_map(|output| if let Output::Changed(notice) = output { Some(*notice) } else { None });
        assert_eq!(notice.unwrap().keeps, !dead);
    }
}

/// RFC 5880 §6.8.16: a session that is taken away says so, and its neighbour is not dead for that.
#[test]
fn a_session_that_is_not_wanted_any_more_says_goodbye() {
    let mut rig = Rig::up();
    rig.pass(Duration::from_millis(150));
    rig.sent();
    rig.hear_state(State::Down);
    rig.said.clear();
    rig.give(Input::Sessions(Vec::new()));
    let goodbye = rig.sent();
    assert_eq!((goodbye[0].state, goodbye[0].diagnostic), (State::AdminDown, Diagnostic::ADMIN_DOWN));
    assert!(matches!(rig.said[..], [Output::Alive(_, true)]));
    rig.hear_state(State::Up);
    assert_eq!(rig.state(), State::AdminDown);
    rig.pass(Duration::from_secs(5));
    rig.give(Input::Tick);
    assert!(matches!(rig.said.last(), Some(Output::Close(_))));
    assert_eq!(rig.bfd.entries.len() + rig.bfd.by_discriminator.len() + rig.bfd.by_place.len(), 0);
}

/// Time in which we could not listen is not silence of the peer.
#[test]
fn our_own_absence_is_not_the_peers_silence() {
    let mut rig = Rig::up();
    rig.pass(Duration::from_millis(100));
    rig.now = rig.now + Duration::from_secs(1);
    rig.give(Input::Starved(Duration::from_secs(1)));
    rig.give(Input::Tick);
    assert_eq!(rig.state(), State::Up);
    // What is left of the detection time is left, and no more.
    rig.pass(Duration::from_millis(49));
    assert_eq!(rig.state(), State::Up);
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.state(), rig.bfd.totals().starved), (State::Down, 1));
}

/// RFC 5880 §6.8.1: discriminators are unique and not 0; and there is an end to the number of sessions.
#[test]
fn there_is_a_most_of_sessions() {
    let mut bfd = Bfd::new(3);
    let many = u32::try_from(MAX_SESSIONS).unwrap() + 10;
    bfd.handle(NOW, Input::Sessions((0..many).map(wanted).collect()));
    assert_eq!((bfd.status().count(), bfd.totals().refused), (MAX_SESSIONS, 10));
    let all: BTreeSet<u32> = bfd.status().map(|status| status.discriminator).collect();
    assert!(all.len() == MAX_SESSIONS && !all.contains(&0));
}

/// Any octets whatever: nothing but a count changes, and nothing is sent, unless our discriminator was hit.
#[test]
fn noise_changes_nothing() {
    let mut rig = Rig::up();
    let mut rng = Rng::new(9);
    for _ in 0..100_000 {
        let mut heard = rig.heard(&rig.packet(State::Up));
        for _ in 0..=rng.next_u64() % 4 {
            heard.first[usize::try_from(rng.next_u64() % 24).unwrap()] = rng.next_u64().to_le_bytes()[0];
        }
        heard.length = usize::try_from(rng.next_u64() % 64).unwrap();
        // Not ours: a packet that names our session may say what it likes.
        heard.first[8..12].copy_from_slice(&(rig.ours() ^ 0xffff).to_be_bytes());
        rig.give(Input::Packet(heard));
    }
    assert_eq!((rig.state(), rig.sent().len(), rig.said.len()), (State::Up, 0, 0));
    assert_eq!(rig.bfd.totals().discarded.iter().sum::<u64>(), 100_000);
}
