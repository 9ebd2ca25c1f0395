//! `/api/models`: which serve, how their versions stand, and changing which one does.

use super::super::http::{Request, Response, Then};
use super::super::problem::Problem;
use super::super::service::{Captures, Service};
use super::{answer, body, whole};
use crate::engine::PromoteError;
use crate::predict::promotion::{Author, PromotionError};
use crate::predict::{CatalogueModel, Standing};
use serde::{Deserialize, Serialize};

/// The longest reason that is taken for a promotion.
const REASON_CHARS_MAX: usize = 1000;

#[derive(Serialize)]
struct VersionJson {
    version: u32,
    standing: &'static str,
    /// Whether a session of it is in memory.
    loaded: bool,
    /// Why it failed, where it has not been good since.
    failure: Option<String>,
}

#[derive(Serialize)]
struct ModelJson {
    name: String,
    symbols: String,
    timeframe: String,
    horizon: u32,
    features: usize,
    window: usize,
    /// The version that answers now.
    serves: u32,
    /// The promoted versions, the newest first.
    versions: Vec<VersionJson>,
}

#[derive(Serialize)]
struct ProblemJson {
    path: String,
    detail: String,
}

#[derive(Serialize)]
struct Models {
    models: Vec<ModelJson>,
    /// What was passed over in the models folder, and why.
    problems: Vec<ProblemJson>,
}

/// How a version stands, in a word.
pub fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Good => "good",
        Standing::Untried => "untried",
        Standing::Unsteady => "unsteady",
        Standing::Failed => "failed",
    }
}

fn model_json(model: &CatalogueModel) -> ModelJson {
    let manifest = &model.manifest;
    let versions = model.versions.iter().map(|version| VersionJson {
        version: version.number,
        standing: standing_word(version.standing()),
        loaded: version.content().is_ok_and(|content| content.slot.is_loaded()),
        failure: version.failure().map(|failure| failure.to_string()),
    });
    ModelJson {
        name: model.name.to_string(),
        symbols: manifest.symbols.to_string(),
        timeframe: manifest.timeframe.to_string(),
        horizon: manifest.horizon,
        features: manifest.features.len(),
        window: manifest.window,
        serves: model.version().number,
        versions: versions.collect(),
    }
}

/// `GET /api/models`.
pub fn list(
    service: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let catalogue = service.engine.catalogue();
    let problems = catalogue.problems().iter().map(|problem| ProblemJson {
        path: problem.path.display().to_string(),
        detail: problem.detail.clone(),
    });
    let models = catalogue.models().iter().map(|model| model_json(model));
    answer(response, 200, &Models { models: models.collect(), problems: problems.collect() });
    Ok(Then::Next)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promote {
    #[serde(deserialize_with = "whole")]
    version: u32,
    #[serde(default)]
    reason: String,
    /// Promote it although it was not checked.
    #[serde(default)]
    unchecked: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    #[serde(default)]
    reason: String,
}

fn author(request: &Request<'_>, reason: String) -> Result<Author, Problem> {
    if reason.chars().count() > REASON_CHARS_MAX || reason.contains(char::is_control) {
        let detail = format!("reason: one line of at most {REASON_CHARS_MAX} characters is allowed");
        return Err(Problem::bad(detail));
    }
    Ok(Author { user: "http".to_owned(), host: request.peer.ip().to_string(), reason })
}

fn problem(error: &PromoteError) -> Problem {
    let detail = error.to_string();
    match error {
        PromoteError::Check { .. } => Problem::new(422, "check_failed", detail),
        PromoteError::List(PromotionError::NoModel(_)) => Problem::new(404, "no_model", detail),
        PromoteError::List(PromotionError::NoVersion { .. }) => Problem::new(404, "no_version", detail),
        PromoteError::List(PromotionError::NothingBefore { .. }) => {
            Problem::new(409, "nothing_before", detail)
        }
        PromoteError::List(PromotionError::Locked(_)) => Problem::busy(detail),
        PromoteError::List(_) => Problem::new(500, "not_promoted", detail),
    }
}

/// `POST /api/models/{name}/promote`.
pub fn promote(
    service: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let Promote { version, reason, unchecked } = body(request)?;
    let author = author(request, reason)?;
    request.waits();
    let entry = service.engine.promote(&captures[0], version, unchecked, &author);
    answer(response, 200, &entry.map_err(|error| problem(&error))?);
    Ok(Then::Next)
}

/// `POST /api/models/{name}/rollback`.
pub fn rollback(
    service: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let Rollback { reason } = if request.body.is_empty() { Rollback::default() } else { body(request)? };
    let author = author(request, reason)?;
    request.waits();
    let entry = service.engine.rollback(&captures[0], &author);
    answer(response, 200, &entry.map_err(|error| problem(&error))?);
    Ok(Then::Next)
}
