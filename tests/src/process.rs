//! The real programs as child processes: started, asked, ended, killed.
//!
//! **Invariants:** every wait has a bound and a failure shows what the child wrote to standard
//! error; a child ends with its handle, and only own children are ended; the kernel chooses the
//! ports. **Not here:** what is expected of the programs (the tests).

pub mod contents;
pub mod crowd;
pub mod handheld;
pub mod namespaces;
pub mod nodes;
mod previous;
pub mod sink;

use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

pub use previous::previous;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A loaded machine is slow; what takes longer than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Any port of this machine.
pub const ANY: &str = "127.0.0.1:0";
/// The path of one of the workspace's programs, beside the test's own.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.is_file(), "{path:?} is missing: run `cargo build --workspace --bins` first");
    path
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn clean(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("FIELDMESH__") {
            command.env_remove(key);
        }
    }
    command.env("FIELDMESH__LOG__FILTER", "error").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The same, started by a wrapper in its own place where there is one.
fn clean_under(wrapper: &[impl AsRef<OsStr>], program: PathBuf) -> Command {
    let Some((wrapper, args)) = wrapper.split_first() else { return clean(program) };
    let mut command = clean(wrapper.into());
    command.args(args).arg(program);
    command
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// None after a signal.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    what: String,
}

impl Finished {
    fn new(what: String, status: ExitStatus, stdout: String, stderr: String) -> Self {
        Self { code: status.code(), signal: status.signal(), stdout, stderr, what }
    }

    /// The object that the last line of the output must be.
    #[track_caller]
    pub fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        match serde_json::from_str::<Value>(last) {
            Ok(value) if value.is_object() => value,
            _ => panic!("the last line of {} is not a JSON object\n{self}", self.what),
        }
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of {self}");
        self
    }

    /// The one line on standard error, which says all of these words.
    #[track_caller]
    pub fn expect_one_line(&self, words: &[&str]) {
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "one clear line of {self}");
        for word in words {
            assert!(lines[0].contains(word), "{word:?} is not said by {self}");
        }
    }
}

impl Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, signal, stdout, stderr, what } = self;
        write!(f, "{what}: ended with {code:?}, signal {signal:?}\n--- stdout\n{stdout}\n")?;
        write!(f, "--- stderr\n{stderr}")
    }
}

/// Runs a program to its end.
pub async fn run(name: &str, args: &[&str]) -> Finished {
    run_with(name, args, &[]).await
}

/// As [`run`], with additions to the environment.
pub async fn run_with(name: &str, args: &[&str], env: &[(&str, &str)]) -> Finished {
    let what = format!("{name} {}", args.join(" "));
    let mut command = clean(program(name));
    command.args(args).envs(env.iter().copied()).process_group(0);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let group = child.id().unwrap();
    // A replay takes several starts of a server, and a chaos run its own time beside.
    match timeout(4 * PATIENCE, child.wait_with_output()).await {
        Ok(output) => {
            let output = output.unwrap();
            let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Finished::new(what, output.status, lossy(&output.stdout), lossy(&output.stderr))
        }
        Err(_) => {
            // The program may have started servers of its own.
            signal("KILL", &format!("-{group}")).await;
            panic!("{what} does not end");
        }
    }
}

/// What a program says that reads this.
pub async fn run_with_input(name: &str, args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(name);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).await.unwrap();
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{name} {args:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command of an operator against the node of a data directory.
pub async fn fieldmesh(dir: &Path, args: &[&str]) -> Finished {
    run("fieldmesh", &[args, &["--json", "--data-dir", text(dir)]].concat()).await
}

/// The shell's own `kill`: a fresh machine has no other.
async fn signal(name: &str, target: &str) {
    let script = format!("kill -{name} \"$0\"");
    let status = Command::new("sh").args(["-c", &script, target]).status().await.unwrap();
    assert!(status.success(), "kill -{name} {target}: {status}");
}

/// A program that runs, with its lines.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: NamedTempFile,
    what: String,
    /// Lines that were read.
    said: Vec<String>,
}

impl Running {
    fn spawn(mut command: Command, what: String) -> Self {
        let stderr = NamedTempFile::new().unwrap();
        command.stdout(Stdio::piped()).stderr(stderr.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, stderr, what, said: Vec::new() }
    }

    /// Starts one of the programs.
    pub fn start(name: &str, args: &[&str]) -> Self {
        Self::start_under(&[], name, args)
    }

    /// The same, by a wrapper that starts it in its own place.
    pub fn start_under(wrapper: &[&str], name: &str, args: &[&str]) -> Self {
        let mut command = clean_under(wrapper, program(name));
        command.args(args);
        Self::spawn(command, format!("{name} {}", args.join(" ")))
    }

    /// All that it wrote to standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.stderr.path()).unwrap()).into_owned()
    }

    /// The next line, none at the end of the output, within a bound.
    pub async fn line_within(&mut self, bound: Duration) -> Result<Option<String>, &'static str> {
        let line = timeout(bound, self.lines.next_line()).await.map_err(|_| "no line in time")?;
        let line = line.map_err(|_| "the output cannot be read")?;
        self.said.extend(line.clone());
        Ok(line)
    }

    /// Reads JSON lines until one is as wanted.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let rest = PATIENCE.saturating_sub(began.elapsed());
            match self.line_within(rest).await {
                Ok(Some(line)) => match serde_json::from_str::<Value>(&line) {
                    Ok(value) if wanted(&value) => return value,
                    _ => {}
                },
                Ok(None) => panic!("{} ended before the wanted line\n{}", self.what, self.told()),
                Err(error) => panic!("{}: {error}\n{}", self.what, self.told()),
            }
        }
    }

    fn told(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.said.join("\n"), self.stderr())
    }

    /// Waits for its end.
    pub async fn finish(mut self) -> Finished {
        while let Ok(Some(_)) = self.line_within(PATIENCE).await {}
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("{} does not end\n{}", self.what, self.told());
        };
        let (stdout, stderr) = (self.said.join("\n"), self.stderr());
        Finished::new(self.what, status.unwrap(), stdout, stderr)
    }

    /// Its number among the processes.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends it at once.
    pub async fn kill(mut self) -> Finished {
        self.child.start_kill().unwrap();
        self.finish().await
    }

    /// Sends a signal by name.
    pub async fn signal(&self, name: &str) {
        signal(name, &self.pid().to_string()).await;
    }

    /// Sends a signal by name, and waits for the end.
    pub async fn end_with(self, name: &str) -> Finished {
        self.signal(name).await;
        self.finish().await
    }
}

