//! The signals by which somebody ends a run: the first one gives it up in order, another one at once.
//!
//! **Invariant:** a signal that came is not forgotten, whenever it is asked for. **Not here:** what giving up is
//! (`run`).

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::cli::CliError;

/// What was told so far.
#[derive(Clone)]
pub(super) struct Interrupt(watch::Receiver<u32>);

impl Interrupt {
    /// Takes SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// Signals that cannot be listened to.
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CliError::failed(format!("signals cannot be listened to: {error}"))
            })
        };
        let (interrupt, terminate) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let (tell, told) = watch::channel(0);
        tokio::spawn(count(interrupt, terminate, tell));
        Ok(Self(told))
    }

    /// Where somebody else takes the signals.
    pub(super) fn never() -> Self {
        Self(watch::channel(0).1)
    }

    /// Why the run is given up; none: nobody wants that.
    pub(super) fn why(&self) -> Option<String> {
        (*self.0.borrow() > 0).then(|| "it was interrupted".to_owned())
    }

    /// Until there is a second signal.
    pub(super) async fn again(&self) {
        let mut told = self.0.clone();
        if told.wait_for(|times| *times > 1).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn count(mut interrupt: Signal, mut terminate: Signal, tell: watch::Sender<u32>) {
    loop {
        tokio::select! {
            Some(()) = interrupt.recv() => {}
            Some(()) = terminate.recv() => {}
            else => return,
        }
        tell.send_modify(|times| *times = times.saturating_add(1));
    }
}
