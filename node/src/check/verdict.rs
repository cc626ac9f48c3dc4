//! What was found, judged and put into words.

use std::net::SocketAddr;
use std::time::Duration;

use banyan::reachability::{Reach, Reachability};
use serde::Serialize;

/// A clock that is off by more makes certificates and passwords look invalid.
const CLOCK_TOLERATED: Duration = Duration::from_secs(30);

/// What was found out.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The tracker, if one was named.
    pub tracker: Option<Tracker>,
    /// The UDP port that was used, or why none could be had.
    pub port: Option<Result<u16, String>>,
    /// STUN servers that the tracker named.
    pub stun: Vec<String>,
    /// What came of asking the TURN server that it named.
    pub turn: Turn,
    /// Where STUN servers saw this machine.
    pub seen: Vec<SocketAddr>,
    /// How far strangers' packets come.
    pub reachability: Option<Reachability>,
}

/// What a TURN server is worth here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Turn {
    /// None was named.
    #[default]
    None,
    /// One was named that only pages can use: over TCP or TLS.
    ForPages,
    /// It gave no address.
    Fails,
    /// It relays.
    Works,
}

/// What came of calling the tracker.
#[derive(Debug, Clone)]
pub struct Tracker {
    /// Its address.
    pub url: String,
    /// Its answer, or why there is none.
    pub answer: Result<Answer, String>,
}

/// What a tracker said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// From the beginning of the call to its welcome.
    pub took: Duration,
    /// The address it sees this machine at.
    pub observed: String,
    /// How far this machine's clock is from its own, if it told the time.
    pub clock: Option<Duration>,
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Note,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// The same in words.
    pub found: String,
    /// What to do about it, where there is something to do.
    pub advice: Option<String>,
}

