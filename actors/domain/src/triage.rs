//! The built-in trigger rule: what a request means for its ticket.
//!
//! Version 1: priority is impact plus urgency minus one, as service desks do it; the best tier of
//! customers gains one step. Each ticket records the version that acted on it.

use crate::message::RequestBody;

/// Seconds that an offer of this priority waits for an answer.
pub fn offer_life_s(priority: u8) -> u64 {
    if priority <= 1 { 60 } else { 120 }
}

/// Priority 1 (highest) to 5.
pub fn priority(body: &RequestBody, tier: u8) -> u8 {
    let base = (body.impact + body.urgency).saturating_sub(1).clamp(1, 5);
    if tier == 1 { base.saturating_sub(1).max(1) } else { base }
}
