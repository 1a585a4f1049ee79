//! What is too large for a message: from device to device through the service, which cannot read it on its disk.

use fieldmesh_tests::process::{
    Launch, Server,
    contents::{Secret, contents},
    handheld::Handheld,
    text,
};
use serde_json::Value;
use tempfile::TempDir;

struct Stand {
    server: Server,
    customer: Handheld,
    technician: Handheld,
    /// Files that people have.
    files: TempDir,
    dirs: [TempDir; 2],
}

impl Stand {
    async fn new() -> Self {
        let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Launch::dev(data.path()).ready().await;
        let names = ["Ada", "Ben"];
        let (customer, technician) = server.pair(devices.path(), names, &server.devices).await;
        let files = TempDir::new().unwrap();
        Self { server, customer, technician, files, dirs: [data, devices] }
    }

    /// A file of some size; where it is.
    fn file(&self, name: &str, word: &str, bytes: usize) -> String {
        let content: Vec<u8> = word.bytes().cycle().take(bytes).collect();
        let path = self.files.path().join(name);
        std::fs::write(&path, content).unwrap();
        text(&path).to_owned()
    }

    async fn attach(&self, device: &Handheld, ticket: &str, file: &str, more: &[&str]) -> Value {
        let args = [&["attach", "--ticket", ticket, "--file", file][..], more].concat();
        device.run(&args).await.expect_code(0).json()
    }

    /// What a device hears of with an attachment.
    async fn hears(device: &Handheld, name: &str) -> Value {
        let mut listening = device.start(&["listen", "--seconds", "60"]);
        let note = listening.until(|line| line["attachment"]["name"] == name).await;
        listening.end_with("TERM").await;
        note
    }

    /// A device fetches a file, which is the same.
    async fn fetches(&self, device: &Handheld, ticket: &str, note: &Value, file: &str) {
        let number = note["attachment"]["number"].to_string();
        let out = self.files.path().join(format!("of-{}-{number}", device.id));
        let fetch = ["fetch", "--ticket", ticket, "--number", &number, "--out", text(&out)];
        device.run(&fetch).await.expect_code(0);
        assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(file).unwrap());
        // What is there is not overwritten.
        device.run(&fetch).await.expect_code(2).expect_one_line(&["there already"]);
    }
}

const WORD: &str = "the valve in the cellar leaks ";

#[tokio::test]
async fn a_file_goes_from_hand_to_hand_and_lies_nowhere_open() {
    let stand = Stand::new().await;
    let ticket = stand.customer.request("a valve leaks").await;
    // Before anybody accepts: whoever does has it then.
    let photo = stand.file("photo.jpg", WORD, 100_000);
    let sent = stand.attach(&stand.customer, &ticket, &photo, &["--text", "see there"]).await;
    assert_eq!((&sent["number"], &sent["status"]), (&0.into(), &"received".into()));
    let alert = stand.technician.alert(&ticket).await;
    stand.technician.accept(&alert).await;
    let note = Stand::hears(&stand.technician, "photo.jpg").await;
    assert_eq!(
        (&note["text"], &note["attachment"]["bytes"]),
        (&"see there".into(), &100_000.into())
    );
    stand.fetches(&stand.technician, &ticket, &note, &photo).await;

    // Back, under the offer, without words; a single byte is a file too.
    let done = stand.file("done", "x", 1);
    let offer = alert["offer"].as_str().unwrap();
    let sent = stand.attach(&stand.technician, &ticket, &done, &["--offer", offer]).await;
    assert_eq!(sent["number"], 1);
    let note = Stand::hears(&stand.customer, "done").await;
    assert_eq!(note["from"], "technician");
    stand.fetches(&stand.customer, &ticket, &note, &done).await;

    // Operators, as much as fits.
    let most = stand.file("plan.pdf", "most of all ", 8 << 20);
    let to_both = ["ticket", "attach", &ticket, &most, "--to", "both"];
    assert_eq!(stand.server.ask(&to_both).await["number"], 2);
    for device in [&stand.customer, &stand.technician] {
        let note = Stand::hears(device, "plan.pdf").await;
        stand.fetches(device, &ticket, &note, &most).await;
    }
    let listed = stand.server.ask(&["ticket", "attachments", &ticket]).await;
    assert_eq!(listed["attachments"].as_array().unwrap().len(), 3);
    assert_eq!(listed["attachments"][0]["key"], Value::Null, "what opens it is on no screen");
    let out = stand.files.path().join("fetched");
    stand.server.ask(&["ticket", "fetch", &ticket, "0", "--out", text(&out)]).await;
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&photo).unwrap());

    let found = Secret::new(WORD).files_in(&contents(stand.dirs[0].path()));
    assert!(found.is_empty(), "{found:?} can be read");
}

#[tokio::test]
async fn nobody_else_has_a_part_in_it_and_what_does_not_fit_is_refused() {
    let stand = Stand::new().await;
    let ticket = stand.customer.request("a valve leaks").await;
    let photo = stand.file("photo.jpg", WORD, 40_000);
    // The technician is asked, and has not accepted.
    let alert = stand.technician.alert(&ticket).await;
    let offer = alert["offer"].as_str().unwrap();
    let of = ["attach", "--ticket", &ticket, "--file", &photo];
    let early = stand.technician.run(&[&of[..], &["--offer", offer]].concat()).await;
    early.expect_code(3).expect_one_line(&["404", "there is no such ticket"]);
    // Another customer.
    let csv = "name,lat,lon,tier\nEve,48.85,2.35,2\n";
    let id = stand.server.register("customer", csv).await.remove(0);
    let dir = stand.dirs[1].path().join("eve");
    let eve = stand.server.device(dir, id, &stand.server.devices).await;
    eve.run(&of).await.expect_code(3).expect_one_line(&["404", "there is no such ticket"]);

    let large = stand.file("large", "x", (8 << 20) + 1);
    let empty = stand.file("empty", "", 0);
    for (file, words) in [(&large, "8 MiB"), (&empty, "1 byte")] {
        let attach = ["attach", "--ticket", &ticket, "--file", file];
        stand.customer.run(&attach).await.expect_code(2).expect_one_line(&[words]);
    }
    // The same file again is the same attachment; another one has the next number.
    let other = stand.file("other.jpg", "another ", 40_000);
    for (file, number) in [(&photo, 0), (&photo, 0), (&other, 1)] {
        assert_eq!(stand.attach(&stand.customer, &ticket, file, &[]).await["number"], number);
    }
    // Nothing is attached to what has ended, and what is there can be read.
    stand.server.ask(&["ticket", "cancel", &ticket]).await;
    let late = stand.file("late.jpg", "late ", 10);
    let attach = ["attach", "--ticket", &ticket, "--file", &late];
    stand.customer.run(&attach).await.expect_code(3).expect_one_line(&["reopen it first"]);
    let out = stand.files.path().join("fetched");
    stand.server.ask(&["ticket", "fetch", &ticket, "1", "--out", text(&out)]).await;
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&other).unwrap());
}
