//! THE table of routes: what is answered, by whom, and who may ask. `openapi.json` says the same to programs; a test
//! holds one against the other.

use super::access::Guard;
use super::http::{Method, Request, Response, Then, decoded};
use super::problem::Problem;
use super::service::{Captures, Service};
use super::{api, oip, page, stream};
use std::borrow::Cow;
use std::sync::LazyLock;

/// Answers a request of a route.
pub type Answer = fn(&Service, &Request<'_>, &Captures<'_>, &mut Response) -> Result<Then, Problem>;

/// One route.
pub struct Route {
    /// What it is asked with; HEAD goes where GET goes.
    pub method: Method,
    /// The path; `{name}` catches a segment.
    pub pattern: &'static str,
    /// Who may ask.
    pub guard: Guard,
    answer: Answer,
}

impl Route {
    /// Answers.
    ///
    /// # Errors
    /// Why it does not.
    pub fn answer(
        &self,
        service: &Service,
        request: &Request<'_>,
        captures: &Captures<'_>,
        response: &mut Response,
    ) -> Result<Then, Problem> {
        (self.answer)(service, request, captures, response)
    }
}

macro_rules! routes {
    ($($method:ident $pattern:literal, $guard:ident, $answer:expr;)+) => {
        /// Every route.
        pub static ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            pattern: $pattern,
            guard: Guard::$guard,
            answer: $answer,
        },)+];
    };
}

routes! {
    Get "/", Open, page::index;
    Get "/page/{file}", Open, page::file;
    Get "/livez", Open, api::health::live;
    Get "/readyz", Open, api::health::ready;
    Get "/healthz", Open, api::health::healthz;
    Get "/openapi.json", Open, api::openapi::document;
    Get "/metrics", Token, api::metrics::prometheus;
    Get "/api/metrics", Token, api::metrics::json;
    Get "/api/health", Token, api::health::report;
    Get "/api/decisions", Token, api::decisions::list;
    Post "/api/bars", Token, api::bars::post;
    Get "/api/predict", Token, api::predict::get;
    Post "/api/predict", Token, api::predict::post;
    Post "/api/predict/batch", Token, api::predict::batch;
    Get "/api/predictions", Token, api::predictions::newest;
    Get "/api/models", Token, api::models::list;
    Post "/api/models/{name}/promote", Token, api::models::promote;
    Post "/api/models/{name}/rollback", Token, api::models::rollback;
    Get "/api/config", Token, api::config::show;
    Patch "/api/config", Token, api::config::change;
    Get "/api/stream", Stream, stream::open;
    Get "/v2", Token, oip::server;
    Get "/v2/health/live", Open, oip::live;
    Get "/v2/health/ready", Open, oip::ready;
    Get "/v2/models/stats", Token, oip::all_stats;
    Get "/v2/models/{model}", Token, oip::metadata;
    Get "/v2/models/{model}/versions/{version}", Token, oip::metadata;
    Get "/v2/models/{model}/ready", Token, oip::model_ready;
    Get "/v2/models/{model}/versions/{version}/ready", Token, oip::model_ready;
    Get "/v2/models/{model}/config", Token, oip::config;
    Get "/v2/models/{model}/versions/{version}/config", Token, oip::config;
    Get "/v2/models/{model}/stats", Token, oip::stats;
    Get "/v2/models/{model}/versions/{version}/stats", Token, oip::stats;
    Post "/v2/models/{model}/infer", Token, oip::infer;
    Post "/v2/models/{model}/versions/{version}/infer", Token, oip::infer;
    Post "/v2/repository/index", Token, oip::index;
    Post "/v2/repository/models/{model}/load", Token, oip::load;
    Post "/v2/repository/models/{model}/unload", Token, oip::unload;
}

