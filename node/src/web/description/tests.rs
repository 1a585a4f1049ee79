//! What is served is described, and what is described is served.
//!
//! What is served is read from where it is written, because a router does not list its methods; what is described
//! is asked of the router.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and these read the sources"
)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use actix_web::{App, HttpResponse, http::StatusCode, test as router, web};
use utoipa::OpenApi as _;

use super::*;

/// What the server under test answers where it serves nothing.
const NOWHERE: StatusCode = StatusCode::IM_A_TEAPOT;
const METHODS: [&str; 6] = ["get", "put", "post", "delete", "head", "patch"];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// The methods and paths that a file serves: each `web::METHOD().to(` with the text before it.
fn written(file: &str, source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for method in METHODS {
        let call = format!("web::{method}().to(");
        for (at, _) in source.match_indices(&call) {
            let before = source[..at].rsplit('"').nth(1).unwrap().to_owned();
            let paths = match file {
                "est.rs" => vec![format!("{EST}{before}"), format!("{EST}{{label}}/{before}")],
                "probes.rs" | "public.rs" => vec![before],
                _ if before.starts_with("/v2/") => vec![before],
                _ => vec![format!("/v1{before}")],
            };
            found.extend(paths.into_iter().map(|path| (method.to_owned(), path)));
        }
    }
    found
}

/// A path without the patterns of its parameters.
fn plain(path: &str) -> String {
    let mut plain = String::new();
    let mut is_pattern = false;
    for c in path.chars() {
        is_pattern = (is_pattern || (c == ':' && plain.rfind('{') > plain.rfind('}'))) && c != '}';
        if !is_pattern {
            plain.push(c);
        }
    }
    plain
}

fn served() -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web");
    let mut files = Vec::new();
    sources(&folder, &mut files);
    assert!(files.len() > 20, "the sources are not where this looks for them");
    let mut found = BTreeSet::new();
    for file in files {
        let name = file.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
        // A node that is sealed serves some of the same, and this folder nothing.
        if name == "sealed.rs" || name.starts_with("description/") {
            continue;
        }
        let source = std::fs::read_to_string(&file).unwrap();
        let routes = written(&name, &source);
        found.extend(routes.into_iter().map(|(method, path)| (method, plain(&path))));
    }
    found
}

fn described() -> BTreeSet<(String, String)> {
    let mut api = Api::openapi();
    let mut found = BTreeSet::new();
    for (path, item) in &mut api.paths.paths {
        found.extend(operations(item).map(|(method, _)| (method.to_owned(), path.clone())));
    }
    found
}

#[test]
fn what_is_served_is_described_and_nothing_else() {
    let (served, described) = (served(), described());
    let lacking: Vec<_> = served.difference(&described).collect();
    let invented: Vec<_> = described.difference(&served).collect();
    assert!(lacking.is_empty(), "served, and not in `paths` of description.rs: {lacking:?}");
    assert!(invented.is_empty(), "described, and served nowhere: {invented:?}");
}

#[actix_web::test]
async fn what_is_described_is_found_by_the_router() {
    let nowhere = web::to(|| async { HttpResponse::new(NOWHERE) });
    let app = App::new().configure(crate::web::served).default_service(nowhere);
    let app = router::init_service(app).await;
    let mut missed = Vec::new();
    for (method, path) in described() {
        let mut concrete = path.clone();
        while let (Some(from), Some(to)) = (concrete.find('{'), concrete.find('}')) {
            concrete.replace_range(from..=to, "1");
        }
        let request = router::TestRequest::with_uri(&concrete);
        let request = request.method(method.to_uppercase().parse().unwrap());
        // Nothing is behind it: all that matters is that somebody took it.
        let answer = router::call_service(&app, request.to_request()).await.status();
        if answer == NOWHERE || answer == StatusCode::METHOD_NOT_ALLOWED {
            missed.push(format!("{method} {concrete}: {answer}"));
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn every_operation_says_who_may_ask_and_what_a_refusal_looks_like() {
    let api = serde_json::to_value(Api::openapi()).unwrap();
    let schemes = &api["components"]["securitySchemes"];
    assert_eq!(api["security"][0], serde_json::json!({ "operator": [] }));
    let mut names = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let who = operation["security"].as_array();
            for scheme in who.into_iter().flatten().flat_map(|who| who.as_object().unwrap().keys())
            {
                assert!(schemes[scheme].is_object(), "{method} {path}: {scheme}");
            }
            // Nobody but an operator has anything to do below /v1 that is not said.
            assert!(path.starts_with("/v1/") || who.is_some(), "{method} {path}");
            for part in path.split('{').skip(1) {
                let named = part.split('}').next().unwrap();
                let parameters = operation["parameters"].as_array().unwrap().iter();
                let of_it: Vec<_> = parameters.filter(|known| known["name"] == named).collect();
                assert_eq!(of_it.len(), 1, "{method} {path}: {named}");
            }
            let (answers, name) = (&operation["responses"], operation["operationId"].clone());
            assert!(answers["default"].is_object(), "{method} {path}");
            assert!(names.insert(name.to_string()), "{name} is of two operations");
        }
    }
    let intake = &api["paths"]["/v1/intake/alertmanager/{key}"]["post"];
    assert!(intake["requestBody"]["content"]["application/json"]["schema"].is_object());
    assert!(api["paths"]["/v2/enqueue"]["post"]["responses"]["202"].is_object());
    assert!(api["paths"]["/v1/watch"]["get"]["responses"]["101"].is_object());
}

#[test]
fn schemas_that_are_referred_to_are_there() {
    let api = serde_json::to_value(Api::openapi()).unwrap();
    let text = api.to_string();
    let referred = text.match_indices("\"#/components/schemas/").map(|(at, start)| {
        let rest = &text[at + start.len()..];
        &rest[..rest.find('"').unwrap()]
    });
    for name in referred {
        assert!(api["components"]["schemas"][name].is_object(), "{name}");
    }
}
