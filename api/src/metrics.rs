//! `GET /metrics`: whole-service numbers from the store and the bus, in Prometheus' text format.
//!
//! Besides, what this process has turned away: nothing else counts that.

use std::fmt::Write;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use patchwave_engine::access::Class;
use patchwave_platform::bus::Link;
use patchwave_platform::store::reads::figures::Figures;
use patchwave_platform::store::refused_reports::Refusal;
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::topology::WorkQueue;
use uuid::Uuid;

use crate::auth::Caller;
use crate::{Api, audited, protocol};

/// Prometheus' text format, the version that every scraper reads.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers whoever is on this machine, and from afar whoever may read the whole fleet.
pub(crate) async fn handle(State(api): State<Api>, caller: Option<Extension<Caller>>) -> Response {
    if let Some(Extension(caller)) = caller
        && let Err(error) = audited::permitted(&api, &caller, Class::FleetRead, "GET /metrics", "").await
    {
        return protocol::finished(Err(error), Uuid::new_v4());
    }
    let read = async { Ok((api.store.figures(Timestamp::now()).await?, api.store.refused_reports().await?)) };
    let (figures, refused): (Figures, Vec<(Refusal, u64)>) = match read.await {
        Ok(read) => read,
        Err(error) => {
            let error: patchwave_platform::store::Error = error;
            tracing::error!(error = %error_chain(&error), "could not count for metrics");
            return (StatusCode::SERVICE_UNAVAILABLE, "the store could not be read\n").into_response();
        }
    };
    let link_up = *api.bus.link().borrow() == Link::Up;
    let mut depths = Vec::new();
    for queue in WorkQueue::ALL {
        if let Some(depth) = api.bus.depth(queue).await {
            depths.push((queue.name(), depth));
        }
    }
    ([(CONTENT_TYPE, TEXT_FORMAT)], render(&figures, &refused, link_up, &depths) + &gate(api.gate.totals()))
        .into_response()
}

/// What this process has turned away.
fn gate((refused, throttled): (u64, u64)) -> String {
    format!(
        "# HELP patchwave_api_refused_requests_total Requests of this process that did not prove who sent them.\n\
         # TYPE patchwave_api_refused_requests_total counter\npatchwave_api_refused_requests_total {refused}\n\
         # HELP patchwave_api_throttled_requests_total Requests of this process that came too often.\n\
         # TYPE patchwave_api_throttled_requests_total counter\npatchwave_api_throttled_requests_total {throttled}\n"
    )
}

/// The register of metrics: name, help, samples.
fn render(figures: &Figures, refused: &[(Refusal, u64)], link_up: bool, depths: &[(&str, u64)]) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: &[(String, u64)]| {
        let mut write = |line: std::fmt::Arguments<'_>| {
            text.write_fmt(line).expect("writing to a String cannot fail");
        };
        write(format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in samples {
            write(format_args!("{name}{labels} {value}\n"));
        }
    };
    let plain = |value: u64| [(String::new(), value)];
    let label = |name: &str, value: &str| format!("{{{name}=\"{value}\"}}");

    gauge(
        "patchwave_windows",
        "Maintenance windows.",
        &[(label("state", "enabled"), figures.windows_enabled), (label("state", "disabled"), figures.windows_disabled)],
    );
    gauge(
        "patchwave_window_executions_active",
        "Window executions that have not ended.",
        &plain(figures.window_executions_active),
    );
    gauge(
        "patchwave_nodes",
        "Managed nodes.",
        &[
            (label("state", "connected"), figures.nodes_connected),
            (label("state", "disconnected"), figures.nodes_disconnected),
        ],
    );
    gauge("patchwave_rollouts_active", "Commands whose rollout has not ended.", &plain(figures.rollouts_active));
    gauge("patchwave_outbox_messages", "Events stored and not yet published.", &plain(figures.outbox_messages));
    gauge("patchwave_timers_pending", "Timers that are set.", &plain(figures.timers_pending));
    gauge("patchwave_timers_overdue", "Timers whose instant has passed.", &plain(figures.timers_overdue));
    gauge(
        "patchwave_notifications_unpublished",
        "Notifications stored and not yet published.",
        &plain(figures.notifications_unpublished),
    );
    gauge("patchwave_dead_letters", "Messages that could not be processed.", &plain(figures.dead_letters));
    gauge("patchwave_bus_link_up", "Whether this process is connected to the bus.", &plain(u64::from(link_up)));
    let depths: Vec<_> = depths.iter().map(|(queue, depth)| (label("queue", queue), *depth)).collect();
    gauge("patchwave_queue_messages", "Messages ready on a work queue.", &depths);
    let refused: Vec<_> = refused.iter().map(|(reason, count)| (label("reason", reason.name()), *count)).collect();
    let name = "patchwave_refused_reports_total";
    let mut counter = format!("# HELP {name} Reports that changed nothing, by reason.\n# TYPE {name} counter\n");
    for (labels, value) in &refused {
        writeln!(counter, "{name}{labels} {value}").expect("writing to a String cannot fail");
    }
    text + &counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_exactly_the_register() {
        let figures = Figures { nodes_connected: 3, dead_letters: 2, ..Figures::default() };
        let text = render(&figures, &[(Refusal::Finished, 4)], true, &[("patchwave.resolver", 7)]);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "patchwave_windows{state=\"enabled\"} 0",
                "patchwave_windows{state=\"disabled\"} 0",
                "patchwave_window_executions_active 0",
                "patchwave_nodes{state=\"connected\"} 3",
                "patchwave_nodes{state=\"disconnected\"} 0",
                "patchwave_rollouts_active 0",
                "patchwave_outbox_messages 0",
                "patchwave_timers_pending 0",
                "patchwave_timers_overdue 0",
                "patchwave_notifications_unpublished 0",
                "patchwave_dead_letters 2",
                "patchwave_bus_link_up 1",
                "patchwave_queue_messages{queue=\"patchwave.resolver\"} 7",
                "patchwave_refused_reports_total{reason=\"finished\"} 4",
            ]
        );
    }
}
