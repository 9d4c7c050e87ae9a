//! k1: while a1 arrives, how late do the KEEPALIVEs of other peers come? Two threads of their own look: one at sessions with the
//! shortest hold time, where a daemon that shortens its interval at random (RFC 4271 §10) looks better than it is; one calls as another
//! peer every 20 ms, and its OPEN is to be answered by a KEEPALIVE at once (RFC 4271 §8.2.2, OpenSent).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use socket2::{Domain, Socket, Type};

use super::{Figures, IDLE, IN_FLIGHT, QUIET, Stage, UP_LIMIT};
use crate::crowd::Crowd;
use crate::dut::{Kind, Manner};
use crate::plan::Plan;
use crate::session::{Seat, message_length, open};

/// A third of the watched hold time.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two calls.
const CALL_EVERY: Duration = Duration::from_millis(20);
/// Intervals before the load, to compare with.
const BEFORE: Duration = Duration::from_secs(3);

/// Runs the plan; the last of its members are watched.
pub(super) fn run(stage: &Stage<'_>, kind: &Kind, plan: &Plan) -> Result<Figures> {
    let (members, watched) = plan.members.split_at(plan.members.len() - plan.watched);
    let dut = kind.start(stage.bed, stage.dir, Manner::Passive, &plan.seats())?;
    let mut crowd = Crowd::new(members.iter().map(|member| member.seat).collect())?;
    crowd.wait_for_listener()?;
    ensure!(crowd.establish(IN_FLIGHT, UP_LIMIT)?, "{} sessions are Established", crowd.established());
    let (ready, is_ready) = channel();
    let (end, ended) = channel::<()>();
    let (watched, callers) = watched.split_at(watched.len() - plan.callers);
    let seats = watched.iter().map(|member| member.seat).collect();
    let callers: Vec<Seat> = callers.iter().map(|member| member.seat).collect();
    let thread: JoinHandle<Result<Vec<Vec<Instant>>>> = std::thread::spawn(move || {
        let mut crowd = spread(seats)?;
        ready.send(())?;
        hear(&mut crowd, &ended)
    });
    while is_ready.try_recv() == Err(TryRecvError::Empty) {
        crowd.turn()?;
    }
    crowd.idle(BEFORE.max(IDLE), UP_LIMIT)?;
    let (stop, stopped) = channel::<()>();
    let calls = std::thread::spawn(move || call(&callers, &stopped));
    let outcome = super::spread::offer(stage, members, &mut crowd)?;
    drop(stop);
    let answered = calls.join().map_err(|_| anyhow!("the callers failed"))??;
    // Those that are late come now.
    crowd.idle(INTERVAL + QUIET, stage.limit)?;
    drop(end);
    let heard = thread.join().map_err(|_| anyhow!("the watch failed"))??;
    let Some((start, times)) = outcome else {
        return Ok(vec![("conv_s", f64::INFINITY)]);
    };
    let end = start + Duration::from_secs_f64(times.conv_s);
    let late = |is_wanted: &dyn Fn(Instant, Instant) -> bool| {
        let pairs = heard.iter().flat_map(|beats| beats.windows(2));
        let hit = pairs.filter(|pair| is_wanted(pair[0], pair[1]));
        hit.map(|pair| ((pair[1] - pair[0]).as_secs_f64() - INTERVAL.as_secs_f64()) * 1e3).fold(0.0, f64::max)
    };
    Ok(vec![
        ("conv_s", times.conv_s),
        ("answer_ms", answered * 1e3),
        ("late_ms", late(&|before, at| at > start && before < end)),
        ("late_idle_ms", late(&|_, at| at < start)),
        ("hwm_mb", dut.memory_mb("VmHWM")?),
    ])
}

/// Takes the seats one after another, over one interval.
fn spread(seats: Vec<Seat>) -> Result<Crowd> {
    let start = Instant::now();
    let count = u32::try_from(seats.len())?;
    let mut crowd = Crowd::new(seats)?;
    for number in 0..count {
        let at = usize::try_from(number)?;
        while start.elapsed() < INTERVAL * number / count {
            crowd.turn()?;
        }
        crowd.dial(at)?;
        crowd.session(at)?.heartbeats = Some(Vec::new());
    }
    while crowd.established() < usize::try_from(count)? {
        ensure!(start.elapsed() < UP_LIMIT, "{} watched sessions are Established", crowd.established());
        crowd.turn()?;
    }
    Ok(crowd)
}

fn hear(crowd: &mut Crowd, ended: &Receiver<()>) -> Result<Vec<Vec<Instant>>> {
    let mut alive = Instant::now();
    while ended.try_recv() == Err(TryRecvError::Empty) {
        crowd.turn()?;
        if alive.elapsed() > INTERVAL / 10 {
            crowd.keep_alive()?;
            alive = Instant::now();
        }
    }
    Ok(crowd.sessions().map(|(_, session)| session.heartbeats.clone().unwrap_or_default()).collect())
}

/// Calls from one seat after another: the longest wait for an answer (s).
fn call(seats: &[Seat], stopped: &Receiver<()>) -> Result<f64> {
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    for (number, seat) in (0..).zip(seats) {
        while start.elapsed() < CALL_EVERY * number {
            std::thread::sleep(CALL_EVERY / 20);
        }
        if stopped.try_recv() != Err(TryRecvError::Empty) {
            break;
        }
        longest = longest.max(answer(seat)?);
    }
    Ok(longest.as_secs_f64())
}

/// From our OPEN to the KEEPALIVE that answers it. The session ends there.
fn answer(seat: &Seat) -> Result<Duration> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((seat.ours, 0)).into())?;
    socket.connect(&SocketAddr::from((seat.theirs, 179)).into())?;
    socket.set_read_timeout(Some(UP_LIMIT))?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.write_all(&open(seat.asn, seat.ours, seat.hold_s))?;
    let (start, mut input, mut piece) = (Instant::now(), Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut piece)?;
        ensure!(read > 0, "the device closed a call");
        input.extend_from_slice(&piece[..read]);
        while let Some(length) = message_length(&input)? {
            if input[18] == 4 {
                return Ok(start.elapsed());
            }
            input.drain(..length);
        }
    }
}
