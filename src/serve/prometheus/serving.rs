//! HTTP and the stream.

use super::super::service::Service;
use super::super::traffic::CLASSES;
use super::text::Exposition;

pub(super) fn served(service: &Service, out: &mut Exposition) {
    let own = service.metrics();
    let name = "vela_http_requests_total";
    out.metric(name, "counter", "Requests answered, by route and class of status.");
    for (method, pattern, counts) in service.traffic.by_route() {
        for (word, count) in CLASSES.iter().zip(counts).filter(|(_, count)| *count > 0) {
            out.sample(name, &[("method", method), ("route", pattern), ("status", word)], count);
        }
    }
    let duration = "vela_http_request_duration_seconds";
    out.metric(duration, "histogram", "From a request being read until its answer was made.");
    out.histogram(duration, &[], &service.traffic.duration());
    out.single("vela_http_connections", "gauge", "Connections open, streams not counted.", own.connections);
    let turned_away = own.connections_turned_away;
    out.single(
        "vela_http_connections_turned_away_total",
        "counter",
        "Connections beyond the bound.",
        turned_away,
    );
    let limited = own.rate_limited;
    out.single("vela_http_rate_limited_total", "counter", "Requests of clients that sent too many.", limited);
    out.single("vela_stream_clients", "gauge", "Clients of the stream of predictions.", own.stream_clients);
    let conflated = own.stream_conflated;
    let help = "Events that a newer one replaced for clients that were behind.";
    out.single("vela_stream_conflated_total", "counter", help, conflated);
    let dropped = own.stream_dropped;
    out.single("vela_stream_dropped_total", "counter", "Events left out: too many keys waited.", dropped);
    let missed = own.stream_missed;
    out.single(
        "vela_stream_missed_total",
        "counter",
        "Outcomes that came faster than they were taken.",
        missed,
    );
}
