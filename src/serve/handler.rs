//! From a request to its answer: which route it is, whether whoever asks may, and what is counted.

use super::access::{Denied, Guard};
use super::http::{Fault, Handler, Method, Request, Response, Then};
use super::problem::Problem;
use super::routes::{Found, ROUTES, captures, find, methods};
use super::service::Service;
use std::time::{Duration, Instant};

/// Whether whoever asks may use the route.
fn allowed(service: &Service, request: &Request<'_>, route: usize) -> Result<(), Problem> {
    let guard = ROUTES[route].guard;
    let changes = !request.method.is_safe() || guard == Guard::Stream;
    service.access.check(request, guard, changes).map_err(|denied| match denied {
            Denied::Host => {
                let host = request.host;
                let detail = format!("`{host}` is no name of this server: add it to serve.hosts if it is");
                Problem::new(421, "wrong_host", detail)
            }
            Denied::Origin => {
                let detail = "a page of another origin must not do this: serve it from here, or add its host to serve.hosts";
                Problem::new(403, "wrong_origin", detail)
            }
            Denied::Token => {
                let detail = "the token is missing or wrong: send `Authorization: Bearer TOKEN` (serve.token_file)";
                Problem::new(401, "wrong_token", detail)
            }
        })
}

/// What is said where there is nothing. Clients of Triton's ask for more than is offered.
fn nothing_at(path: &str) -> String {
    let Some(within) = path.strip_prefix("/v2/") else {
        return "there is nothing here: GET /openapi.json says what there is".to_owned();
    };
    let part = |name: &str| within.split('/').any(|part| part == name);
    let extension = match () {
        () if part("systemsharedmemory") || part("cudasharedmemory") => {
            "shared memory is not offered: tensors are sent as JSON or in binary"
        }
        () if part("trace") => "traces are not offered: GET /metrics has the time that each stage takes",
        () if part("logging") => "logging is set by PATCH /api/config, as log.level",
        () if part("generate") || part("generate_stream") => "generation is not offered: POST …/infer is",
        () => "there is nothing here",
    };
    format!("{extension}; GET /v2 names the extensions that there are")
}

/// Puts `problem` into `response` as whoever asked for `path` expects it: clients of the Open Inference Protocol read
/// `error`.
fn refuse(problem: &Problem, path: &str, response: &mut Response) {
    problem.write(response);
    if path == "/v2" || path.starts_with("/v2/") {
        response.json(problem.status, &serde_json::json!({"error": &problem.detail}));
    }
}

impl Service {
    /// Answers what is possible: these methods.
    fn options(&self, methods: &[&str], response: &mut Response) {
        response.status = 204;
        response.header("Allow", &format!("{}, OPTIONS", methods.join(", ")));
        self.traffic.note(None, 204, Duration::ZERO);
    }
}

impl Handler for Service {
    fn admits(&self, request: &Request<'_>, response: &mut Response) -> Option<usize> {
        let (route, problem) = match find(request.method, request.path) {
            Found::Route(route) => match allowed(self, request, route) {
                Ok(()) => return Some(route),
                Err(problem) => (Some(route), problem),
            },
            Found::Others(others) if request.method == Method::Options => {
                self.options(&others, response);
                return None;
            }
            Found::Nothing if request.method == Method::Options && request.path == "*" => {
                self.options(&methods(), response);
                return None;
            }
            Found::Others(others) => {
                let (method, allowed) = (request.method.name(), others.join(", "));
                response.header("Allow", &allowed);
                let detail = format!("{method} is not possible here, but {allowed}");
                (None, Problem::new(405, "wrong_method", detail))
            }
            Found::Nothing => (None, Problem::new(404, "not_found", nothing_at(request.path))),
        };
        refuse(&problem, request.path, response);
        self.traffic.note(route, problem.status, Duration::ZERO);
        None
    }

    fn answer(&self, route: usize, request: &Request<'_>, response: &mut Response) -> Then {
        let begin = Instant::now();
        let captures = captures(route, request.path);
        let then = ROUTES[route].answer(self, request, &captures, response).unwrap_or_else(|problem| {
            refuse(&problem, request.path, response);
            Then::Next
        });
        self.traffic.note(Some(route), response.status, begin.elapsed());
        then
    }

    fn fault(&self, fault: Fault, response: &mut Response) {
        refuse(&Problem::new(fault.status, "bad_http", fault.detail), "", response);
        self.traffic.note(None, fault.status, Duration::ZERO);
    }
}
