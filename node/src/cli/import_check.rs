//! All rows of a file or none: the server is asked about each row before any is written.
//!
//! What it would refuse is known before something is changed, and told of every row at once. A row that was good
//! when it was asked about may be refused afterwards where somebody else changes the same meanwhile; then the import
//! stops and says how far it is, and the same file again goes on.
//!
//! **Invariant:** while one row is refused and bad rows are not skipped, nothing is written. **Not here:** what is
//! wrong with a row by itself (`import`).

use serde_json::Value;

use super::{
    CliError, Output,
    api::Api,
    import::{Bad, Fault, Tally, progress, report},
    lists::ImportArgs,
};
use crate::web::shifts::Outcome;

/// A row as the server is asked about it, and then told.
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) method: &'static str,
    /// It ends in `dry_run=`.
    pub(super) path: String,
    pub(super) body: Value,
}

impl Row {
    /// What became, or would become, of it; or why it is refused.
    async fn send(&self, api: &Api, dry_run: bool) -> Result<Result<Outcome, String>, CliError> {
        let path = format!("{}{dry_run}", self.path);
        let sent = api.judged(self.method, &path, &self.body).await;
        sent.map_err(|error| error.within(format_args!("line {}", self.line)))
    }
}

/// Checks all rows, and writes them where none is refused or the bad ones are to be skipped.
pub(super) async fn all_or_none(
    args: &ImportArgs,
    (rows, mut bad): (Vec<Row>, Vec<Bad>),
    output: &Output,
) -> Result<(), CliError> {
    let checked = check(args, rows, &mut bad, output).await;
    bad.sort_by_key(|bad| bad.line);
    // What is wrong with the file itself is told where the server does not answer, too.
    let told = report(&bad, args, output)?;
    let (good, would) = checked?;
    if args.dry_run {
        would.say(args, &told, output);
        return Ok(());
    }
    let api = Api::from_common(&args.common)?;
    let bar = progress(good.len() as u64, output);
    let mut tally = Tally::default();
    for row in &good {
        let so_far = tally.ids.len();
        let place = || format!("after {so_far} imported rows, with which the same file goes on");
        match row.send(&api, false).await.map_err(|error| error.within(place()))? {
            Ok(outcome) => tally.count(row.line, outcome),
            Err(why) => {
                let line = row.line;
                return Err(CliError::refused(format!("{}: line {line}: {why}", place())));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    tally.say(args, &told, output);
    Ok(())
}

/// Asks about each row: those that are good, with what would come of them.
async fn check(
    args: &ImportArgs,
    rows: Vec<Row>,
    bad: &mut Vec<Bad>,
    output: &Output,
) -> Result<(Vec<Row>, Tally), CliError> {
    let api = Api::from_common(&args.common)?;
    let bar = progress(rows.len() as u64, output);
    let (mut good, mut tally) = (Vec::with_capacity(rows.len()), Tally::default());
    for row in rows {
        match row.send(&api, true).await? {
            Ok(outcome) => {
                tally.count(row.line, outcome);
                good.push(row);
            }
            Err(reason) => {
                bad.push(Bad { line: row.line, fault: Fault { column: None, reason } });
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((good, tally))
}
