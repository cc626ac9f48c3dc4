//! Networks of the tests' own: Linux network namespaces, joined by virtual cables.
//!
//! A thread that runs [`Namespace::inside`] sees nothing but its namespace, and so does every
//! program it starts: the same harness works on this machine and in a network made for one test.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::run;

/// A network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// Whether this machine lets the tests make network namespaces; the reason where not.
///
/// # Errors
/// What is missing, for people.
pub fn available() -> Result<(), String> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    FOUND.get_or_init(probe).clone()
}

fn probe() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("network namespaces need root".into());
    }
    for program in ["ip", "nft"] {
        let runs = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !runs.is_ok_and(|_| true) {
            return Err(format!("there is no `{program}`"));
        }
    }
    let probe = format!("banyan-probe-{}", std::process::id());
    let made = Command::new("ip")
        .args(["netns", "add", &probe])
        .output()
        .map_err(|e| e.to_string())?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).trim().to_owned());
    }
    run("ip", &["netns", "del", &probe]);
    Ok(())
}

impl Namespace {
    /// A new one, with nothing in it but its loopback.
    pub fn new(label: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("banyan-{}-{count}-{label}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `work` in this network, with every program it starts.
    ///
    /// # Panics
    /// When `work` panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.name);
        let label = thread::current().name().unwrap_or("a test").to_owned();
        thread::scope(|scope| {
            thread::Builder::new()
                .name(label)
                .spawn_scoped(scope, || {
                    let file = File::open(path).unwrap();
                    let network = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(file.as_fd(), network).unwrap();
                    work()
                })
                .unwrap()
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `ip` with these arguments, in this network.
    pub fn ip(&self, args: &[&str]) {
        run("ip", &[&["-n", &self.name], args].concat());
    }

    /// Has this end of a cable send no more than so many kilobits per second, with a queue of 200 ms.
    pub fn limit(&self, device: &str, kilobits: u32) {
        let rate = format!("{kilobits}kbit");
        let line = ["rate", &rate, "burst", "16kb", "latency", "200ms"];
        let at = [
            "-n", &self.name, "qdisc", "replace", "dev", device, "root", "tbf",
        ];
        run("tc", &[&at[..], &line[..]].concat());
    }

    /// Loads nftables rules into this network.
    pub fn nft(&self, rules: &str) {
        let file = std::env::temp_dir().join(format!("{}.nft", self.name));
        std::fs::write(&file, rules).unwrap();
        let path = file.to_str().unwrap();
        self.inside(|| run("nft", &["-f", path]));
        std::fs::remove_file(&file).unwrap();
    }

    /// What nftables lists of this network: `counters`, say.
    pub fn nft_list(&self, what: &str) -> String {
        self.inside(|| run("nft", &["list", what]))
    }

    /// Has it forward packets between its cables.
    pub fn forward(&self) {
        self.set_forwarding("1");
    }

    /// Has it keep packets for others to itself, which not every new namespace does.
    pub fn do_not_forward(&self) {
        self.set_forwarding("0");
    }

    fn set_forwarding(&self, on: &str) {
        self.inside(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", on).unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", on).unwrap();
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Lays a cable between two networks and gives its ends these addresses (`10.0.0.1/24`). The names of
/// its ends.
pub fn cable(a: &Namespace, a_address: &str, b: &Namespace, b_address: &str) -> (String, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let ends = [("a", a, a_address), ("b", b, b_address)]
        .map(|(end, namespace, address)| (format!("v{count}{end}"), namespace, address));
    let [(a_end, a, _), (b_end, b, _)] = &ends;
    a.ip(&[
        "link", "add", a_end, "type", "veth", "peer", "name", b_end, "netns", &b.name,
    ]);
    for (end, namespace, address) in &ends {
        let mut add = vec!["addr", "add", address, "dev", end];
        if address.contains(':') {
            // Without duplicate address detection it can be used at once.
            add.push("nodad");
        }
        namespace.ip(&add);
        // A link-local address that appears a second later looks like a change of network, at
        // which browsers drop what they are loading.
        namespace.ip(&["link", "set", end, "addrgenmode", "none"]);
        namespace.ip(&["link", "set", end, "up"]);
    }
    (a_end.clone(), b_end.clone())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::turn::skip;

    #[test]
    fn a_cable_carries_packets_and_rules_drop_them() {
        if let Err(reason) = available() {
            return skip(&reason);
        }
        let (a, b) = (Namespace::new("a"), Namespace::new("b"));
        cable(&a, "10.4.0.1/24", &b, "10.4.0.2/24");
        let receiver = b.inside(|| UdpSocket::bind("10.4.0.2:9").unwrap());
        let sender = a.inside(|| UdpSocket::bind("10.4.0.1:0").unwrap());
        receiver
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let arrives = || {
            sender.send_to(b"hello", "10.4.0.2:9").unwrap();
            receiver.recv(&mut [0; 9]).is_ok()
        };
        assert!(arrives());
        b.nft(
            "table inet t {\n chain c {\n type filter hook input priority 0;\n \
             meta l4proto udp drop\n }\n}\n",
        );
        assert!(!arrives());
        // This machine's own network is another one.
        assert!(UdpSocket::bind("10.4.0.2:0").is_err());
    }
}
