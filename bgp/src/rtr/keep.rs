//! What a client leaves to the next program in its place, so that nothing becomes `not-found` while that asks its cache again: the data
//! as its cache would send it (RFC 8210 §5.6, §5.7), and beside it what a Serial Query and the end of its life need (§5.3, §6).

use super::pdu::{self, Next};
use super::{Client, Pdu, Timers, VRPS_MAX};
use crate::rpki::Vrps;
use crate::time::Instant;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};

/// VRPs written in one go.
const SLICE: usize = 4_096;

/// What stands beside the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Protocol version: 0 or 1.
    pub version: u8,
    /// Session id; none where the cache was about to begin anew.
    #[serde(default)]
    pub session: Option<u16>,
    /// Serial number of the data.
    pub serial: u32,
    /// When it must not be used any more, on a clock that goes on.
    pub expires_at: Instant,
    /// Seconds between queries, between attempts, and of the data's life.
    pub timers_s: [u32; 3],
}

impl Client {
    /// What the next program needs, and the data as octets; `None`: there is none to be used.
    #[must_use]
    pub fn keep(&self) -> Option<(Kept, BytesMut)> {
        let (expires_at, Timers { refresh_s, retry_s, expire_s }) = (self.expires_at?, self.timers);
        let timers_s = [refresh_s, retry_s, expire_s];
        let kept = Kept { version: self.version, session: self.session, serial: self.serial, expires_at, timers_s };
        let (mut octets, mut cursor) = (BytesMut::new(), None);
        loop {
            let some = self.vrps.after(cursor, SLICE);
            let Some(last) = some.last() else {
                return Some((kept, octets));
            };
            cursor = Some(last.prefix);
            some.iter().for_each(|vrp| pdu::put_prefix(&mut octets, self.version, vrp));
        }
    }

    /// Goes on from there, without a connection.
    ///
    /// # Errors
    /// When the data is none, is more than this program takes, or has had its life: why, as a sentence.
    pub fn resume(now: Instant, kept: &Kept, octets: &[u8]) -> Result<Self, &'static str> {
        let [refresh_s, retry_s, expire_s] = kept.timers_s;
        let timers = Timers { refresh_s, retry_s, expire_s }.clamped();
        let latest = now + crate::time::Duration::from_secs(u64::from(timers.expire_s));
        if kept.version > 1 {
            return Err("its protocol version is unknown");
        }
        if kept.expires_at <= now || kept.expires_at > latest {
            return Err("its data has had its life");
        }
        Ok(Self {
            version: kept.version,
            session: kept.session,
            serial: kept.serial,
            vrps: read(octets)?,
            timers,
            expires_at: Some(kept.expires_at),
            ..Self::default()
        })
    }
}

fn read(octets: &[u8]) -> Result<Vrps, &'static str> {
    let (mut input, mut vrps) = (BytesMut::from(octets), Vrps::default());
    loop {
        match pdu::next(&mut input) {
            Next::Pdu(_, Pdu::Prefix { announce: true, vrp }) => {
                vrps.insert(&vrp);
            }
            Next::More if input.is_empty() => return Ok(vrps),
            Next::Pdu(..) | Next::Fault(_) | Next::More => return Err("its data is damaged"),
        }
        if vrps.len().iter().sum::<usize>() > VRPS_MAX {
            return Err("there are more records than this router takes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpki::Vrp;
    use crate::time::Duration;
    use crate::types::Asn;

    /// A client with these records, which its cache said at the start with an expire interval of 600 s.
    fn client(records: &[(&str, u8, u32)]) -> Client {
        let mut client = Client::default();
        for (prefix, max_length, asn) in records {
            client.vrps.insert(&Vrp { prefix: prefix.parse().unwrap(), max_length: *max_length, asn: Asn(*asn) });
        }
        client.timers = Timers { refresh_s: 60, retry_s: 30, expire_s: 600 };
        (client.session, client.serial) = (Some(7), 11);
        client.expires_at = Some(Instant::ZERO + Duration::from_secs(600));
        client
    }

    #[test]
    fn a_client_goes_on_with_its_data_and_asks_what_changed_since() {
        let before = client(&[("10.0.0.0/8", 24, 1), ("10.0.0.0/8", 24, 2), ("2001:db8::/32", 48, 3)]);
        let (kept, octets) = before.keep().unwrap();
        assert_eq!(octets.len(), 2 * 20 + 32);
        let now = Instant::ZERO + Duration::from_secs(100);
        let mut after = Client::resume(now, &kept, &octets).unwrap();
        assert_eq!(after.vrps.after(None, 10), before.vrps.after(None, 10));
        assert_eq!((after.status().session, after.status().expires_at), (Some((7, 11)), before.expires_at));
        after.connected(now);
        let mut query = BytesMut::new();
        pdu::put_serial_query(&mut query, 1, 7, 11);
        assert_eq!(after.poll_transmit(), (query, false));
        // RFC 8210 §6: nobody answers, and the data is not used beyond its life.
        after.disconnected("gone");
        after.tick(before.expires_at.unwrap());
        assert!(after.vrps().is_none());
    }

    #[test]
    fn what_is_damaged_too_old_or_of_another_time_is_not_used() {
        let (kept, octets) = client(&[("10.0.0.0/8", 24, 1)]).keep().unwrap();
        let now = Instant::ZERO + Duration::from_secs(1);
        for length in 1..octets.len() {
            assert!(Client::resume(now, &kept, &octets[..length]).is_err(), "{length}");
        }
        assert!(Client::resume(kept.expires_at, &kept, &octets).unwrap_err().contains("life"));
        let later = Kept { expires_at: now + Duration::from_secs(601), ..kept };
        assert!(Client::resume(now, &later, &octets).unwrap_err().contains("life"));
        assert!(Client::resume(now, &Kept { version: 2, ..kept }, &octets).is_err());
        assert!(Client::default().keep().is_none());
    }
}
