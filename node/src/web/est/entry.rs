//! What a node that is to join would be refused for, told before its token is spent.
//!
//! **Invariants:** only who has a token that works is told; asking changes nothing but the record of refusals. **Not
//! here:** who may join (`domain::placement`), joining (`web::cluster`), which looks at all of it again.

use actix_web::{HttpRequest, HttpResponse, web};
use fieldmesh_actors::RULE_VERSION;
use fieldmesh_domain::{
    Aggregate as _, Ctx, EntityId,
    placement::{self, PLACEMENT, Placement},
    time::Millis,
};
use fieldmesh_pki::Kind;

use super::{Granted, Holder, Refusal, Visit, credentials, finish};
use crate::web::{
    Shared,
    cluster::{self, NewMember},
    problem::Problem,
};

/// Whether a node may join as what it says; nothing is changed.
#[utoipa::path(
    post, path = "/v1/cluster/members/check", security(("token" = [])), request_body = NewMember,
    responses(
        (status = 200, description = "It may, as far as is known here."),
        (status = 401, description = "The token does not work.", body = String, content_type = "text/plain"),
        (status = 422, description = "What it would be refused for.", body = String, content_type = "text/plain")
    )
)]
pub async fn may_join(
    request: HttpRequest,
    body: web::Json<NewMember>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Refusal> {
    let answer = async {
        let visit = Visit::new(&shared, &request)?;
        let basic = credentials(&request)?;
        let named = |refusal: Refusal| Refusal { user: basic.user.clone(), ..refusal };
        let holder = Holder::admitted(&visit, &basic).map_err(named)?;
        fits(&visit, &holder, body.into_inner()).await.map_err(named)
    };
    let answer = answer.await.map(|()| HttpResponse::Ok().finish());
    finish(&shared, &request, answer).await
}

async fn fits(visit: &Visit<'_>, holder: &Holder, said: NewMember) -> Result<(), Refusal> {
    let Holder { id, identity, granted, .. } = holder;
    if identity.kind != Kind::Node {
        let text = "the token is not for a node: mint one with `fieldmesh ca token --profile node`";
        return Err(Refusal::policy(text));
    }
    // Whether the request that it was spent for is repeated is seen by that request alone.
    if *granted == Granted::Before {
        return Ok(());
    }
    let refused = |problem: Problem| Refusal::policy(problem.detail);
    cluster::check(&said, identity).map_err(refused)?;
    let Shared { node, rotation, .. } = visit.shared;
    rotation.keeper.lock().await.can_hand_over().map_err(Refusal::policy)?;
    let journal = node.journal(PLACEMENT);
    let journal = journal.ok_or_else(|| Refusal::unavailable("the placement group is not here"))?;
    let known: Placement = journal.state(EntityId::placement())?;
    let (shards, by) = (said.shards, identity.to_string());
    let join = placement::Command::Join { member: cluster::member(said, *id), shards, by };
    let (now, id) = (Millis(visit.now_ms), EntityId::placement());
    let ctx = Ctx { now, id, rule_version: RULE_VERSION };
    known.decide(&join, &ctx).map_err(Refusal::policy)?;
    Ok(())
}
