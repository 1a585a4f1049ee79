//! What `strace` wrote down, and the judgement on it.
//!
//! The order of lines is the order of events: a call that ends without another event in between is
//! one line, any other is an `unfinished` and a `resumed` one. A thread that is woken by the end of a
//! call runs on only after `strace` has written that end.

use std::{collections::BTreeMap, fmt, path::Path};

/// QUIC's own acknowledgements, and an answer of three bytes, are smaller; a sealed message is padded
/// to 512 bytes.
const SMALL_BYTES_MAX: i64 = 200;

/// One system call on a file or socket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Path or address behind the descriptor.
    pub(crate) on: String,
    pub(crate) result: i64,
    /// Numbers of lines.
    pub(crate) began: usize,
    pub(crate) ended: usize,
    /// Unix seconds.
    pub(crate) began_s: f64,
    pub(crate) ended_s: f64,
}

impl Call {
    fn is_log(&self) -> bool {
        self.on.contains("/db/log/") && self.on.ends_with(".log")
    }

    fn is_write(&self) -> bool {
        self.name.contains("write") && self.is_log() && self.result > 0
    }

    fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync" | "sync_file_range" | "msync")
    }

    fn is_sent_by(&self, devices: &str) -> bool {
        self.name.starts_with("send") && self.on == format!("UDP:[{devices}]")
    }
}

/// How one request went.
#[derive(Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) written_s: f64,
    pub(crate) synced_s: f64,
    /// Datagrams before the sync that are too small to carry a message.
    pub(crate) small_before: usize,
}

/// Why the order is wrong.
#[derive(Debug, PartialEq)]
pub(crate) enum Wrong {
    NotWritten,
    NotSynced,
    LeftBeforeSync { bytes: i64, line: usize },
    NotAnswered,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWritten => write!(f, "the request was not written to the log"),
            Self::NotSynced => write!(f, "what was written to the log was never synced"),
            Self::LeftBeforeSync { bytes, line } => {
                write!(f, "line {line}: {bytes} bytes left for a device before the sync ended")
            }
            Self::NotAnswered => write!(f, "no message left for a device after the sync"),
        }
    }
}

/// The calls in the order in which they ended.
pub(crate) struct Trace {
    pub(crate) calls: Vec<Call>,
    text: String,
}

impl Trace {
    pub(crate) fn read(path: &Path) -> Self {
        Self::parse(String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned())
    }

    pub(crate) fn parse(text: String) -> Self {
        let (mut calls, mut open) = (Vec::new(), BTreeMap::<&str, Call>::new());
        for (number, line) in text.lines().enumerate() {
            let Some((thread, at_s, call)) = split(line) else { continue };
            let call = match call.strip_prefix("<... ") {
                Some(_) => open.remove(thread),
                None => started(call, number, at_s),
            };
            let Some(mut call) = call else { continue };
            match ended(line) {
                Some((result, took_s)) => {
                    (call.result, call.ended) = (result, number);
                    call.ended_s = took_s.map_or(at_s, |took_s| call.began_s + took_s);
                    calls.push(call);
                }
                None => drop(open.insert(thread, call)),
            }
        }
        let ours = |call: &Call| call.is_write() || call.is_sync() || call.on.starts_with("UDP");
        calls.retain(ours);
        Self { calls, text }
    }

    /// For a failure's message.
    pub(crate) fn lines_since(&self, since_s: f64) -> String {
        let lines = self.text.lines().enumerate();
        let lines =
            lines.filter(|(_, line)| split(line).is_some_and(|(_, at_s, _)| at_s >= since_s));
        let relevant =
            |line: &str| line.contains("/db/") || line.contains("UDP") || line.contains("resumed");
        let lines = lines.filter(|(_, line)| relevant(line)).take(200);
        lines.map(|(number, line)| format!("{number}: {line}\n")).collect()
    }

    /// Judges the one request that was sent at `since_s`, when nothing else was under way: no message
    /// leaves between its write to the log and the end of the sync that follows.
    pub(crate) fn judge(&self, since_s: f64, devices: &str) -> Result<Judged, Wrong> {
        let later = || self.calls.iter().filter(|call| call.began_s >= since_s);
        let write = later().find(|call| call.is_write()).ok_or(Wrong::NotWritten)?;
        let sync = later()
            .find(|call| call.is_sync() && call.on == write.on && call.began > write.ended)
            .ok_or(Wrong::NotSynced)?;
        let sent = || later().filter(|call| call.is_sent_by(devices));
        let early = || sent().filter(|call| call.began < sync.ended);
        if let Some(call) = early().find(|call| call.result > SMALL_BYTES_MAX) {
            return Err(Wrong::LeftBeforeSync { bytes: call.result, line: call.began });
        }
        let small_before = early().count();
        if !sent().any(|call| call.began > sync.ended && call.result > SMALL_BYTES_MAX) {
            return Err(Wrong::NotAnswered);
        }
        Ok(Judged { written_s: write.ended_s, synced_s: sync.ended_s, small_before })
    }

    /// Syncs that ended until `until_s` and follow a write that came after `since_s`.
    pub(crate) fn rounds(&self, since_s: f64, until_s: f64) -> usize {
        let write = self.calls.iter().find(|call| call.is_write() && call.began_s >= since_s);
        let syncs = self.calls.iter().filter(|call| {
            call.is_sync()
                && call.is_log()
                && call.ended_s <= until_s
                && write.is_some_and(|write| call.began > write.ended)
        });
        syncs.count()
    }

