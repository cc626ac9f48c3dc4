//! A small driver for headless Chromium.
//!
//! It speaks the DevTools protocol over a pair of pipes (`--remote-debugging-pipe`): no port, so
//! it reaches a browser in another network namespace too, and the browser ends when the test does.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::workspace::TempDir;
use crate::{secs, wait_for};

/// How a browser starts.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// Whether a page may play sound before anybody touched it. People's browsers do not allow
    /// that.
    pub sound_without_click: bool,
    /// Width and height of the window in CSS pixels.
    pub window: (u32, u32),
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            sound_without_click: true,
            window: (1000, 800),
        }
    }
}

/// One browser with one page. Killed, with all its processes, when dropped.
#[derive(Debug)]
pub struct Chromium {
    child: Child,
    pipe: Mutex<ChildStdin>,
    answers: Arc<Answers>,
    session: String,
    _profile: TempDir,
}

#[derive(Debug, Default)]
struct Answers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    answers: HashMap<u64, Value>,
    console: Vec<String>,
    ended: bool,
}

/// Time the browser has for one command.
const COMMAND: Duration = Duration::from_secs(20);

/// The browser's program, or none where it is not installed.
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|directory| {
            ["chromium", "chromium-browser", "google-chrome"].map(|n| directory.join(n))
        })
        .find(|file| file.is_file())
}

impl Chromium {
    /// Starts a browser with an empty profile.
    pub fn start(launch: Launch) -> Self {
        let program = installed().unwrap();
        let profile = TempDir::new();
        let mut user_data = OsString::from("--user-data-dir=");
        user_data.push(profile.path());
        let (width, height) = launch.window;
        let mut command = Command::new("sh");
        // The protocol's pipes are descriptors 3 and 4 of the browser.
        command
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
            ])
            .arg(format!("--window-size={width},{height}"))
            .args(["--remote-debugging-pipe"])
            .arg(user_data);
        if launch.sound_without_click {
            command.arg("--autoplay-policy=no-user-gesture-required");
        }
        let mut child = command
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipe = Mutex::new(child.stdin.take().unwrap());
        let answers = Arc::new(Answers::default());
        read_answers(child.stdout.take().unwrap(), Arc::clone(&answers));
        let mut browser = Self {
            child,
            pipe,
            answers,
            session: String::new(),
            _profile: profile,
        };
        let targets = browser.command("Target.getTargets", json!({}));
        let page = targets["targetInfos"]
            .as_array()
            .and_then(|all| all.iter().find(|target| target["type"] == "page"))
            .map_or_else(
                || browser.command("Target.createTarget", json!({"url": "about:blank"})),
                Clone::clone,
            );
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.command("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        browser.command("Page.enable", json!({}));
        browser.command("Runtime.enable", json!({}));
        browser
    }

    /// Sends one command of the protocol and waits for its result.
    ///
    /// # Panics
    /// When the browser refuses it, has ended, or does not answer in time.
    pub fn command(&self, method: &str, params: Value) -> Value {
        self.try_command(method, params)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_command(&self, method: &str, params: Value) -> Result<Value, String> {
        let id = {
            let mut state = self.answers.state.lock().unwrap();
            state.next_id += 1;
            state.next_id
        };
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let mut pipe = self.pipe.lock().unwrap();
        pipe.write_all(&bytes).map_err(|e| e.to_string())?;
        pipe.flush().map_err(|e| e.to_string())?;
        drop(pipe);

        let deadline = Instant::now() + COMMAND;
        let mut state = self.answers.state.lock().unwrap();
        loop {
            if let Some(mut answer) = state.answers.remove(&id) {
                return match answer.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(answer["result"].take()),
                };
            }
            if state.ended {
                return Err("the browser has ended".into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no answer within {COMMAND:?}"));
            }
            state = self.answers.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Has `script` run in every page before the page's own scripts.
    pub fn install(&self, script: &str) {
        let params = json!({"source": script});
        self.command("Page.addScriptToEvaluateOnNewDocument", params);
    }

    /// Opens an address.
    pub fn open(&self, url: &str) {
        let answer = self.command("Page.navigate", json!({"url": url}));
        assert!(answer.get("errorText").is_none(), "{url}: {answer}");
    }

    /// The value of a JavaScript expression; a promise is awaited.
    ///
    /// # Panics
    /// When it throws.
    pub fn evaluate(&self, expression: &str) -> Value {
        self.try_evaluate(expression)
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// The same, for pages that may just be loading.
    ///
    /// # Errors
    /// What the expression threw.
    pub fn try_evaluate(&self, expression: &str) -> Result<Value, String> {
        let mut answer = self.try_command(
            "Runtime.evaluate",
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
        )?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(details["exception"]["description"]
                .as_str()
                .map_or_else(|| details.to_string(), str::to_owned)),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// A real click, as from a mouse, in the middle of the element a CSS selector finds, once it
    /// rests and nothing covers it: a person too waits for what glides about.
    pub fn click(&self, selector: &str) {
        let at_rest = format!(
            "(async () => {{
                const find = () => document.querySelector({});
                const place = (e) => {{
                    const r = e.getBoundingClientRect();
                    return [r.x + r.width / 2, r.y + r.height / 2];
                }};
                const first = find();
                if (!first) return null;
                first.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const [x, y] = place(first);
                await new Promise((resolve) => setTimeout(resolve, 150));
                const e = find();
                if (!e) return null;
                const [atX, atY] = place(e);
                const rests = Math.hypot(atX - x, atY - y) < 0.5;
                return rests && e.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
            }})()",
            json!(selector)
        );
        let place = wait_for(&format!("{selector} at rest"), secs(10), || {
            Some(self.try_evaluate(&at_rest).ok()?).filter(Value::is_array)
        });
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let params = json!({
                "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1,
            });
            self.command("Input.dispatchMouseEvent", params);
        }
    }

    /// Writes a picture of the page, as base64 of a PNG, next to the test's other files.
    pub fn screenshot(&self) -> String {
        let picture = self.command("Page.captureScreenshot", json!({"format": "png"}));
        picture["data"].as_str().unwrap().to_owned()
    }

    /// What the page wrote to its console, and exceptions nobody caught.
    pub fn console(&self) -> Vec<String> {
        self.answers.state.lock().unwrap().console.clone()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if thread::panicking() {
            let url = self.try_evaluate("location.href").unwrap_or_default();
            eprintln!("--- the console of {url}");
            for line in self.console() {
                eprintln!("    {line}");
            }
        }
        // Asked to close, it ends its own helper processes.
        let _ = self.try_command("Browser.close", json!({}));
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.wait();
    }
}

