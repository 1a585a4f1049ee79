//! What the verbs of the command do that get a certificate.
//!
//! **Invariants:** a key is kept before it is shown to anybody, so that a request whose answer was lost
//! can be repeated, to the same server or to another. **Not here:** what is said to a server (`enroll`
//! of the library), the files of a device (`profile`).

use std::{io::Read, path::Path, time::Duration};

use fieldmesh_device::{
    enroll::{self as est, EnrollError},
    files,
};
use fieldmesh_domain::EntityId;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    Cli, EnrollArgs, Failure, RenewArgs,
    profile::{Profile, now_ms},
    reach,
};

/// How often a request that waits for an operator is repeated.
const APPROVAL_POLL: Duration = Duration::from_secs(2);
/// Bytes of a token: one has 91.
const SECRET_BYTES_MAX: u64 = 1024;

fn secret(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    match file {
        Some(path) => {
            let unreadable =
                |why: &dyn std::fmt::Display| Failure::new(2, format!("{}: {why}", path.display()));
            let bytes = files::read_if_there(path).map_err(|error| unreadable(&error))?;
            let bytes = Zeroizing::new(bytes.ok_or_else(|| unreadable(&"there is no such file"))?);
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        None => {
            std::io::stdin()
                .take(SECRET_BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(|error| Failure::new(2, format!("standard input: {error}")))?;
        }
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}

pub(crate) async fn enroll(cli: &Cli, args: &EnrollArgs) -> Result<Value, Failure> {
    let id: EntityId = args
        .user
        .parse()
        .map_err(|error| Failure::new(2, format!("--user {}: {error}", args.user)))?;
    for (flag, list) in [("--server", &args.server), ("--devices", &args.devices)] {
        if let Some(wrong) = reach::misnamed(list) {
            return Err(Failure::new(2, format!("{flag} {wrong}: use HOST:PORT")));
        }
    }
    let secret = secret(args.secret_file.as_deref())?;
    let (key, _lock) = Profile::key(&cli.dir, id).map_err(|error| Failure::new(2, error))?;
    let began = tokio::time::Instant::now();
    let enrolled = loop {
        let enrolling =
            async |server: &str| est::enroll(server, &args.user, &secret, &key, &now_ms()).await;
        match first_answer(&args.server, enrolling).await {
            Err(EnrollError::Pending) if began.elapsed().as_secs() < args.wait => {
                tokio::time::sleep(APPROVAL_POLL).await;
            }
            answer => break answer.map_err(|error| failure(&error))?,
        }
    };
    Profile::create(&cli.dir, id, [&args.server, &args.devices], &enrolled, &key)
        .map_err(|error| Failure::new(1, error))?;
    Ok(json!({ "id": id.to_string(), "dir": cli.dir.display().to_string() }))
}

/// Asks one server after the other until one answers, whatever it says. A request whose answer was
/// lost may be repeated: the key is the same.
async fn first_answer<T>(
    servers: &str,
    mut ask: impl AsyncFnMut(&str) -> Result<T, EnrollError>,
) -> Result<T, EnrollError> {
    let mut last = EnrollError::Answer("no server is named");
    for server in reach::places(servers) {
        match ask(server).await {
            Err(
                error @ (EnrollError::Reach { .. }
                | EnrollError::Timeout { .. }
                | EnrollError::Refused { status: 500..=599, .. }),
            ) => last = error,
            answer => return answer,
        }
    }
    Err(last)
}

fn failure(error: &EnrollError) -> Failure {
    let code = match error {
        EnrollError::Refused { .. } | EnrollError::NotBelieved { .. } => 3,
        EnrollError::Reach { .. } | EnrollError::Timeout { .. } | EnrollError::Pending => 75,
        EnrollError::Token => 2,
        EnrollError::Stranger { .. } | EnrollError::Answer(_) | EnrollError::Key => 1,
    };
    Failure::caused(code, error)
}

/// Gets the next certificate. Nothing else may use the device meanwhile: its messages are signed
/// with the key that is replaced.
pub(crate) async fn renew(cli: &Cli, args: &RenewArgs) -> Result<Value, Failure> {
    let mut profile = Profile::open(&cli.dir).map_err(|error| Failure::new(2, error))?;
    let server = args.server.clone().or_else(|| profile.server().map(str::to_owned));
    let server = server.ok_or_else(|| Failure::new(2, "--server HOST:PORT is needed"))?;
    if let Some(wrong) = reach::misnamed(&server) {
        return Err(Failure::new(2, format!("--server {wrong}: use HOST:PORT")));
    }
    let (key, _lock) = profile.next_key(&cli.dir).map_err(|error| Failure::new(2, error))?;
    let (roots, credentials) = (profile.roots(), profile.credentials());
    let renewing =
        async |server: &str| est::renew(server, &roots, &credentials, &key, &now_ms()).await;
    let renewed = first_answer(&server, renewing).await.map_err(|error| failure(&error))?;
    profile.replace(&cli.dir, &renewed, &key).map_err(|error| Failure::new(1, error))?;
    Ok(json!({ "id": profile.id.to_string(), "renewed": true }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[tokio::test]
    async fn servers_are_asked_in_order_until_one_answers() {
        let refused = |status| EnrollError::Refused { status, text: String::new() };
        let mut asked = Vec::new();
        let answer = first_answer("a:1, b:1,c:1,d:1", async |server: &str| {
            asked.push(server.to_owned());
            match server {
                "a:1" => Err(EnrollError::Timeout { server: server.to_owned() }),
                "b:1" => Err(refused(503)),
                _ => Ok(()),
            }
        });
        answer.await.unwrap();
        assert_eq!(asked, ["a:1", "b:1", "c:1"]);
        // A word is a word: no other server is asked for a better one.
        for error in [refused(401), EnrollError::Pending] {
            let (text, mut error, mut count) = (error.to_string(), Some(error), 0);
            let answer = first_answer("a:1,b:1", async |_: &str| {
                count += 1;
                Err::<(), _>(error.take().unwrap())
            });
            assert_eq!(answer.await.unwrap_err().to_string(), text);
            assert_eq!(count, 1);
        }
    }
}
