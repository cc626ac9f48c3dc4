//! `banyan top` at a real mesh, as plain text and on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use banyan_tests::binaries::binary;
use banyan_tests::mesh::{Args, Broadcast, Node, START};
use banyan_tests::process::Process;
use banyan_tests::turn::share_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, wait_for};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

fn once(link: &str) -> (Option<i32>, String, String) {
    let args = Args::of(["top", link]).flag("--once");
    let mut process = Process::start("top", binary("banyan"), args);
    let code = process.wait(START);
    (code, process.stdout(), process.stderr())
}

/// The first letters of a peer's name, which is how it is shown.
fn short(id: &str) -> &str {
    &id[..6]
}

#[test]
fn the_printed_tree_is_the_trackers() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let mut nodes = Vec::new();
    for number in 1..=3 {
        let name = format!("relay-{number}");
        nodes.push(Node::relay(&directory, &name, &root.link, 2));
        root.wait_for_peers(number + 1, secs(10));
    }
    for node in &nodes {
        node.wait_for_media(secs(10));
    }
    let shown = wait_for("the stream's rate", secs(15), || {
        let (code, shown, words) = once(&root.link);
        assert_eq!(code, Some(0), "{words}");
        shown.contains("bit/s").then_some(shown)
    });
    let lines: Vec<&str> = shown.lines().collect();
    for words in ["live", "3 viewers"] {
        assert!(lines[0].contains(words), "'{words}' in {shown}");
    }
    assert_eq!(lines[1], "no heals  peers per level 1 1 2", "{shown}");
    assert!(lines[2].starts_with("PEER"), "{shown}");
    let tree = root.tree();
    assert_eq!(lines.len(), 3 + tree.len(), "{shown}");
    // Who stands under whom: the nearest row above that stands further to the left.
    let mut path: Vec<&str> = Vec::new();
    for line in &lines[3..] {
        let at = line.find(|c: char| c.is_ascii_alphanumeric()).unwrap();
        let depth = line[..at].chars().count() / 2;
        let name = line[at..].split_whitespace().next().unwrap();
        path.truncate(depth);
        let peer = tree.iter().find(|peer| short(&peer.id) == name);
        let peer = peer.unwrap_or_else(|| panic!("{name} is not in the tree: {shown}"));
        assert_eq!(peer.depth as usize, depth, "{shown}");
        assert_eq!(
            peer.parent.as_deref().map(short),
            path.last().copied(),
            "{shown}"
        );
        let feeds = format!("{}/{}", peer.used, peer.slots);
        assert!(line.contains(&feeds), "{feeds} in {line}");
        path.push(name);
    }

    // What cannot be shown is said in a sentence.
    let unknown = root.link.replace(&root.stream, &"a".repeat(52));
    let (code, _, words) = once(&unknown);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("does not know the stream"), "{words}");
    let nobody = format!("http://127.0.0.1:9/watch/{}", root.stream);
    let (code, _, words) = once(&nobody);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("does not answer"), "{words}");
}

/// A program on a terminal of 100 columns and 30 rows.
struct OnTerminal {
    program: Child,
    keyboard: File,
    /// Keeps the terminal open, so that its settings can be read after the program has ended.
    terminal: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl OnTerminal {
    fn start(args: Args) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let name = name.into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(name).unwrap();
        let size = Winsize {
            ws_row: 30,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let program = Command::new(binary("banyan"))
            .args(args)
            .stdin(terminal.try_clone().unwrap())
            .stdout(terminal.try_clone().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let keyboard = File::from(keyboard);
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut screen, into) = (keyboard.try_clone().unwrap(), Arc::clone(&shown));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                into.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            program,
            keyboard,
            terminal: terminal.into(),
            shown,
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Whether lines are edited and keys echoed, as a shell wants it.
    fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn wait(&mut self) -> Option<i32> {
        let status = wait_for("the end of top", secs(5), || {
            self.program.try_wait().unwrap()
        });
        status.code()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn a_terminal_shows_the_tree_and_gets_back_how_it_was() {
    const ALTERNATE: &str = "\u{1b}[?1049h";
    const BACK: &str = "\u{1b}[?1049l";
    const SHOW_CURSOR: &str = "\u{1b}[?25h";
    let _turn = share_turn();
    let directory = TempDir::new();
    let mut root = Broadcast::with_slots(&directory, 2);
    let relay = Node::relay(&directory, "relay", &root.link, 2);
    root.wait_for_peers(2, secs(10));
    let name = short(&relay.wait_for_media(secs(10)).peer).to_owned();
    for end in ["q", "\u{3}", "the tracker goes"] {
        let mut top = OnTerminal::start(Args::of(["top", &root.link]));
        wait_for("the relay on the screen", secs(10), || {
            top.shown().contains(&name).then_some(())
        });
        assert!(top.shown().contains(ALTERNATE));
        assert!(!top.is_as_it_was(), "keys come one by one");
        if end == "the tracker goes" {
            root.process.kill();
            wait_for("the trouble on the screen", secs(10), || {
                top.shown().contains("trying again").then_some(())
            });
            assert!(top.program.try_wait().unwrap().is_none(), "it waits");
            top.keyboard.write_all(b"q").unwrap();
        } else {
            top.keyboard.write_all(end.as_bytes()).unwrap();
        }
        assert_eq!(top.wait(), Some(0), "after {end:?}");
        assert!(top.is_as_it_was(), "after {end:?}");
        wait_for("the screen that was there before", secs(2), || {
            let shown = top.shown();
            (shown.contains(BACK) && shown.contains(SHOW_CURSOR)).then_some(())
        });
    }
}