fn read_answers(pipe: impl Read + Send + 'static, answers: Arc<Answers>) {
    thread::spawn(move || {
        for message in BufReader::new(pipe).split(0) {
            let Ok(message) = message else { break };
            let Ok(message) = serde_json::from_slice::<Value>(&message) else {
                continue;
            };
            let mut state = answers.state.lock().unwrap();
            if let Some(id) = message["id"].as_u64() {
                state.answers.insert(id, message);
            } else if let Some(line) = console_line(&message) {
                state.console.push(line);
            }
            answers.changed.notify_all();
        }
        answers.state.lock().unwrap().ended = true;
        answers.changed.notify_all();
    });
}

fn console_line(event: &Value) -> Option<String> {
    match event["method"].as_str()? {
        "Runtime.consoleAPICalled" => {
            let arguments = event["params"]["args"].as_array()?;
            let words: Vec<String> = arguments
                .iter()
                .map(|a| match a["value"].as_str() {
                    Some(text) => text.to_owned(),
                    None => a["description"].as_str().unwrap_or("").to_owned(),
                })
                .collect();
            let kind = event["params"]["type"].as_str()?;
            Some(format!("{kind}: {}", words.join(" ")))
        }
        "Runtime.exceptionThrown" => Some(format!(
            "uncaught: {}",
            event["params"]["exceptionDetails"]["exception"]["description"]
        )),
        _ => None,
    }
}
