//! The audit log: who did what, when, from where, and what came of it.
//!
//! Entries are only added. Each carries a MAC over itself and the MAC before it, by the master key,
//! which is not in the database: whoever writes to the database alone can neither alter, remove,
//! insert nor reorder an entry unseen. Cutting entries off at the end is seen by comparing with a
//! [`Head`] that was noted elsewhere; the API logs it at its start.
//!
//! [`Chain`] checks entries in order and does no I/O; `store::audit` reads and appends.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::secrets::MasterKey;

/// Bytes of an entry's detail at most; of a longer one size and MAC are kept.
const DETAIL_BYTES_MAX: usize = 16 * 1024;
/// Characters of any other text of an entry.
const TEXT_CHARS_MAX: usize = 512;
/// What the MAC of an entry begins with: names the way it is made.
const MAC_CONTEXT: &[u8] = b"patchwave audit entry 1";

/// What came of what an entry speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is about to be tried; another entry follows, unless the process dies in between.
    Requested,
    /// It was done.
    Succeeded,
    /// It was tried and not done.
    Failed,
    /// Whoever asked may not, or could not prove who they are.
    Denied,
}

impl Outcome {
    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Denied => "denied",
        }
    }
}

/// Something to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Who: an access key's id, `window mw-…`, `event <source>`, `node mi-…`, or a program's name.
    pub actor: String,
    /// From where: an address, or the part of Patchwave that acted.
    pub source: String,
    /// What: an operation's name, such as `SendCommand`.
    pub action: String,
    /// On what: an id; empty when there is none.
    pub subject: String,
    /// What else is to be known, without secrets.
    pub detail: Value,
    /// What came of it.
    pub outcome: Outcome,
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Position in the log, from 1 without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// From where.
    pub source: String,
    /// What.
    pub action: String,
    /// On what.
    pub subject: String,
    /// Details as JSON text: its bytes count.
    pub detail: String,
    /// An [`Outcome`]'s name.
    pub outcome: String,
    /// By which it is chained.
    pub mac: String,
}

/// The end of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Position of the last entry; 0 when there is none.
    pub seq: i64,
    /// Its MAC; empty when there is none.
    pub mac: String,
}

impl Entry {
    /// The entry at `head`'s successor, with its MAC.
    #[must_use]
    pub(crate) fn recorded(&self, master_key: &MasterKey, seq: i64, before: &str) -> Recorded {
        let mut detail = storable(&self.detail.to_string());
        if detail.len() > DETAIL_BYTES_MAX {
            detail = json!({ "bytes": detail.len(), "mac": value_mac(master_key, detail.as_bytes()) }).to_string();
        }
        let text = |text: &str| storable(text).chars().take(TEXT_CHARS_MAX).collect();
        let mut recorded = Recorded {
            seq,
            // As the store keeps it: the MAC is over what will be read again.
            at: crate::store::instant(crate::store::millis(self.at)),
            actor: text(&self.actor),
            source: text(&self.source),
            action: text(&self.action),
            subject: text(&self.subject),
            detail,
            outcome: self.outcome.name().to_owned(),
            mac: String::new(),
        };
        recorded.mac = recorded.expected_mac(master_key, before);
        recorded
    }
}

impl Recorded {
    fn expected_mac(&self, master_key: &MasterKey, before: &str) -> String {
        master_key.mac(&[
            MAC_CONTEXT,
            before.as_bytes(),
            &self.seq.to_be_bytes(),
            &crate::store::millis(self.at).to_be_bytes(),
            self.actor.as_bytes(),
            self.source.as_bytes(),
            self.action.as_bytes(),
            self.subject.as_bytes(),
            self.detail.as_bytes(),
            self.outcome.as_bytes(),
        ])
    }
}

/// A stand-in for a value that may be secret: equal values have equal ones, and nobody without the
/// master key can try values out.
#[must_use]
pub fn value_mac(master_key: &MasterKey, value: &[u8]) -> String {
    format!("mac:{}", master_key.mac(&[b"audit value", value]))
}

/// PostgreSQL's TEXT holds any character but NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Something that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The entry, or the first of those that are missing.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks a log entry by entry, in order of `seq`.
#[derive(Debug)]
pub struct Chain<'a> {
    master_key: &'a MasterKey,
    last: Head,
    expected: Option<Head>,
    faults: Vec<Fault>,
    faults_max: usize,
}