/// How a server is to be started.
pub struct Launch {
    dir: PathBuf,
    program: String,
    /// Program and arguments that start the program behind them in their own place.
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
}

impl Launch {
    /// `fieldmesh dev` on any ports.
    pub fn dev(dir: &Path) -> Self {
        Self::dev_at(dir, ANY, ANY)
    }

    pub fn dev_at(dir: &Path, https: &str, devices: &str) -> Self {
        let args = ["dev", "--json", "--https", https, "--devices", devices, "--data-dir"];
        Self::of(dir, &args, dir)
    }

    /// The tested program with these arguments and a path behind them.
    fn of(dir: &Path, args: &[&str], last: &Path) -> Self {
        let args = args.iter().map(OsString::from).chain([last.into()]).collect();
        let (program, wrapper, env) = ("fieldmesh".into(), Vec::new(), Vec::new());
        Self { dir: dir.to_owned(), program, wrapper, args, env }
    }

    /// `fieldmesh node` on any ports.
    pub fn node(dir: &Path, passphrase_file: &Path) -> Self {
        let args = ["node", "--json", "--data-dir", text(dir), "--passphrase-file"];
        Self::of(dir, &args, passphrase_file)
            .env("FIELDMESH__LISTEN__HTTPS", ANY)
            .env("FIELDMESH__LISTEN__DEVICES", ANY)
    }

    /// `fieldmesh node` as its configuration says.
    pub fn member(dir: &Path, config: &Path, passphrase_file: &Path) -> Self {
        let args = ["node", "--json", "--config", text(config), "--passphrase-file"];
        Self::of(dir, &args, passphrase_file)
    }

    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    /// Another program than the one that is tested, by its path.
    pub fn program(mut self, path: &str) -> Self {
        path.clone_into(&mut self.program);
        self
    }

    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// The running server, or how it ended before it was ready.
    pub async fn outcome(self) -> Result<Server, Finished> {
        let mut command = clean_under(&self.wrapper, program(&self.program));
        command.args(&self.args).envs(self.env);
        let began = Instant::now();
        let what = self.args.join(OsStr::new(" ")).to_string_lossy().into_owned();
        let mut running = Running::spawn(command, what);
        match running.line_within(PATIENCE).await {
            Ok(Some(line)) if line.contains("\"ready\":true") => {
                let ready_after = began.elapsed();
                let ready: Value = serde_json::from_str(&line).unwrap();
                let address = |key: &str| {
                    ready[key].as_str().unwrap().trim_start_matches("https://").to_owned()
                };
                let (https, devices) = (address("https"), address("devices"));
                Ok(Server { running, dir: self.dir, https, devices, ready_after })
            }
            Ok(_) => Err(running.finish().await),
            Err(error) => panic!("{}: {error}\n{}", running.what, running.told()),
        }
    }

    pub async fn ready(self) -> Server {
        self.outcome().await.unwrap_or_else(|ended| panic!("the server did not start: {ended}"))
    }

    /// How it ended before it was ready.
    pub async fn refused(self) -> Finished {
        match self.outcome().await {
            Ok(server) => panic!("the server started all the same\n{}", server.running.told()),
            Err(ended) => ended,
        }
    }
}

/// A server that is ready.
pub struct Server {
    pub running: Running,
    pub dir: PathBuf,
    /// `host:port`.
    pub https: String,
    pub devices: String,
    /// From the start of the process to its word that it is ready.
    pub ready_after: Duration,
}

impl Server {
    /// The same server once more: same directory, same addresses.
    pub fn again(&self) -> Launch {
        Launch::dev_at(&self.dir, &self.https, &self.devices)
    }

    pub async fn kill(self) -> Finished {
        self.running.kill().await
    }

    pub async fn terminate(self) -> Finished {
        self.running.end_with("TERM").await
    }

    /// What a monitor sees of it, which has no certificate.
    pub async fn metrics(&self) -> String {
        let url = format!("https://{}/metrics", self.https);
        run("/usr/bin/curl", &["-sSfk", &url]).await.expect_code(0).stdout
    }

    pub async fn ask(&self, args: &[&str]) -> Value {
        fieldmesh(&self.dir, args).await.expect_code(0).json()
    }

    /// The rows of every ticket, page by page.
    pub async fn all_tickets(&self) -> Vec<Value> {
        let (mut rows, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut args = vec!["ticket", "list", "--limit", "100"];
            args.extend(after.iter().flat_map(|after| ["--after", after.as_str()]));
            let page = self.ask(&args).await;
            rows.extend(page["rows"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return rows,
            }
        }
    }

    /// Imports rows of CSV; `kind` is `customer` or `tech`. Their identifiers.
    pub async fn register(&self, kind: &str, csv: &str) -> Vec<String> {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), csv).unwrap();
        let imported = self.ask(&[kind, "import", text(file.path())]).await;
        let ids = imported["ids"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }
}
