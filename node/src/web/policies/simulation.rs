//! `/v1/policies/simulate`: a policy tried on a situation.
//!
//! **Not here:** what happens (the policies' package).
#![allow(unused_qualifications, reason = "the path macro repeats the body's type")]

use actix_web::web;
use fieldmesh_policy::{
    Answer, Moment, Person, Policies, Responder, Situation, Ticket, What, read_policies,
    simulate as play,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Refused, refused};
use crate::web::{Shared, operator::Operator, problem::Problem};
use fieldmesh_domain::placement::DocumentKind;

/// Technicians and people of a situation: more than a person writes down.
const LIST_MAX: usize = 64;
/// A week of it.
const UNTIL_S_MAX: u64 = 7 * 86_400;

/// What is tried.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSimulation {
    /// The document; the one in force unless given.
    pub text: Option<String>,
    /// The policy by name; that of the ticket unless given.
    pub policy: Option<String>,
    #[serde(default = "middle")]
    pub priority: u8,
    #[serde(default)]
    pub category: u16,
    #[serde(default = "second")]
    pub tier: u8,
    /// In the order in which the desk would choose.
    #[serde(default)]
    pub technicians: Vec<ResponderView>,
    #[serde(default)]
    pub people: Vec<PersonView>,
    #[serde(default = "day")]
    pub until_s: u64,
}

fn middle() -> u8 {
    3
}

fn second() -> u8 {
    2
}

fn day() -> u64 {
    86_400
}

/// A technician of the situation; one that neither accepts nor declines says nothing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponderView {
    #[serde(default)]
    pub distance_m: u32,
    pub accepts_after_s: Option<u64>,
    pub declines_after_s: Option<u64>,
}

/// A person who answers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonView {
    pub name: String,
    /// When it is told for the so many-th time.
    pub at_telling: u32,
    #[serde(default)]
    pub after_s: u64,
}

/// What would happen.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    pub policy: String,
    pub moments: Vec<MomentView>,
}

/// One moment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MomentView {
    /// Seconds after the ticket was opened.
    pub at_s: u64,
    pub what: String,
    pub detail: String,
}

impl MomentView {
    fn of(moment: &Moment) -> Self {
        let (what, detail) = match &moment.what {
            What::Step { step, round: 0 } => ("step", step.to_string()),
            What::Step { step, round } => ("step", format!("{step}, again ({round})")),
            What::Told { role, name } => ("told", format!("{} {name}", role.name())),
            What::Offered { technician } => ("offered", format!("to technician {technician}")),
            What::Declined { technician } => ("declined", format!("by technician {technician}")),
            What::Expired { technician } => ("expired", format!("of technician {technician}")),
            What::Accepted { technician } => ("accepted", format!("by technician {technician}")),
            What::NobodyFits => ("nobody_fits", String::new()),
            What::Answered { by } => ("answered", format!("by {by}")),
        };
        Self { at_s: moment.at_s, what: what.to_owned(), detail }
    }
}

impl NewSimulation {
    fn situation(&self) -> Result<Situation, Problem> {
        if self.technicians.len() > LIST_MAX || self.people.len() > LIST_MAX {
            let text = format_args!("a situation has at most {LIST_MAX} technicians and people");
            return Err(Problem::invalid(text));
        }
        let responder = |one: &ResponderView| Responder {
            distance_m: one.distance_m,
            answer: match (one.accepts_after_s, one.declines_after_s) {
                (Some(after_s), _) => Answer::Accepts { after_s },
                (None, Some(after_s)) => Answer::Declines { after_s },
                (None, None) => Answer::Never,
            },
        };
        let person = |one: &PersonView| Person {
            name: one.name.clone(),
            at_telling: one.at_telling,
            after_s: one.after_s,
        };
        Ok(Situation {
            priority: self.priority,
            responders: self.technicians.iter().map(responder).collect(),
            people: self.people.iter().map(person).collect(),
            until_s: self.until_s.min(UNTIL_S_MAX),
        })
    }

    /// What happens by these policies.
    ///
    /// # Errors
    /// There is no such policy, or the situation is too large.
    pub(crate) fn timeline(&self, policies: &Policies) -> Result<Timeline, Problem> {
        let policy = match &self.policy {
            Some(name) => policies.entry(name).map(|entry| entry.policy(0)),
            None => {
                let (priority, category, tier) = (self.priority, self.category, self.tier);
                policies.policy_of(&Ticket { priority, category, tier }, None, 0)
            }
        };
        let policy = policy.ok_or_else(|| match &self.policy {
            Some(name) => Problem::missing(format_args!("policy {name:?}")),
            None => Problem::missing("policy that fits such a ticket"),
        })?;
        let moments = play(&policy, &self.situation()?);
        let moments = moments.iter().map(MomentView::of).collect();
        Ok(Timeline { policy: policy.name, moments })
    }
}

/// Tries a policy on a situation.
#[utoipa::path(post, path = "/v1/policies/simulate", request_body = NewSimulation, responses((status = 200, body = Timeline)))]
pub async fn simulate(
    _operator: Operator,
    body: web::Json<NewSimulation>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Timeline>, Problem> {
    let body = body.into_inner();
    let policies = match &body.text {
        Some(text) => {
            let read = read_policies(text, None);
            read.map_err(|error: Refused| refused(DocumentKind::Policies, &error))?.value
        }
        None => {
            let known = shared.node.documents.known();
            let known = known.policies.as_ref().map(|one| one.content.clone());
            known.ok_or_else(|| Problem::missing("escalation policies yet: apply some"))?
        }
    };
    std::future::ready(body.timeline(&policies).map(web::Json)).await
}
