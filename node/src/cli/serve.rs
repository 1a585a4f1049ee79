//! `init`, `node`, `unseal` and `dev`: a deployment made, a node run.

use std::path::{Path, PathBuf};

use clap::Args;
#[cfg(target_os = "linux")]
use rustix::process::{
    DumpableBehavior, Signal as KernelSignal, getppid, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use super::{
    CliError, Common, Output, configuration, output::chain, start_logging, unlock::Unlock,
};
use crate::{
    config::Config,
    deployment::{Deployment, DeploymentError, Making, pem_objects},
    files::{self, Access},
    os::{SystemClock, SystemEntropy},
    sealed,
    server::{Server, ServerError},
};
use fieldmesh_actors::seams::Entropy;
use fieldmesh_pki::pkcs11::TokenAddress;

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// Root certificates that are kept elsewhere, PEM: init then writes a request that one of them is
    /// to sign (`fieldmesh ca root sign`), and waits for --issuing.
    #[arg(long, conflicts_with = "issuing")]
    roots: Option<PathBuf>,
    /// The issuing CA's certificate that came back from there.
    #[arg(long)]
    issuing: Option<PathBuf>,
    /// PKCS#11 token for the issuing CA's key and the seal, as pkcs11:token=…;object=…?module-path=…
    /// (RFC 7512). Its PIN takes the place of the passphrase.
    #[arg(long, conflicts_with = "issuing")]
    token: Option<TokenAddress>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// Start without the passphrase or PIN and wait for `fieldmesh unseal`; meanwhile only what needs
    /// no key is served.
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    sealed: bool,
    /// End when the program that started this ends, however that is: for clusters that a command makes for itself.
    #[arg(long, hide = true, value_name = "ITS-PROCESS")]
    with_parent: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct UnsealArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// TCP address for HTTPS; port 0 for any.
    #[arg(long)]
    https: Option<String>,
    /// UDP address for devices; port 0 for any.
    #[arg(long)]
    devices: Option<String>,
}

/// The passphrase of a development deployment: made once, kept beside it for its owner.
pub(crate) fn development_passphrase(dir: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let path = dir.join("development.passphrase");
    let failed = |error: std::io::Error| CliError::usage(format!("{}: {error}", path.display()));
    if path.exists() {
        return files::read(&path).map(Zeroizing::new).map_err(failed);
    }
    if Deployment::is_there(dir) {
        return Err(CliError::usage(format!(
            "{} was made with a passphrase of its own: run `fieldmesh node`",
            dir.display()
        )));
    }
    files::make_private_dir(dir).map_err(failed)?;
    let mut random = Zeroizing::new([0; 32]);
    SystemEntropy::default().fill(&mut *random);
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*random));
    files::write(&path, text.as_bytes(), Access::Owner).map_err(failed)?;
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

fn create(config: &Config, passphrase: &[u8]) -> Result<(), CliError> {
    Deployment::create(config, passphrase, &SystemClock, &SystemEntropy::default())
        .map_err(|error| CliError::usage(chain(&error)))
}

pub(crate) fn init(args: &InitArgs, output: &Output) -> Result<(), CliError> {
    let config = configuration(&args.common, &[])?;
    let (clock, entropy) = (SystemClock, SystemEntropy::default());
    let dir = config.node.data_dir.display();
    let failed = |error: DeploymentError| CliError::usage(chain(&error));
    if let Some(path) = &args.issuing {
        let token = Deployment::token(&config).map_err(failed)?;
        let secret = args.unlock.secret(token.is_some())?;
        let certificate = certificates(path)?.remove(0);
        Deployment::complete(&config, &secret, certificate, &clock, &entropy).map_err(failed)?;
        output.say(format_args!("{dir} is complete"));
    } else {
        let roots = args.roots.as_deref().map(certificates).transpose()?;
        let making = Making { token: args.token.clone(), roots };
        let secret = args.unlock.secret(making.token.is_some())?;
        let request = Deployment::make(&config, &secret, &making, &clock, &entropy);
        match request.map_err(failed)? {
            Some(request) => {
                let request = request.display();
                output.say(format_args!(
                    "made {dir}, which waits: have {request} signed with `fieldmesh ca root sign`, then run `fieldmesh init --issuing CERTIFICATE`"
                ));
                output
                    .result(json!({ "data_dir": dir.to_string(), "request": request.to_string() }));
                return Ok(());
            }
            None => output.say(format_args!(
                "made {dir}; move {dir}/root.key.sealed and {dir}/root2.key.sealed to offline media"
            )),
        }
    }
    output.result(json!({ "data_dir": dir.to_string(), "cluster": config.cluster.name, "region": config.cluster.region }));
    Ok(())
}

