//! `init`, `node` and `dev`: a deployment made, a node run.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use super::{CliError, Common, Output, configuration, output::chain, start_logging};
use crate::{
    config::Config,
    deployment::Deployment,
    files::{self, Access},
    os::{SystemClock, SystemEntropy},
    server::Server,
};
use fieldmesh_actors::seams::Entropy;

/// Bytes of a passphrase at least: what `dev` makes has 43.
const PASSPHRASE_BYTES_MIN: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
struct PassphraseArgs {
    /// File with the passphrase for the secrets; without it the passphrase is read from standard
    /// input.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
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

fn passphrase(args: &PassphraseArgs) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut text = match &args.passphrase_file {
        Some(path) => Zeroizing::new(
            files::read(path)
                .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?,
        ),
        None => {
            let mut line = Zeroizing::new(String::new());
            // A prompt that cannot be shown is no reason not to read.
            drop(std::io::stderr().write_all(b"passphrase: "));
            std::io::stdin()
                .read_line(&mut line)
                .map_err(|error| CliError::usage(format!("no passphrase: {error}")))?;
            Zeroizing::new(line.as_bytes().to_vec())
        }
    };
    while text.last().is_some_and(u8::is_ascii_whitespace) {
        text.pop();
    }
    if text.len() < PASSPHRASE_BYTES_MIN {
        return Err(CliError::usage("the passphrase has fewer than 12 characters"));
    }
    Ok(text)
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
    create(&config, &passphrase(&args.passphrase)?)?;
    let dir = config.node.data_dir.display();
    output.say(format_args!("made {dir}; move {dir}/root.key.sealed to an offline medium"));
    output.result(json!({ "data_dir": dir.to_string(), "cluster": config.cluster.name, "region": config.cluster.region }));
    Ok(())
}

/// Starts a server for development: makes its deployment where there is none.
pub(crate) async fn start_development(config: &Config) -> Result<Server, CliError> {
    let passphrase = development_passphrase(&config.node.data_dir)?;
    if !Deployment::is_there(&config.node.data_dir) {
        create(config, &passphrase)?;
    }
    Server::start(config, &passphrase).await.map_err(|error| CliError::usage(chain(&error)))
}

pub(crate) async fn node(args: &NodeArgs, output: &Output) -> Result<(), CliError> {
    let config = configuration(&args.common, &[])?;
    start_logging(&config);
    let passphrase = passphrase(&args.passphrase)?;
    let server = Server::start(&config, &passphrase)
        .await
        .map_err(|error| CliError::usage(chain(&error)))?;
    serve(server, &config, output).await
}

pub(crate) async fn dev(args: &DevArgs, output: &Output) -> Result<(), CliError> {
    let flags = [("listen.https", args.https.clone()), ("listen.devices", args.devices.clone())];
    let config = configuration(&args.common, &flags)?;
    start_logging(&config);
    let server = start_development(&config).await?;
    serve(server, &config, output).await
}

async fn serve(server: Server, config: &Config, output: &Output) -> Result<(), CliError> {
    // Listened to before "ready" is said: whoever reads it may end the node at once.
    let mut signals = StopSignals::listen()?;
    write_addresses(&config.node.data_dir, &server)?;
    let dir = config.node.data_dir.display().to_string();
    output.say(format_args!(
        "ready: HTTPS https://{}, devices {} (UDP), data {dir}",
        server.https, server.devices
    ));
    output.tell(&json!({
        "ready": true,
        "https": format!("https://{}", server.https),
        "devices": server.devices.to_string(),
        "data_dir": dir,
        "pid": std::process::id(),
    }));
    signals.received().await;
    server.stop().await;
    Ok(())
}

/// So that commands on this machine find the node, whatever its ports.
pub(crate) fn write_addresses(dir: &Path, server: &Server) -> Result<(), CliError> {
    let text = json!({ "https": server.https.to_string(), "devices": server.devices.to_string() })
        .to_string();
    files::write(&dir.join("addresses.json"), text.as_bytes(), Access::Owner)
        .map_err(|error| CliError::failed(format!("addresses.json cannot be written: {error}")))
}

/// The signals that end a node in order.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CliError::failed(format!("signals cannot be listened to: {error}"))
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
