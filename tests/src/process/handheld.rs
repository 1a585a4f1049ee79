//! Devices as their owners use them: by the command `fieldmesh-device`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::NamedTempFile;

use super::{Finished, Running, Server, run, text};

/// What [`Server::pair`]'s technician can do, and its customer asks for.
pub const CATEGORY: &str = "7";

impl Server {
    /// A customer's and a technician's device, which fit each other and reach the service over
    /// `devices`.
    pub async fn pair(&self, dir: &Path, names: [&str; 2], devices: &str) -> (Handheld, Handheld) {
        let customer = format!("name,lat,lon,tier\n{},48.85,2.35,2\n", names[0]);
        let skills = format!("{CATEGORY}:3");
        let technician =
            format!("name,lat,lon,capacity,skills\n{},48.86,2.36,50,{skills}\n", names[1]);
        let customer = self.register("customer", &customer).await.remove(0);
        let technician = self.register("tech", &technician).await.remove(0);
        let customer = Handheld::enroll(self, dir.join("customer"), customer, devices).await;
        let technician = Handheld::enroll(self, dir.join("technician"), technician, devices).await;
        (customer, technician)
    }
}

impl Server {
    /// A device of somebody who is registered.
    pub async fn device(&self, dir: PathBuf, id: String, devices: &str) -> Handheld {
        Handheld::enroll(self, dir, id, devices).await
    }
}

/// One device, in a directory of its own.
pub struct Handheld {
    pub dir: PathBuf,
    pub id: String,
}

impl Handheld {
    async fn enroll(server: &Server, dir: PathBuf, id: String, devices: &str) -> Self {
        let token = server.ask(&["ca", "token", "--pre-approved", &id]).await;
        let secret = NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), token["secret"].as_str().unwrap()).unwrap();
        let device = Self { dir, id };
        let place = ["enroll", "--server", &server.https, "--devices", devices];
        let token = ["--user", &device.id, "--secret-file", text(secret.path())];
        device.run(&[&place[..], &token].concat()).await.expect_code(0);
        device
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [args, &["--json", "--dir", text(&self.dir)]].concat()
    }

    pub async fn run(&self, args: &[&str]) -> Finished {
        run("fieldmesh-device", &self.args(args)).await
    }

    pub fn start(&self, args: &[&str]) -> Running {
        Running::start("fieldmesh-device", &self.args(args))
    }

    /// Makes a request and waits so many seconds for its receipt.
    pub async fn try_request(&self, text: &str, wait: &str) -> Finished {
        let place = ["--lat-e6", "48850000", "--lon-e6", "2350000"];
        let args = ["request", "--category", CATEGORY, "--text", text, "--wait", wait];
        self.run(&[&args[..], &place].concat()).await
    }

    /// Waits for the alert for a ticket, as the device shows it.
    pub async fn alert(&self, ticket: &str) -> Value {
        let mut listening = self.start(&["listen", "--seconds", "60"]);
        let alert = listening.until(|line| line["alert"] == ticket).await;
        listening.end_with("TERM").await;
        alert
    }

    /// Accepts what an alert offers.
    pub async fn accept(&self, alert: &Value) {
        let ticket = alert["alert"].as_str().unwrap();
        let offer =
            alert["offer"].as_str().map_or_else(|| alert["offer"].to_string(), str::to_owned);
        let accept = ["respond", "--ticket", ticket, "--offer", &offer, "accept", "--eta-min", "9"];
        self.run(&accept).await.expect_code(0);
    }

    /// Makes a request; its ticket.
    pub async fn request(&self, text: &str) -> String {
        let receipt = self.try_request(text, "30").await.expect_code(0).json();
        receipt["ticket"].as_str().unwrap().to_owned()
    }
}