/// The certificates of a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    let bytes = files::read(path)
        .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
    let found = pem_objects(&bytes);
    if found.is_empty() {
        return Err(CliError::usage(format!("{} holds no certificate", path.display())));
    }
    Ok(found)
}

/// Starts a server for development: makes its deployment where there is none.
pub(crate) async fn start_development(config: &Config) -> Result<Server, CliError> {
    let passphrase = development_passphrase(&config.node.data_dir)?;
    if !Deployment::is_there(&config.node.data_dir) {
        create(config, &passphrase)?;
    }
    Server::start(config, &passphrase).await.map_err(|error| not_started(&error))
}

/// Whose start the other nodes refused was told so by them; any other has its reason on this machine.
fn not_started(error: &ServerError) -> CliError {
    match error {
        ServerError::SentAway(_) => CliError::refused(chain(error)),
        error => CliError::usage(chain(error)),
    }
}

pub(crate) async fn node(args: &NodeArgs, output: &Output) -> Result<(), CliError> {
    if let Some(parent) = args.with_parent {
        end_with_parent(parent)?;
    }
    let config = configuration(&args.common, &[])?;
    start_logging(&config);
    // Whoever runs chaos counts a node's open files, which are not shown then; a debugger is there already.
    if !config.chaos.enabled && !is_traced() {
        keep_to_itself()?;
    }
    let token = Deployment::token(&config).map_err(|error| CliError::usage(chain(&error)))?;
    let secret = if args.sealed {
        let wait = sealed::wait(&config, |at| {
            output.say(format_args!("sealed: run `fieldmesh unseal`; HTTP http://{at}"));
            output.tell(&json!({ "sealed": true, "http": format!("http://{at}") }));
        });
        match wait.await.map_err(|error| CliError::usage(chain(&error)))? {
            Some(secret) => secret,
            None => return Ok(()),
        }
    } else {
        args.unlock.secret(token.is_some())?
    };
    let server = Server::start(&config, &secret).await.map_err(|error| not_started(&error))?;
    serve(server, &config, output, || configuration(&args.common, &[])).await
}

#[cfg(target_os = "linux")]
fn end_with_parent(parent: i32) -> Result<(), CliError> {
    set_parent_process_death_signal(Some(KernelSignal::KILL)).map_err(|error| {
        CliError::failed(format!("the kernel does not tell of the parent's end: {error}"))
    })?;
    // It may have ended before the kernel was asked.
    let is_there = getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent);
    if is_there { Ok(()) } else { Err(CliError::failed("the program that started this has ended")) }
}

/// Elsewhere whoever kills the parent ends its children.
#[cfg(not(target_os = "linux"))]
fn end_with_parent(_parent: i32) -> Result<(), CliError> {
    Ok(())
}

/// Keys are in memory: from here on no core file holds them, and nobody but root looks in.
#[cfg(target_os = "linux")]
fn keep_to_itself() -> Result<(), CliError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| {
        CliError::failed(format!(
            "the kernel does not keep this process out of core files: {error}"
        ))
    })
}

/// Whether the kernel says that another program traces this one.
fn is_traced() -> bool {
    let status = files::read(Path::new("/proc/self/status")).unwrap_or_default();
    let is_tracer = |line: &str| line.strip_prefix("TracerPid:").is_some_and(|it| it.trim() != "0");
    String::from_utf8_lossy(&status).lines().any(is_tracer)
}

