//! `/v1/rules`: trigger rules, examined, tried and written.
//!
//! **Invariants:** nothing is written that is not examined and whose own tests do not pass; what is refused
//! changes nothing, and says where in the text it is wrong. **Not here:** what rules are (`fieldmesh_rules`).

use std::collections::BTreeMap;

use actix_web::{http::StatusCode, web};
use fieldmesh_domain::{desk::Desk, placement::DocumentKind, time::Millis};
use fieldmesh_rules::{CompileError, CompiledRules, Finding, Report, Roster, Severity, TestReport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    documents::{self, BODY_BYTES_MAX, Draft, NewVersion, VersionView, VersionsView},
    operator::Operator,
    problem::{self, Problem},
    whatif::{beside, desk},
};
use crate::named;

pub fn routes(scope: &mut web::ServiceConfig) {
    let json =
        || web::JsonConfig::default().limit(BODY_BYTES_MAX).error_handler(problem::from_json);
    let resource = |path: &str| web::resource(path.to_owned()).app_data(json());
    scope
        .service(resource("/rules").route(web::get().to(versions)).route(web::put().to(apply)))
        .service(resource("/rules:lint").route(web::post().to(lint)))
        .service(resource("/rules:test").route(web::post().to(test)))
        .service(resource("/rules:backtest").route(web::post().to(backtest)))
        .service(resource("/rules/{version}").route(web::get().to(version)));
}

/// Something that is wrong with a document.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RuleFinding)]
pub struct FindingView {
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// An error refuses the document, a warning does not.
    pub severity: String,
    /// The rule or test that it is in.
    pub within: Option<String>,
    pub text: String,
}

/// What came of examining a document.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RuleLint)]
pub struct LintView {
    pub is_usable: bool,
    pub findings: Vec<FindingView>,
}

impl LintView {
    pub fn of(findings: &[Finding]) -> Self {
        let view = |finding: &Finding| FindingView {
            line: finding.place.line,
            column: finding.place.column,
            severity: match finding.severity {
                Severity::Error => "error".into(),
                Severity::Warning => "warning".into(),
            },
            within: finding.within.clone(),
            text: finding.text.clone(),
        };
        let is_usable = findings.iter().all(|finding| finding.severity == Severity::Warning);
        Self { is_usable, findings: findings.iter().map(view).collect() }
    }
}

/// The version that was written.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppliedView {
    #[serde(flatten)]
    pub written: VersionView,
    /// What of it is surely not meant.
    #[serde(default)]
    pub warnings: Vec<FindingView>,
}

/// What came of one of a document's own tests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TestView {
    pub name: String,
    pub line: u32,
    pub passed: bool,
    /// Where the outcome is not as expected.
    pub differences: Vec<String>,
}

impl TestView {
    pub fn of(report: &TestReport) -> Self {
        Self {
            name: report.name.clone(),
            line: report.place.line,
            passed: report.passed(),
            differences: report.differences.clone(),
        }
    }
}

/// What a rule would have done.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    pub rule: String,
    /// Tickets that its condition held for.
    pub matched: u64,
    /// Tickets after which no later rule was asked.
    pub stopped: u64,
    /// Tickets that it failed for.
    pub failed: u64,
    pub why: Vec<String>,
}

/// Tickets that would have another priority.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PriorityView {
    pub before: i64,
    pub now: i64,
    pub tickets: u64,
}

/// What rules would have done with past tickets, against the rules in force.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReportView {
    pub tickets: u64,
    pub untouched: u64,
    pub rerouted: u64,
    pub failed: u64,
    pub failed_before: u64,
    pub priorities: Vec<PriorityView>,
    pub rules: Vec<RuleView>,
}

/// How far it is; the report once it is done. Whoever has none asks again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BacktestView {
    pub read: usize,
    pub of: usize,
    pub report: Option<ReportView>,
}

impl ReportView {
    fn of(report: &Report) -> Self {
        let rule = |rule: &fieldmesh_rules::RuleReport| RuleView {
            rule: rule.rule.clone(),
            matched: rule.matched,
            stopped: rule.stopped,
            failed: rule.failed.values().sum(),
            why: rule.failed.keys().cloned().collect(),
        };
        let change = |(change, tickets): (&(i64, i64), &u64)| PriorityView {
            before: change.0,
            now: change.1,
            tickets: *tickets,
        };
        Self {
            tickets: report.tickets,
            untouched: report.untouched,
            rerouted: report.rerouted,
            failed: report.failed,
            failed_before: report.failed_before,
            priorities: report.priorities.iter().map(change).collect(),
            rules: report.rules.iter().map(rule).collect(),
        }
    }
}

fn refused(detail: impl core::fmt::Display) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "rules-refused", detail)
}

fn compile(text: &str) -> Result<CompiledRules, Problem> {
    fieldmesh_rules::compile(text).map_err(|error: CompileError| refused(error))
}