impl<'a> Chain<'a> {
    /// Begins behind `after`, which is where an earlier check stopped, or else before the first
    /// entry. `expected` is a head that was noted elsewhere; one that is not behind `after` is the
    /// earlier check's business. Of what is wrong the first `faults_max` things are kept.
    #[must_use]
    pub fn new(master_key: &'a MasterKey, after: Head, expected: Option<Head>, faults_max: usize) -> Self {
        let expected = expected.filter(|head| head.seq > after.seq);
        Self { master_key, last: after, expected, faults: Vec::new(), faults_max }
    }

    /// Whether as many faults were found as are kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.faults.len() >= self.faults_max
    }

    /// Leaves off before the end of the log: where, and the faults so far.
    #[must_use]
    pub fn pause(self) -> (Head, Vec<Fault>) {
        (self.last, self.faults)
    }

    /// Takes the next entry.
    pub fn push(&mut self, entry: &Recorded) {
        let next = self.last.seq + 1;
        if entry.seq > next {
            let missing = if entry.seq - 1 == next {
                format!("entry {next} is missing")
            } else {
                format!("entries {next} to {} are missing", entry.seq - 1)
            };
            self.fault(next, format!("{missing}; entry {} cannot be checked against what was before it", entry.seq));
        } else if entry.seq < next {
            self.fault(entry.seq, format!("entry {} is there twice or out of order", entry.seq));
        } else if entry.mac != entry.expected_mac(self.master_key, &self.last.mac) {
            self.fault(
                entry.seq,
                format!("entry {} is not what was recorded after entry {}", entry.seq, self.last.seq),
            );
        }
        if let Some(expected) = self.expected.take_if(|head| head.seq == entry.seq)
            && expected.mac != entry.mac
        {
            self.fault(entry.seq, format!("entry {} has another MAC than the one that was noted", entry.seq));
        }
        self.last = Head { seq: entry.seq, mac: entry.mac.clone() };
    }

    /// The verdict, given the head that the store keeps: the faults in order, none for an intact log.
    #[must_use]
    pub fn finish(mut self, head: &Head) -> (Head, Vec<Fault>) {
        if self.last != *head {
            let reason = format!(
                "the log ends with entry {}, and its head says that it ends with entry {}{}",
                self.last.seq,
                head.seq,
                if self.last.seq == head.seq { " and another MAC" } else { "" }
            );
            self.fault(self.last.seq.min(head.seq) + 1, reason);
        }
        if let Some(expected) = self.expected.take().filter(|expected| expected.seq > 0) {
            let reason = format!("entry {} was noted and is not in the log", expected.seq);
            self.fault(expected.seq, reason);
        }
        (self.last, self.faults)
    }

    fn fault(&mut self, seq: i64, reason: String) {
        if !self.is_full() {
            self.faults.push(Fault { seq, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes(&[3; 32])
    }

    fn log(count: i64) -> Vec<Recorded> {
        let mut log: Vec<Recorded> = Vec::new();
        for seq in 1..=count {
            let entry = Entry {
                at: Timestamp::from_second(seq).expect("an instant"),
                actor: "PWAKTEST".to_owned(),
                source: "127.0.0.1".to_owned(),
                action: "SendCommand".to_owned(),
                subject: format!("command {seq}"),
                detail: json!({ "DocumentName": "AWS-RunPatchBaseline" }),
                outcome: Outcome::Succeeded,
            };
            let before = log.last().map(|last| last.mac.clone()).unwrap_or_default();
            log.push(entry.recorded(&key(), seq, &before));
        }
        log
    }

    fn head(log: &[Recorded]) -> Head {
        log.last().map(|last| Head { seq: last.seq, mac: last.mac.clone() }).unwrap_or_default()
    }

    fn faults(log: &[Recorded], head: &Head, expected: Option<Head>) -> Vec<i64> {
        let master_key = key();
        let mut chain = Chain::new(&master_key, Head::default(), expected, 50);
        log.iter().for_each(|entry| chain.push(entry));
        chain.finish(head).1.into_iter().map(|fault| fault.seq).collect()
    }

    #[test]
    fn an_untouched_log_is_intact() {
        for count in 0..5 {
            let log = log(count);
            assert_eq!(faults(&log, &head(&log), Some(head(&log))), [] as [i64; 0]);
        }
    }

    #[test]
    fn every_changed_field_names_its_entry() {
        type Change = fn(&mut Recorded);
        let changes: [Change; 8] = [
            |entry| entry.at = Timestamp::UNIX_EPOCH,
            |entry| entry.actor.push('x'),
            |entry| entry.source.push('x'),
            |entry| entry.action.push('x'),
            |entry| entry.subject.push('x'),
            |entry| entry.detail = "{}".to_owned(),
            |entry| entry.outcome = "failed".to_owned(),
            |entry| entry.mac.replace_range(0..2, "zz"),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut log = log(5);
            let head = head(&log);
            change(&mut log[2]);
            let found = faults(&log, &head, None);
            assert_eq!(found.first(), Some(&3), "change {number}: {found:?}");
        }
    }

    #[test]
    fn removed_swapped_and_inserted_entries_are_found() {
        let whole = log(6);
        let end = head(&whole);
        for removed in 0..6 {
            let mut log = whole.clone();
            log.remove(removed);
            let missing = i64::try_from(removed).expect("small") + 1;
            assert_eq!(faults(&log, &end, None).first(), Some(&missing));
        }
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        (swapped[1].seq, swapped[2].seq) = (2, 3);
        assert_eq!(faults(&swapped, &end, None)[..2], [2, 3]);
        let mut inserted = whole.clone();
        inserted.insert(3, Recorded { seq: 4, ..whole[2].clone() });
        (4..7).for_each(|at| inserted[at].seq += 1);
        assert_eq!(faults(&inserted, &Head { seq: 7, ..end.clone() }, None).first(), Some(&4));
    }

    #[test]
    fn a_log_that_was_cut_off_is_found_by_its_head_or_by_a_noted_one() {
        let whole = log(6);
        assert_eq!(faults(&whole[..4], &head(&whole), None), [5]);
        // Whoever cut it off also wrote the head.
        assert_eq!(faults(&whole[..4], &head(&whole[..4]), None), [] as [i64; 0]);
        assert_eq!(faults(&whole[..4], &head(&whole[..4]), Some(head(&whole))), [6]);
        let noted = Head { seq: 2, mac: "other".to_owned() };
        assert_eq!(faults(&whole, &head(&whole), Some(noted)), [2]);
    }

    #[test]
    fn a_check_goes_on_where_it_left_off_and_keeps_the_first_faults() {
        let (whole, master_key) = (log(6), key());
        let end = head(&whole);
        for cut in 0..6 {
            let mut first = Chain::new(&master_key, Head::default(), Some(end.clone()), 50);
            whole[..cut].iter().for_each(|entry| first.push(entry));
            let (at, faults) = first.pause();
            assert_eq!((at.clone(), faults), (head(&whole[..cut]), Vec::new()));
            let mut rest = Chain::new(&master_key, at, Some(end.clone()), 50);
            whole[cut..].iter().for_each(|entry| rest.push(entry));
            assert_eq!(rest.finish(&end), (end.clone(), Vec::new()));
        }
        // Whoever says that it left off elsewhere is told.
        let elsewhere = Head { seq: 3, mac: "ab".repeat(32) };
        let mut chain = Chain::new(&master_key, elsewhere, None, 50);
        whole[3..].iter().for_each(|entry| chain.push(entry));
        assert_eq!(chain.finish(&end).1.first().map(|fault| fault.seq), Some(4));
        let other = MasterKey::from_bytes(&[4; 32]);
        let mut chain = Chain::new(&other, Head::default(), None, 2);
        whole.iter().for_each(|entry| chain.push(entry));
        assert!(chain.is_full());
        assert_eq!(chain.finish(&end).1.iter().map(|fault| fault.seq).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_log_of_another_master_key_is_not_accepted() {
        let log = log(2);
        let other = MasterKey::from_bytes(&[4; 32]);
        let mut chain = Chain::new(&other, Head::default(), None, 50);
        log.iter().for_each(|entry| chain.push(entry));
        assert_eq!(chain.finish(&head(&log)).1.len(), 2);
    }

    #[test]
    fn a_detail_that_is_too_long_is_kept_as_its_mac() {
        let mut entry = Entry {
            at: Timestamp::UNIX_EPOCH,
            actor: "a\0b".to_owned(),
            source: String::new(),
            action: "x".repeat(2_000),
            subject: String::new(),
            detail: json!("y".repeat(DETAIL_BYTES_MAX)),
            outcome: Outcome::Requested,
        };
        let recorded = entry.recorded(&key(), 1, "");
        assert_eq!((recorded.action.len(), recorded.actor.as_str()), (TEXT_CHARS_MAX, "a\u{fffd}b"));
        assert!(recorded.detail.len() < 200 && !recorded.detail.contains("yyy"), "{}", recorded.detail);
        entry.detail = json!({});
        assert_eq!(entry.recorded(&key(), 1, "").detail, "{}");
    }
}