    /// Writes to the log, syncs of the log, syncs of other files.
    pub(crate) fn count(&self, since_s: f64) -> (usize, usize, usize) {
        let later = || self.calls.iter().filter(|call| call.began_s >= since_s);
        let syncs = || later().filter(|call| call.is_sync());
        let of_log = syncs().filter(|call| call.is_log()).count();
        (later().filter(|call| call.is_write()).count(), of_log, syncs().count() - of_log)
    }

    /// Between two syncs of the log there is a write to it.
    pub(crate) fn expect_one_sync_a_write(&self) {
        let mut last = None::<&Call>;
        for call in self.calls.iter().filter(|call| call.is_log()) {
            let twice = last.is_some_and(|last| last.is_sync() && last.on == call.on);
            assert!(!(twice && call.is_sync()), "two syncs for one write: {last:?}, {call:?}");
            last = Some(call);
        }
    }
}

/// Thread, time and the rest of a line.
fn split(line: &str) -> Option<(&str, f64, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let (at_s, call) = rest.trim_start().split_once(' ')?;
    Some((thread, at_s.parse().ok()?, call))
}

fn started(call: &str, number: usize, at_s: f64) -> Option<Call> {
    let (name, arguments) = call.split_once('(')?;
    let (_, on) = arguments.split_once('<')?;
    // An address may hold the sign that ends it.
    let end = [">,", ">)", "> <"].iter().filter_map(|end| on.find(end)).min()?;
    Some(Call {
        name: name.to_owned(),
        on: on[..end].to_owned(),
        result: 0,
        began: number,
        ended: number,
        began_s: at_s,
        ended_s: at_s,
    })
}

/// The result of a call that this line ends, and its seconds.
fn ended(line: &str) -> Option<(i64, Option<f64>)> {
    if line.ends_with("<unfinished ...>") {
        return None;
    }
    let (_, result) = line.rsplit_once(" = ")?;
    let value = result.split_whitespace().next()?.parse().ok()?;
    let took = result.rsplit_once('<').and_then(|(_, took)| took.strip_suffix('>')?.parse().ok());
    Some((value, took))
}

const DEVICES: &str = "127.0.0.1:4433";

/// A trace by hand: thread, milliseconds, call.
fn by_hand(lines: &[(u32, u32, &str)]) -> Trace {
    let line = |(thread, ms, call): &(u32, u32, &str)| {
        let call = call
            .replace("LOG", "8</x/db/log/000008.log>")
            .replace("UDP", "9<UDP:[127.0.0.1:4433]>");
        format!("{thread} 100.{ms:03}000 {call}\n")
    };
    Trace::parse(lines.iter().map(line).collect())
}

#[test]
fn the_right_order_is_accepted() {
    let trace = by_hand(&[
        (1, 1, "sendmsg(UDP, {...}, 0) = 43 <0.000010>"),
        (2, 2, "write(LOG, \"\"..., 900) = 900 <0.000100>"),
        (2, 3, "fdatasync(LOG <unfinished ...>"),
        (1, 4, "sendmsg(UDP, {...}, 0) = 43 <0.000010>"),
        (2, 103, "<... fdatasync resumed>) = 0 (DELAYED) <0.100000>"),
        (1, 104, "sendmsg(UDP, {...} <unfinished ...>"),
        (2, 105, "write(LOG, \"\"..., 700) = 700 <0.000100>"),
        (1, 106, "<... sendmsg resumed>, 0) = 1100 <0.002000>"),
    ]);
    let judged = trace.judge(100.0, DEVICES).unwrap();
    assert_eq!(judged.small_before, 2);
    assert!((judged.synced_s - 100.103).abs() < 1e-6 && (judged.written_s - 100.0021).abs() < 1e-6);
    assert_eq!(trace.count(100.0), (2, 1, 0));
    assert_eq!((trace.rounds(100.0, 100.2), trace.rounds(100.0, 100.1)), (1, 0));
    trace.expect_one_sync_a_write();
}

#[test]
fn an_acknowledgement_before_the_sync_is_noticed() {
    let write = (2, 2, "write(LOG, \"\"..., 900) = 900 <0.000100>");
    let late = (1, 200, "sendmsg(UDP, {...}, 0) = 1100 <0.000010>");
    let early = |ms| (1, ms, "sendmsg(UDP, {...}, 0) = 1100 <0.000010>");
    let begins = (2, 3, "fdatasync(LOG <unfinished ...>");
    let ends = (2, 103, "<... fdatasync resumed>) = 0 <0.100000>");
    let whole = (2, 3, "fdatasync(LOG) = 0 <0.100000>");
    let left = |line| Err(Wrong::LeftBeforeSync { bytes: 1100, line });
    let judge = |lines: &[_]| by_hand(lines).judge(100.0, DEVICES);
    assert_eq!(judge(&[early(1), write, whole, late]), left(0), "before the write");
    assert_eq!(judge(&[write, early(2), begins, ends, late]), left(1), "before the sync");
    assert_eq!(judge(&[write, begins, early(50), ends, late]), left(2), "during the sync");
    assert_eq!(judge(&[write, late]), Err(Wrong::NotSynced));
    assert_eq!(judge(&[write, begins, late]), Err(Wrong::NotSynced), "a sync that does not end");
    assert_eq!(judge(&[whole, write, late]), Err(Wrong::NotSynced), "a sync of before");
    let other = (2, 4, "fdatasync(7</x/db/log/000007.log>) = 0 <0.100000>");
    assert_eq!(judge(&[write, other, late]), Err(Wrong::NotSynced), "a sync of another file");
    assert_eq!(judge(&[write, whole]), Err(Wrong::NotAnswered));
    assert_eq!(judge(&[whole, late]), Err(Wrong::NotWritten));
    assert!(judge(&[write, whole, late]).is_ok());
}
