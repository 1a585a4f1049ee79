//! What the node says of its HTTP interface: OpenAPI, served at `/v1/openapi.json`.
//!
//! Each handler describes itself; this puts them together and adds what is true of all of them: who may ask, how
//! what is refused is answered, and a name of its own for each operation.
//!
//! **Invariants:** what is served is described, and nothing else (`description/tests.rs`). **Not here:** the
//! handlers, and where they are served.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, ContentBuilder, Object, Ref, RefOr, Required, Response, ResponseBuilder, Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    areas, attachments, backup, ca, chaos, cluster, est, health, intake, integrations, notices,
    orders, people, plan, policies, probes, problem::Problem, promotion, public, rest, rules,
    shifts, slots, standing, submit, watch, whatif,
};

/// Where enrollment is; a label may stand before what is asked (RFC 7030 §3.2.2).
const EST: &str = "/.well-known/est/";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fieldmesh",
        version = "1",
        description = "Operators' interface, enrollment of devices (EST), what is public and signed, and intake of \
                       other programs' alarms."
    ),
    modifiers(&Whole),
    security(("operator" = [])),
    components(schemas(Problem)),
    paths(
        openapi,
        rest::info,
        watch::watch,
        people::register_customer,
        people::register_technician,
        people::revise,
        people::set_preferences,
        people::set_zone,
        standing::customer,
        standing::revise_customer,
        standing::suspend_customer,
        standing::technician,
        standing::suspend_technician,
        shifts::roster,
        shifts::set_roster,
        shifts::calendar,
        shifts::duty,
        shifts::swap,
        shifts::who,
        health::health,
        rest::tickets,
        rest::customers,
        rest::technicians,
        rest::ticket,
        rest::explanation,
        rest::triage,
        submit::submit,
        orders::order,
        attachments::attachments,
        attachments::show,
        attachments::store,
        attachments::piece,
        whatif::what_if,
        whatif::decide_again,
        plan::plan,
        notices::webhooks,
        notices::write,
        notices::lint,
        notices::test,
        notices::open,
        notices::secret,
        notices::notices,
        notices::replay,
        policies::show,
        policies::show_version,
        policies::write,
        policies::lint,
        policies::lasting,
        policies::add,
        policies::expire,
        policies::simulation::simulate,
        integrations::create,
        integrations::integrations,
        integrations::revoke,
        rules::versions,
        rules::version,
        rules::lint,
        rules::test,
        rules::backtest,
        rules::apply,
        chaos::status,
        chaos::lease,
        chaos::end,
        chaos::stop,
        chaos::herd,
        chaos::replicas,
        chaos::positions::positions,
        chaos::allowance::allow,
        chaos::allowance::forbid,
        chaos::runs::begin,
        chaos::runs::end,
        cluster::status,
        cluster::found,
        cluster::join,
        cluster::drain,
        cluster::resume,
        cluster::leave,
        cluster::assign,
        cluster::policy,
        slots::move_slots,
        areas::set_areas,
        promotion::lost,
        promotion::promote,
        promotion::record,
        promotion::position,
        promotion::edges,
        promotion::copies,
        promotion::holdings,
        backup::hold,
        backup::release,
        backup::rows,
        backup::end,
        ca::mint_token,
        ca::register,
        ca::list,
        ca::show,
        ca::approve,
        ca::deny,
        ca::revoke,
        ca::ban,
        ca::readmit,
        ca::certificate,
        ca::revoke_certificate,
        ca::ledger::read,
        ca::ledger::sign,
        ca::authorities::list,
        ca::authorities::introduce,
        ca::authorities::request,
        ca::authorities::step,
        ca::authorities::forget,
        probes::alive,
        probes::ready,
        probes::metrics,
        public::list,
        public::issuer,
        public::ocsp_post,
        public::ocsp_get,
        est::cacerts,
        est::attributes,
        est::simpleenroll,
        est::simplereenroll,
        est::keygen::serverkeygen,
        est::entry::may_join,
        intake::alertmanager::take,
        intake::pagerduty::take
    )
)]
struct Api;

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", security(()), responses((status = 200, description = "OpenAPI 3.1.")))]
pub async fn openapi() -> HttpResponse {
    std::future::ready(HttpResponse::Ok().json(Api::openapi())).await
}

/// What is true of all operations.
struct Whole;

impl Modify for Whole {
    fn modify(&self, api: &mut openapi::OpenApi) {
        let labelled = api.paths.paths.iter().filter_map(|(path, item)| {
            let operation = path.strip_prefix(EST)?;
            Some((format!("{EST}{{label}}/{operation}"), item.clone()))
        });
        let labelled: Vec<(String, PathItem)> = labelled.collect();
        api.paths.paths.extend(labelled);
        for (path, item) in &mut api.paths.paths {
            for (method, operation) in operations(item) {
                operation.operation_id = Some(name(method, path));
                complete(operation, path);
                let responses = &mut operation.responses.responses;
                responses.entry("default".into()).or_insert_with(|| RefOr::T(refusal(path)));
            }
        }
        let components = api.components.get_or_insert_default();
        for (name, scheme) in schemes() {
            components.add_security_scheme(name, scheme);
        }
    }
}

/// How somebody says who asks.
fn schemes() -> [(&'static str, SecurityScheme); 4] {
    let certificate = |text: &str| SecurityScheme::MutualTls {
        description: Some(text.to_owned()),
        deprecated: None,
        extensions: None,
    };
    let mut token = Http::new(HttpAuthScheme::Basic);
    token.description = Some("A one-time token: its user and its secret.".into());
    [
        ("operator", certificate("An operator's certificate.")),
        ("device", certificate("The certificate of a customer's or technician's device.")),
        ("node", certificate("A node's certificate.")),
        ("token", SecurityScheme::Http(token)),
    ]
}

/// The operations of a path, by method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, head, patch, .. } = item;
    let all = [
        ("get", get),
        ("put", put),
        ("post", post),
        ("delete", delete),
        ("head", head),
        ("patch", patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// A name that no other operation has: generated clients make functions of them.
fn name(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// How what is refused is answered there, unless the operation says so itself.
fn refusal(path: &str) -> Response {
    let refused = ResponseBuilder::new().description("Why not, and what to do.");
    let (kind, schema) = if path.starts_with(EST) {
        ("text/plain", RefOr::from(Object::with_type(Type::String)))
    } else {
        ("application/problem+json", RefOr::from(Ref::from_schema_name("Problem")))
    };
    refused.content(kind, ContentBuilder::new().schema(Some(schema)).build()).build()
}

/// Every part of a path that is not fixed is a parameter, said by its handler or not, and each is there once.
fn complete(operation: &mut Operation, path: &str) {
    let parameters = operation.parameters.get_or_insert_default();
    let mut known = BTreeSet::new();
    parameters.retain(|parameter| match parameter {
        RefOr::T(Parameter { name, parameter_in, .. }) => {
            known.insert((name.clone(), *parameter_in == ParameterIn::Path))
        }
        RefOr::Ref(_) => true,
    });
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    for name in names {
        let is_it = |known: &RefOr<Parameter>| match known {
            RefOr::T(known) => known.name == name && known.parameter_in == ParameterIn::Path,
            RefOr::Ref(_) => false,
        };
        if !parameters.iter().any(is_it) {
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(Object::with_type(Type::String)));
            parameters.push(RefOr::T(parameter.build()));
        }
    }
}

#[cfg(test)]
#[path = "description/tests.rs"]
mod tests;