/// Elsewhere whoever starts the node limits core files.
#[cfg(not(target_os = "linux"))]
fn keep_to_itself() -> Result<(), CliError> {
    Ok(())
}

pub(crate) async fn unseal(args: &UnsealArgs, output: &Output) -> Result<(), CliError> {
    let config = configuration(&args.common, &[])?;
    let token = Deployment::token(&config).map_err(|error| CliError::usage(chain(&error)))?;
    let secret = args.unlock.secret(token.is_some())?;
    sealed::unseal(&config, &secret).await.map_err(|error| match error {
        sealed::UnsealError::Refused(why) => CliError::refused(why),
        error => CliError::unreachable(chain(&error)),
    })?;
    output.say("unsealed");
    output.result(json!({ "unsealed": true }));
    Ok(())
}

pub(crate) async fn dev(args: &DevArgs, output: &Output) -> Result<(), CliError> {
    let flags = [("listen.https", args.https.clone()), ("listen.devices", args.devices.clone())];
    let config = configuration(&args.common, &flags)?;
    start_logging(&config);
    let server = start_development(&config).await?;
    serve(server, &config, output, || configuration(&args.common, &flags)).await
}

async fn serve(
    server: Server,
    config: &Config,
    output: &Output,
    again: impl Fn() -> Result<Config, CliError>,
) -> Result<(), CliError> {
    // Listened to before "ready" is said: whoever reads it may end the node at once.
    let mut signals = Signals::listen(server.faults.is_some())?;
    write_addresses(&config.node.data_dir, &server)?;
    let dir = config.node.data_dir.display().to_string();
    output.say(format_args!(
        "ready: HTTPS https://{}, devices {} (UDP), CRL and OCSP http://{}, data {dir}",
        server.https, server.devices, server.http
    ));
    output.tell(&json!({
        "ready": true,
        "https": format!("https://{}", server.https),
        "http": format!("http://{}", server.http),
        "devices": server.devices.to_string(),
        "data_dir": dir,
        "pid": std::process::id(),
    }));
    let ended = loop {
        let told = tokio::select! {
            told = signals.received() => told,
            why = server.sent_away() => break Err(CliError::refused(chain(&why))),
        };
        match told {
            Told::End => break Ok(()),
            Told::ReadAgain => {}
        }
        match (again(), &server.faults) {
            (Ok(config), Some(faults)) => faults.set(config.chaos.rules),
            (Ok(_), None) => {}
            // What was in force stays so.
            (Err(error), _) => tracing::error!(?error, "the rules of [chaos] stay as they are"),
        }
    };
    server.stop().await;
    ended
}

/// So that commands on this machine find the node, whatever its ports.
pub(crate) fn write_addresses(dir: &Path, server: &Server) -> Result<(), CliError> {
    let text = json!({
        "https": server.https.to_string(),
        "http": server.http.to_string(),
        "devices": server.devices.to_string(),
    })
    .to_string();
    files::write(&dir.join("addresses.json"), text.as_bytes(), Access::Owner)
        .map_err(|error| CliError::failed(format!("addresses.json cannot be written: {error}")))
}

/// What a signal asks for.
enum Told {
    /// To end in order.
    End,
    /// To read the rules of chaos again.
    ReadAgain,
}

/// The signals that a node follows.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Only of a node with chaos; any other ends by it, as every program does.
    hangup: Option<Signal>,
}

impl Signals {
    fn listen(with_hangup: bool) -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CliError::failed(format!("signals cannot be listened to: {error}"))
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: with_hangup.then(|| listen(SignalKind::hangup())).transpose()?,
        })
    }

    async fn received(&mut self) -> Told {
        let Self { interrupt, terminate, hangup } = self;
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Told::End,
            _ = terminate.recv() => Told::End,
            _ = hangup => Told::ReadAgain,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn a_node_is_in_no_core_file() {
        keep_to_itself().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        // Other tests of this process may look into it.
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