impl Finding {
    fn new(name: &'static str, status: Status, found: impl Into<String>) -> Self {
        Self {
            name,
            status,
            found: found.into(),
            advice: None,
        }
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Judges what was found, in the order in which one thing needs the other.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &facts.tracker {
        None => findings.push(
            Finding::new("tracker", Status::Note, "none was named")
                .advise("name one to check the way to it: banyan check https://TRACKER"),
        ),
        Some(tracker) => findings.extend(judge_tracker(tracker)),
    }
    match &facts.port {
        None => {}
        Some(Ok(port)) => {
            let text = format!("port {port} can be used");
            findings.push(Finding::new("udp", Status::Ok, text));
        }
        Some(Err(reason)) => findings.push(
            Finding::new("udp", Status::Fail, reason)
                .advise("end the program that has the port, or choose another with --udp"),
        ),
    }
    let Some(reachability) = facts.reachability else {
        return findings;
    };
    let asked = facts.tracker.as_ref().is_some_and(|t| t.answer.is_ok());
    findings.extend(asked.then(|| judge_stun(facts, &reachability)));
    let port = match facts.port {
        Some(Ok(port)) => port,
        _ => 0,
    };
    findings.push(judge_family("ipv4", reachability.v4, port));
    findings.push(judge_family("ipv6", reachability.v6, port));
    let best = reachability.best();
    if !asked || best == Reach::Unknown {
        return findings;
    }
    findings.push(judge_relay(facts.turn, best));
    findings
}

fn judge_tracker(tracker: &Tracker) -> Vec<Finding> {
    let url = &tracker.url;
    let answer = match &tracker.answer {
        Ok(answer) => answer,
        Err(reason) => {
            return vec![
                Finding::new("tracker", Status::Fail, reason).advise(format!(
                    "see whether the address is right, and whether {url}/healthz opens in a browser"
                )),
            ];
        }
    };
    let took = answer.took.as_millis();
    let observed = &answer.observed;
    let text = format!("{url} answered in {took} ms and sees you at {observed}");
    let mut findings = vec![Finding::new("tracker", Status::Ok, text)];
    if let Some(off) = answer.clock {
        let seconds = off.as_secs();
        findings.push(if off <= CLOCK_TOLERATED {
            Finding::new("clock", Status::Ok, "agrees with the tracker's")
        } else {
            let text = format!("{seconds} s away from the tracker's");
            Finding::new("clock", Status::Note, text)
                .advise("set the clock: certificates and relay passwords depend on it")
        });
    }
    findings
}

fn judge_stun(facts: &Facts, reachability: &Reachability) -> Finding {
    let name = "stun";
    if facts.stun.is_empty() {
        let text = "no server to ask; trackers name none to programs on their own machine";
        return Finding::new(name, Status::Note, text);
    }
    let servers = facts.stun.join(", ");
    if facts.seen.is_empty() {
        let failed = if reachability.best() == Reach::Blocked {
            Status::Fail
        } else {
            Status::Note
        };
        return Finding::new(name, failed, format!("no answer from {servers}")).advise(
            "let UDP out of this network; if that is so, the tracker's UDP ports 3478 and 3479 \
             may be closed",
        );
    }
    let seen: Vec<String> = facts.seen.iter().map(SocketAddr::to_string).collect();
    let text = format!("your media comes from {}", seen.join(" and "));
    Finding::new(name, Status::Ok, text)
}

fn judge_relay(turn: Turn, best: Reach) -> Finding {
    let name = "relay";
    match (turn, best) {
        (Turn::Works, _) => {
            Finding::new(name, Status::Ok, "the tracker's TURN server relays for you")
        }
        (Turn::Fails, Reach::Blocked) => Finding::new(
            name,
            Status::Note,
            "the tracker's TURN server needs UDP, too",
        ),
        (Turn::Fails, _) => Finding::new(
            name,
            Status::Note,
            "the tracker's TURN server gives no address",
        )
        .advise("tell the tracker's operator: it may be down, or its secret not the tracker's"),
        (Turn::ForPages, _) => Finding::new(
            name,
            Status::Note,
            "the tracker's TURN server is for pages only",
        ),
        (Turn::None, Reach::Symmetric) => {
            let text = "no TURN server, which you need where no open node has room";
            Finding::new(name, Status::Note, text)
                .advise("ask the tracker's operator for one (--turn)")
        }
        (Turn::None, _) => Finding::new(name, Status::Ok, "no TURN server; you need none"),
    }
}

fn judge_family(name: &'static str, reach: Option<Reach>, port: u16) -> Finding {
    let forward =
        format!("forward UDP port {port} to this machine and run with --udp 0.0.0.0:{port}");
    match reach {
        None => Finding::new(name, Status::Ok, "this machine has no address of this kind"),
        Some(Reach::Unknown) => {
            let text = "nobody could tell how far packets from outside come";
            Finding::new(name, Status::Note, text)
        }
        Some(Reach::Open) => {
            let text = "open: packets from everybody come here, so anybody can be fed";
            Finding::new(name, Status::Ok, text)
        }
        Some(Reach::Cone) => {
            let text = "cone: behind a router or filter that most can get through";
            Finding::new(name, Status::Ok, text).advise(format!("to be open to all, {forward}"))
        }
        Some(Reach::Symmetric) => {
            let text = "symmetric: a router that only open nodes can get through";
            Finding::new(name, Status::Note, text)
                .advise(format!("to be reached by more, {forward}"))
        }
        Some(Reach::Blocked) => {
            let text = "blocked: no UDP packet came back";
            Finding::new(name, Status::Note, text)
        }
    }
}

/// Whether this machine can take part.
pub fn passes(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.status != Status::Fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(v4: Option<Reach>, v6: Option<Reach>) -> Facts {
        let answer = Answer {
            took: Duration::from_millis(23),
            observed: "192.0.2.7".into(),
            clock: Some(Duration::from_secs(1)),
        };
        Facts {
            tracker: Some(Tracker {
                url: "https://t.example".into(),
                answer: Ok(answer),
            }),
            port: Some(Ok(7144)),
            stun: vec!["stun:t.example:3478".into()],
            turn: Turn::None,
            seen: vec!["192.0.2.7:7144".parse().unwrap()],
            reachability: Some(Reachability { v4, v6 }),
        }
    }

    fn statuses(facts: &Facts) -> Vec<(&'static str, Status)> {
        let findings = judge(facts);
        findings.iter().map(|f| (f.name, f.status)).collect()
    }

    #[test]
    fn a_usual_home_passes_and_is_told_how_to_do_better() {
        let home = facts(Some(Reach::Cone), None);
        let findings = judge(&home);
        assert!(passes(&findings));
        assert!(
            findings.iter().all(|f| f.status == Status::Ok),
            "{findings:?}"
        );
        let advice = findings.iter().find_map(|f| f.advice.as_deref()).unwrap();
        assert!(advice.contains("UDP port 7144"), "{advice}");
    }

    #[test]
    fn what_fails_is_named() {
        let blocked = Facts {
            seen: Vec::new(),
            ..facts(Some(Reach::Blocked), None)
        };
        assert!(statuses(&blocked).contains(&("stun", Status::Fail)));
        assert!(!passes(&judge(&blocked)));
        // One family is enough.
        let six = facts(Some(Reach::Blocked), Some(Reach::Cone));
        assert!(passes(&judge(&six)));
        let down = Facts {
            tracker: Some(Tracker {
                url: "https://t.example".into(),
                answer: Err("the certificate has expired".into()),
            }),
            ..Facts::default()
        };
        assert_eq!(statuses(&down), [("tracker", Status::Fail)]);
        let busy = Facts {
            port: Some(Err("UDP port 9 is in use".into())),
            ..facts(None, None)
        };
        assert!(statuses(&busy).contains(&("udp", Status::Fail)));
    }

    #[test]
    fn what_could_be_better_is_noted() {
        let symmetric = facts(Some(Reach::Symmetric), None);
        let found = statuses(&symmetric);
        assert!(
            found.contains(&("ipv4", Status::Note)) && found.contains(&("relay", Status::Note))
        );
        assert!(passes(&judge(&symmetric)));
        let relays = |turn, reach| {
            let facts = Facts {
                turn,
                ..facts(Some(reach), None)
            };
            statuses(&facts)
                .into_iter()
                .find(|(name, _)| *name == "relay")
        };
        assert_eq!(
            relays(Turn::Works, Reach::Symmetric),
            Some(("relay", Status::Ok))
        );
        assert_eq!(
            relays(Turn::Fails, Reach::Cone),
            Some(("relay", Status::Note))
        );
        assert_eq!(relays(Turn::None, Reach::Cone), Some(("relay", Status::Ok)));
        let mut late = facts(Some(Reach::Open), None);
        if let Some(Tracker {
            answer: Ok(answer), ..
        }) = &mut late.tracker
        {
            answer.clock = Some(Duration::from_secs(3600));
        }
        assert!(statuses(&late).contains(&("clock", Status::Note)));
        let alone = Facts {
            stun: Vec::new(),
            seen: Vec::new(),
            ..facts(Some(Reach::Unknown), None)
        };
        assert!(passes(&judge(&alone)));
    }
}
