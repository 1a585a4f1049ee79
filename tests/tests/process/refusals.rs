//! Bad input at start: one clear line, the right exit code, nothing overwritten.

use std::{
    net::{TcpListener, UdpSocket},
    path::Path,
};

use fieldmesh_domain::placement::LEVEL;
use fieldmesh_tests::process::{
    ANY, Launch, Server,
    contents::{contents, overwritten},
    fieldmesh, run, run_with, text,
};
use tempfile::TempDir;

/// The exit code for wrong usage and configuration.
const USAGE: i32 = 2;

/// A directory that a server has used and left in order.
async fn used() -> TempDir {
    let dir = TempDir::new().unwrap();
    Launch::dev(dir.path()).ready().await.terminate().await.expect_code(0);
    dir
}

/// The start is refused with a line that says `words`, and leaves the directory as it is.
async fn refuse(dir: &Path, launch: Launch, words: &[&str]) {
    let before = contents(dir);
    let refused = launch.refused().await.expect_code(USAGE);
    refused.expect_one_line(words);
    assert!(refused.json()["error"].is_string(), "{refused}");
    let changed = overwritten(&before, &contents(dir));
    assert!(changed.is_empty(), "{changed:?} changed although: {refused}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let dir = used().await;
    let tcp = TcpListener::bind(ANY).unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let words = ["listen.https", &address, "in use"];
    refuse(dir.path(), Launch::dev_at(dir.path(), &address, ANY), &words).await;
    let udp = UdpSocket::bind(ANY).unwrap();
    let address = udp.local_addr().unwrap().to_string();
    let words = ["listen.devices", &address, "in use"];
    refuse(dir.path(), Launch::dev_at(dir.path(), ANY, &address), &words).await;
    Launch::dev(dir.path()).ready().await;
}

#[tokio::test]
async fn a_directory_in_use_is_left_to_its_server() {
    let dir = TempDir::new().unwrap();
    let server = Launch::dev(dir.path()).ready().await;
    let before = server.register("customer", "name,lat,lon\nAda,48.85,2.35\n").await;
    let sealed = |dir: &Path| {
        let files = contents(dir).into_iter();
        files.filter(|(path, _)| !path.starts_with("db")).collect()
    };
    let files = sealed(dir.path());
    let refused = Launch::dev(dir.path()).refused().await.expect_code(USAGE);
    refused.expect_one_line(&[text(dir.path())]);
    let changed = overwritten(&files, &sealed(dir.path()));
    assert!(changed.is_empty(), "{changed:?} changed under the running server: {refused}");
    let after = server.ask(&["customer", "list"]).await;
    assert_eq!(after["rows"][0]["id"], before[0].as_str(), "{after}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "a file").unwrap();
    for place in [file.join("below"), "/proc/fieldmesh".into()] {
        refuse(dir.path(), Launch::dev(&place), &[text(&place)]).await;
    }
}

#[tokio::test]
async fn wrong_configuration_is_named() {
    let dir = used().await;
    let config = TempDir::new().unwrap();
    let file = config.path().join("mine.toml");
    for (content, words) in [
        ("[node]\nshard = 3\n", ["shard", "mine.toml"]),
        ("[nod]\nshards = 3\n", ["nod", "mine.toml"]),
        ("[node]\nshards = \"many\"\n", ["node.shards", "mine.toml"]),
        ("[node\n", ["mine.toml", "mine.toml"]),
    ] {
        std::fs::write(&file, content).unwrap();
        let launch = Launch::dev(dir.path()).args(&["--config", text(&file)]);
        refuse(dir.path(), launch, &words).await;
    }
    let missing = config.path().join("missing.toml");
    let launch = Launch::dev(dir.path()).args(&["--config", text(&missing)]);
    refuse(dir.path(), launch, &[text(&missing)]).await;
    for (key, value, word) in [
        ("FIELDMESH__NODE__SHARD", "3", "shard"),
        ("FIELDMESH__NODE__SHARDS", "0", "node.shards"),
        ("FIELDMESH__CLUSTER__REGION", "europe", "cluster.region"),
        ("FIELDMESH__LOG__FORMAT", "prose", "log.format"),
        ("FIELDMESH__HEARTBEAT__EVERY_S", "0", "heartbeat.every_s"),
        ("FIELDMESH__HEARTBEAT__URL", "http://10.0.0.1/beat", "allow_private"),
        ("FIELDMESH__HEARTBEAT__URL", "monitor", "heartbeat.url"),
    ] {
        refuse(dir.path(), Launch::dev(dir.path()).env(key, value), &[word]).await;
    }
    refuse(dir.path(), Launch::dev_at(dir.path(), "nowhere", ANY), &["listen.https"]).await;
}

#[tokio::test]
async fn a_directory_of_another_deployment_is_refused() {
    let dir = used().await;
    for (key, value, words) in [
        ("FIELDMESH__CLUSTER__REGION", "us1", ["cluster.region", "us1"]),
        ("FIELDMESH__CLUSTER__NAME", "other.internal", ["cluster.name", "other.internal"]),
        ("FIELDMESH__NODE__NUMBER", "2", ["node.number", "2"]),
        ("FIELDMESH__NODE__SHARDS", "4", ["node.shards", "4"]),
    ] {
        refuse(dir.path(), Launch::dev(dir.path()).env(key, value), &words).await;
    }
}

#[tokio::test]
async fn only_the_right_passphrase_opens_the_secrets() {
    let (keys, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let [right, wrong, short] = ["right", "wrong", "short"];
    for (name, passphrase) in [
        (right, "correct horse battery staple"),
        (wrong, "correct horse battery stable"),
        (short, "horse"),
    ] {
        std::fs::write(keys.path().join(name), passphrase).unwrap();
    }
    let init = async |name: &str, dir: &Path| {
        let file = keys.path().join(name);
        run(
            "fieldmesh",
            &["init", "--json", "--data-dir", text(dir), "--passphrase-file", text(&file)],
        )
        .await
    };
    let elsewhere = dir.path().join("elsewhere");
    init(short, &elsewhere).await.expect_code(USAGE).expect_one_line(&["passphrase"]);
    assert!(!elsewhere.exists());
    let made = init(right, dir.path()).await.expect_code(0).json();
    assert_eq!(made["region"], "eu1");
    init(right, dir.path()).await.expect_code(USAGE).expect_one_line(&[text(dir.path())]);
    let node = |name| Launch::node(dir.path(), &keys.path().join(name));
    refuse(dir.path(), node(wrong), &["secrets.sealed"]).await;
    refuse(dir.path(), node("missing"), &["missing"]).await;
    // `dev` has a passphrase of its own; it must not leave it where it does not fit.
    refuse(dir.path(), Launch::dev(dir.path()), &[text(dir.path())]).await;
    assert!(!dir.path().join("development.passphrase").exists());
    let server = node(right).ready().await;
    server.register("customer", "name,lat,lon\nAda,48.85,2.35\n").await;
    server.terminate().await.expect_code(0);
    let empty = TempDir::new().unwrap();
    let node = Launch::node(empty.path(), &keys.path().join(right));
    refuse(empty.path(), node, &["fieldmesh init"]).await;
}

#[tokio::test]
async fn a_damaged_file_of_the_deployment_is_named() {
    let dir = used().await;
    let files = contents(dir.path());
    for name in ["secrets.sealed", "deployment.cbor", "root.pem"] {
        let path = dir.path().join(name);
        let whole = files[Path::new(name)].clone();
        let mut damaged = vec![Vec::new(), whole[..whole.len() / 2].to_vec()];
        for at in [0, whole.len() / 2, whole.len() - 4] {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            damaged.push(flipped);
        }
        for bytes in damaged {
            std::fs::write(&path, bytes).unwrap();
            refuse(dir.path(), Launch::dev(dir.path()), &[name]).await;
        }
        std::fs::write(&path, whole).unwrap();
    }
    Launch::dev(dir.path()).ready().await;
}

/// What a newer release laid out or wrote is nothing that this one may touch.
#[tokio::test]
async fn a_directory_of_a_newer_release_is_refused_before_anything_is_opened() {
    let dir = used().await;
    let files = contents(dir.path());
    let checked = |bytes: &[u8]| [bytes, &crc32fast::hash(bytes).to_be_bytes()].concat();
    // The number of the format comes first; nothing behind it is as this program knows it.
    let format = checked(&[0x82, 0x03, 0x63, b'n', b'e', b'w']);
    let level = checked(&(u64::from(LEVEL) + 1).to_be_bytes());
    for (name, newer, word) in
        [("deployment.cbor", format, "format 3"), ("level", level, "newer release")]
    {
        let path = dir.path().join(name);
        std::fs::write(&path, newer).unwrap();
        let words = [name, word, "newer release", "nothing was changed"];
        refuse(dir.path(), Launch::dev(dir.path()), &words).await;
        std::fs::write(&path, &files[Path::new(name)]).unwrap();
    }
    // A directory of an earlier release says nothing of it, and does from then on.
    std::fs::remove_file(dir.path().join("level")).unwrap();
    Launch::dev(dir.path()).ready().await.terminate().await.expect_code(0);
    assert_eq!(contents(dir.path())[Path::new("level")], files[Path::new("level")]);
    assert_eq!(files[Path::new("level")], checked(&u64::from(LEVEL).to_be_bytes()));
}

#[tokio::test]
async fn commands_without_a_server_say_so() {
    let dir = TempDir::new().unwrap();
    let refused = fieldmesh(dir.path(), &["ticket", "list"]).await.expect_code(USAGE);
    refused.expect_one_line(&[text(dir.path()), "running"]);
    let env = [("FIELDMESH__NODE__SHARD", "3")];
    let refused = run_with("fieldmesh", &["ticket", "list"], &env).await.expect_code(USAGE);
    refused.expect_one_line(&["shard"]);
    run("fieldmesh", &["ticket", "lst"]).await.expect_code(USAGE);
    let server: Server = Launch::dev(dir.path()).ready().await;
    let unknown = fieldmesh(dir.path(), &["ticket", "list", "--state", "a/b"]).await;
    unknown.expect_code(USAGE).expect_one_line(&["a/b"]);
    server.terminate().await.expect_code(0);
}