/// What a path leads to.
pub enum Found {
    /// A route, by its place in the table.
    Route(usize),
    /// Routes of other methods.
    Others(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// The most segments that a pattern has.
const SEGMENTS_MAX: usize = 8;

/// A path or a pattern, taken apart.
struct Segments<'a> {
    all: [&'a str; SEGMENTS_MAX],
    count: usize,
}

impl<'a> Segments<'a> {
    /// What stands between the slashes of `path`; `None` where that is more than any pattern has.
    fn of(path: &'a str) -> Option<Self> {
        let mut segments = Self { all: [""; SEGMENTS_MAX], count: 0 };
        for segment in path.split('/') {
            *segments.all.get_mut(segments.count)? = segment;
            segments.count += 1;
        }
        Some(segments)
    }

    fn as_slice(&self) -> &[&'a str] {
        &self.all[..self.count]
    }
}

/// The routes' patterns, taken apart once: this is on the way of every request.
static PATTERNS: LazyLock<Vec<Segments<'static>>> =
    LazyLock::new(|| ROUTES.iter().filter_map(|route| Segments::of(route.pattern)).collect());

/// The route for `method` and `path`.
pub fn find(method: Method, path: &str) -> Found {
    let Some(path) = Segments::of(path) else { return Found::Nothing };
    let wanted = if method == Method::Head { Method::Get } else { method };
    let routes = || ROUTES.iter().zip(PATTERNS.iter());
    for (at, (route, pattern)) in routes().enumerate() {
        if route.method == wanted && fits(pattern, &path) {
            return Found::Route(at);
        }
    }
    let mut others = Vec::new();
    for (route, _) in routes().filter(|(_, pattern)| fits(pattern, &path)) {
        others.push(route.method.name());
        if route.method == Method::Get {
            others.push(Method::Head.name());
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::Others(others) }
}

/// The methods that there are routes for, as `OPTIONS *` asks for them.
pub fn methods() -> Vec<&'static str> {
    let mut methods = vec![Method::Get.name(), Method::Head.name()];
    for route in ROUTES {
        if !methods.contains(&route.method.name()) {
            methods.push(route.method.name());
        }
    }
    methods
}

/// What the pattern of `route` catches of a path that it was found for.
pub fn captures(route: usize, path: &str) -> Captures<'_> {
    Segments::of(path).map(|path| caught(&PATTERNS[route], &path).collect()).unwrap_or_default()
}

/// Whether a segment of a pattern catches one of a path.
fn catches(segment: &str) -> bool {
    segment.starts_with('{')
}

/// The segments of `path` that `pattern` catches, decoded.
fn caught<'a>(pattern: &Segments<'_>, path: &Segments<'a>) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = pattern.as_slice().iter().zip(path.as_slice());
    pairs.filter(|(wanted, _)| catches(wanted)).map(|(_, segment)| decoded(segment, false))
}

/// Whether `path` is one of `pattern`'s.
fn fits(pattern: &Segments<'_>, path: &Segments<'_>) -> bool {
    let same = |(wanted, segment): (&&str, &&str)| wanted == segment || catches(wanted);
    pattern.count == path.count
        && pattern.as_slice().iter().zip(path.as_slice()).all(same)
        && caught(pattern, path).all(|text| !text.is_empty() && !text.contains(['/', '\0']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_catch_whole_segments() {
        assert_eq!(PATTERNS.len(), ROUTES.len(), "each has at most {SEGMENTS_MAX} segments");
        let caught = |pattern, path| {
            let (pattern, path) = (Segments::of(pattern).unwrap(), Segments::of(path).unwrap());
            fits(&pattern, &path).then(|| caught(&pattern, &path).collect::<Vec<_>>().join(","))
        };
        assert_eq!(caught("/api/models/{name}/promote", "/api/models/a%20b/promote").as_deref(), Some("a b"));
        assert_eq!(caught("/v2/models/{m}/versions/{v}", "/v2/models/a/versions/3").as_deref(), Some("a,3"));
        for path in ["/api/models//promote", "/api/models/a%2Fb/promote", "/api/models/a/promote/"] {
            assert_eq!(caught("/api/models/{name}/promote", path), None, "{path}");
        }
        assert_eq!(caught("/api/predict", "/api/predict").as_deref(), Some(""));
        assert_eq!(caught("/api/predict", "/api/predictions"), None);
        assert!(matches!(find(Method::Head, "/metrics"), Found::Route(..)));
        assert!(matches!(find(Method::Delete, "/api/predict"), Found::Others(others) if others.len() == 3));
        let Found::Route(route) = find(Method::Post, "/v2/models/a%20b/versions/3/infer") else { panic!() };
        assert_eq!(captures(route, "/v2/models/a%20b/versions/3/infer"), ["a b", "3"]);
        for nothing in ["/nothing", "/a/b/c/d/e/f/g/h/i/j", "//livez", "/livez/"] {
            assert!(matches!(find(Method::Get, nothing), Found::Nothing), "{nothing}");
        }
    }
}