/// The versions of the rules that are kept.
#[utoipa::path(get, path = "/v1/rules", responses((status = 200, body = VersionsView)))]
pub async fn versions(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<VersionsView>, Problem> {
    let in_force = shared.node.documents.known().rules.as_ref().map(|rules| rules.version);
    let found = documents::versions(&shared, DocumentKind::Rules, in_force);
    std::future::ready(found.map(web::Json)).await
}

/// One version of the rules, with its text.
#[utoipa::path(get, path = "/v1/rules/{version}", responses((status = 200, body = VersionView)))]
pub async fn version(
    _operator: Operator,
    version: web::Path<u32>,
    shared: web::Data<Shared>,
) -> Result<web::Json<VersionView>, Problem> {
    let found = documents::version(&shared, DocumentKind::Rules, *version);
    std::future::ready(found.map(web::Json)).await
}

/// Everything that is wrong with rules, and what they require that nobody of the region has.
#[utoipa::path(post, path = "/v1/rules:lint", request_body = Draft, responses((status = 200, body = LintView)))]
pub async fn lint(
    _operator: Operator,
    draft: web::Json<Draft>,
    shared: web::Data<Shared>,
) -> Result<web::Json<LintView>, Problem> {
    Ok(web::Json(LintView::of(&linted(&shared, &draft.text).await)))
}

/// What is wrong with the text, and where somebody tells what the technicians can do, also what nobody can.
async fn linted(shared: &Shared, text: &str) -> Vec<Finding> {
    match roster(shared).await {
        Ok(roster) => fieldmesh_rules::lint_for(text, &roster),
        Err(_) => fieldmesh_rules::lint(text),
    }
}

/// What the technicians of this region can do, as its desk knows them.
async fn roster(shared: &Shared) -> Result<Roster, Problem> {
    let (id, journal) = desk(shared, None).await?;
    let (now, region) = (Millis(shared.node.clock.now_ms()), shared.node.region.clone());
    beside(move || {
        let desk: Desk = journal.state(id)?;
        let mut skills = BTreeMap::new();
        let all = desk.technicians.values().flat_map(|known| &known.summary.skills);
        for skill in all.filter(|skill| skill.counts_at(now)) {
            let best: &mut u8 = skills.entry(skill.category).or_default();
            *best = skill.level.max(*best);
        }
        Ok(Roster { region, skills })
    })
    .await
}

/// Runs the tests that are written in the document.
#[utoipa::path(post, path = "/v1/rules:test", request_body = Draft, responses((status = 200, body = Vec<TestView>)))]
pub async fn test(
    _operator: Operator,
    draft: web::Json<Draft>,
) -> Result<web::Json<Vec<TestView>>, Problem> {
    let rules = std::future::ready(compile(&draft.text)).await?;
    let reports = fieldmesh_rules::check_tests(&rules);
    Ok(web::Json(reports.iter().map(TestView::of).collect()))
}

/// Tries rules on the region's newest tickets, and changes nothing. Reading them takes a while: the answer says
/// how far it is, and the same request again goes on.
#[utoipa::path(post, path = "/v1/rules:backtest", request_body = Draft, responses((status = 200, body = BacktestView)))]
pub async fn backtest(
    _operator: Operator,
    draft: web::Json<Draft>,
    shared: web::Data<Shared>,
) -> Result<web::Json<BacktestView>, Problem> {
    let rules = compile(&draft.text)?;
    let gathered = shared.node.past.gather(&shared.node).await?;
    let report = gathered.facts.map(|facts| {
        let in_force = shared.node.documents.known().rules.clone();
        let old = in_force.as_ref().map(|rules| &rules.content);
        ReportView::of(&fieldmesh_rules::backtest(&rules, old, facts.iter()))
    });
    Ok(web::Json(BacktestView { read: gathered.read, of: gathered.of, report }))
}

/// Writes the next version, which acts at once. It is refused with the place of what is wrong, where a test of
/// its own does not pass, and where another version is there than it was written over.
#[utoipa::path(put, path = "/v1/rules", request_body = NewVersion, responses((status = 200, body = AppliedView)))]
pub async fn apply(
    operator: Operator,
    new: web::Json<NewVersion>,
    shared: web::Data<Shared>,
) -> Result<web::Json<AppliedView>, Problem> {
    let rules = compile(&new.text)?;
    let failed: Vec<String> = fieldmesh_rules::check_tests(&rules)
        .iter()
        .filter(|report| !report.passed())
        .map(|report| {
            let (place, name) = (report.place, &report.name);
            let differences = report.differences.join("; ");
            format!("{}:{}: test `{name}`: {differences}", place.line, place.column)
        })
        .collect();
    if !failed.is_empty() {
        let text = format!("{} test(s) of the rules fail\n{}", failed.len(), failed.join("\n"));
        return Err(refused(text));
    }
    let unknown = named::unknown_to(rules.set(), &shared.node.documents.known());
    if !unknown.is_empty() {
        let text = format!("{}: add them to those documents first", unknown.join("; "));
        return Err(refused(text));
    }
    drop(rules);
    let found = linted(&shared, &new.text).await;
    let written =
        documents::write(&shared, DocumentKind::Rules, new.into_inner(), operator.name).await?;
    Ok(web::Json(AppliedView { written, warnings: LintView::of(&found).findings }))
}
