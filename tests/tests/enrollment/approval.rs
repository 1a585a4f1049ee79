//! Requests that wait for an operator.

use fieldmesh_tests::{
    live::Live,
    person::{P256, Person},
};
use serde_json::{Value, json};

async fn token(live: &Live, wanted: Value) -> (String, String) {
    let (status, minted) = live.try_post("/v1/ca/tokens", &wanted).await;
    assert_eq!(status, 201, "{minted}");
    assert_eq!(minted["needs_approval"], true, "{minted}");
    let text = |key: &str| minted[key].as_str().unwrap().to_owned();
    (text("user"), text("secret"))
}

async fn waiting(live: &Live) -> Vec<String> {
    let (status, answer) =
        live.http(true, "GET", "/v1/ca/registrations?state=pending", "", &[]).await;
    assert_eq!(status, 200);
    let page: Value = serde_json::from_slice(&answer).unwrap();
    let rows = page["rows"].as_array().unwrap();
    rows.iter().map(|row| row["device"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_technician_waits_for_an_operator() {
    let live = Live::start().await;
    let person = Person::new(&live, "technician-device");
    let id = live.technician(1).await.to_string();
    let (user, secret) = token(&live, json!({ "id": id })).await;
    let body = person.request("mine", P256, "/CN=phone");
    for _ in 0..2 {
        let answer = person.enroll(&user, &secret, &body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    }
    assert_eq!(waiting(&live).await, std::slice::from_ref(&id));
    // While it waits, the token is good for this key alone.
    let other = person.request("other", P256, "/CN=phone");
    assert_eq!(person.enroll(&user, &secret, &other).status, 401);
    let path = format!("/v1/ca/registrations/{id}/approve");
    assert_eq!(live.try_post(&path, &json!({})).await.0, 200);
    assert!(waiting(&live).await.is_empty());
    let first = person.enroll(&user, &secret, &body);
    person.certificates("mine", &first);
    let again = person.enroll(&user, &secret, &body);
    assert_eq!((again.status, again.body), (200, first.body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_request_is_told_why() {
    let live = Live::start().await;
    let person = Person::new(&live, "technician-device");
    let id = live.technician(1).await.to_string();
    let (user, secret) = token(&live, json!({ "id": id })).await;
    let body = person.request("mine", P256, "/CN=phone");
    assert_eq!(person.enroll(&user, &secret, &body).status, 202);
    let path = format!("/v1/ca/registrations/{id}/deny");
    assert_eq!(live.try_post(&path, &json!({ "why": "not our phone" })).await.0, 200);
    let answer = person.enroll(&user, &secret, &body);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("not our phone"), "{}", answer.text());
    // A denial is not a ban.
    let (user, secret) = token(&live, json!({ "id": id })).await;
    assert_eq!(person.enroll(&user, &secret, &body).status, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_first_an_operator_needs_two_persons() {
    let live = Live::start().await;
    let person = Person::new(&live, "operator");
    let wanted = json!({ "profile": "operator", "label": "duty" });
    let (status, minted) = live.try_post("/v1/ca/tokens", &wanted).await;
    assert_eq!((status, &minted["needs_approval"]), (201, &json!(false)), "{minted}");
    let (user, secret) = (minted["user"].as_str().unwrap(), minted["secret"].as_str().unwrap());
    let key = person.key("first", P256);
    let body = person.request_for("first", &key, &["-subj", "/"]);
    let first = person.certificates("first", &person.enroll(user, secret, &body));
    let (user, secret) = token(&live, wanted).await;
    let body = person.request("second", P256, "/");
    assert_eq!(person.enroll(&user, &secret, &body).status, 202);
    // Whoever minted the token is not the second person.
    let path = format!("/v1/ca/registrations/{user}/approve");
    let (status, problem) = live.try_post(&path, &json!({})).await;
    assert_eq!(status, 409, "{problem}");
    let approved = person.get(&path, &["-X", "POST", "--cert", &first, "--key", &key]);
    assert_eq!(approved.status, 200, "{}", approved.text());
    assert_eq!(person.enroll(&user, &secret, &body).status, 200);
}
