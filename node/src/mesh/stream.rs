//! The two halves of a mesh stream, in frames (`head`).
//!
//! **Invariant:** a length above the reader's limit ends the stream before anything is reserved for it.
//! **Not here:** what is in a frame.

use quinn::{ReadError, ReadExactError, RecvStream, SendStream, VarInt, WriteError};

use super::head::Arriving;

/// Reset code of a stream that does not hold frames.
pub(super) const MALFORMED: VarInt = VarInt::from_u32(1);
/// Reset code of a stream whose sender wants no answer any more.
pub(super) const GIVEN_UP: VarInt = VarInt::from_u32(2);
/// What a length of four bytes can say.
const MAX: usize = u32::MAX as usize;

/// Why a frame did not arrive, or did not leave.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {length} bytes, where {max} are allowed")]
    TooLong { length: usize, max: usize },
    #[error("the stream ended within a frame")]
    Cut,
    #[error("the stream failed: {0}")]
    Stream(String),
}

impl From<WriteError> for FrameError {
    fn from(error: WriteError) -> Self {
        Self::Stream(match error {
            // Why the other side closed it is inside.
            WriteError::ConnectionLost(error) => error.to_string(),
            error => error.to_string(),
        })
    }
}

/// What is sent to the other side.
pub struct Sending(pub(super) SendStream);

/// What comes from the other side.
pub struct Receiving(pub(super) RecvStream);

impl Sending {
    /// Sends one frame.
    ///
    /// # Errors
    /// Where the stream or its connection has ended.
    pub async fn frame(&mut self, body: &[u8]) -> Result<(), FrameError> {
        let length = u32::try_from(body.len());
        let length = length.map_err(|_| FrameError::TooLong { length: body.len(), max: MAX })?;
        // One write: one packet where there is room.
        Ok(self.0.write_all(&[&length.to_be_bytes(), body].concat()).await?)
    }

    /// Says that no more comes.
    pub fn finish(&mut self) {
        // Where the connection has ended, nobody is left to be told.
        drop(self.0.finish());
    }

    /// Ends the stream as one that was not understood.
    pub fn refuse(&mut self) {
        drop(self.0.reset(MALFORMED));
    }

    /// Ends the stream in the middle: what waits to be sent is not sent.
    pub fn give_up(&mut self) {
        drop(self.0.reset(GIVEN_UP));
    }

    /// Ends when the other side does not read any more: it has all, has given up or is gone.
    pub fn unread(&self) -> impl Future<Output = ()> + Send + 'static {
        let stopped = self.0.stopped();
        async move { drop(stopped.await) }
    }
}

impl Receiving {
    /// Receives one frame; none where the stream ends before it.
    ///
    /// # Errors
    /// A frame that is too long or cut; a stream that fails. The stream is of no more use.
    pub async fn frame(&mut self, max: usize) -> Result<Option<Vec<u8>>, FrameError> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length).await {
            Ok(()) => {}
            Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let mut arriving = Arriving::new(length, max).map_err(|length| {
            drop(self.0.stop(MALFORMED));
            FrameError::TooLong { length, max }
        })?;
        while let Some(room) = arriving.room() {
            self.0.read_exact(room).await.map_err(failed)?;
        }
        Ok(Some(arriving.whole()))
    }
}

fn failed(error: ReadExactError) -> FrameError {
    match error {
        ReadExactError::FinishedEarly(_) => FrameError::Cut,
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => {
            FrameError::Stream(error.to_string())
        }
        ReadExactError::ReadError(error) => FrameError::Stream(error.to_string()),
    }
}
