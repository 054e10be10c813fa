//! How the server stands, as a message.

use std::time::SystemTime;

use super::{int32, timestamp};
use crate::generation::{Counts, Node, Overview, Upstream};
use crate::spec::v1::{
    EndCounts, FailureCount, NodeStatus, ServerStatus, UpstreamEnds, UpstreamStatus,
};

/// The message.
pub fn message(overview: Overview, now: SystemTime) -> ServerStatus {
    let Overview {
        upstreams,
        queue,
        nodes,
        unknown_submissions,
        ends,
    } = overview;
    let upstream = |upstream| upstream_message(upstream, now);
    let ends = ends.into_iter().map(|(upstream, ends)| UpstreamEnds {
        upstream,
        last_hour: Some(counts_message(ends.last_hour)),
        last_day: Some(counts_message(ends.last_day)),
    });
    ServerStatus {
        at: Some(timestamp(now)),
        upstreams: upstreams.into_iter().map(upstream).collect(),
        waiting_tasks: int64(queue.waiting),
        running_tasks: int64(queue.running),
        oldest_waiting_since: queue.oldest_waiting.map(timestamp),
        nodes: nodes.into_iter().map(node_message).collect(),
        unknown_submissions: int64(unknown_submissions),
        ends: ends.collect(),
    }
}

fn upstream_message(upstream: Upstream, now: SystemTime) -> UpstreamStatus {
    let stated = UpstreamStatus {
        name: upstream.name,
        missing_setting: upstream.missing_setting.unwrap_or_default(),
        waiting_tasks: int64(upstream.waiting),
        running_tasks: int64(upstream.running),
        jobs_max: upstream
            .places
            .map_or(0, |places| i32::try_from(places).unwrap_or(i32::MAX)),
        ..UpstreamStatus::default()
    };
    let Some(standing) = upstream.standing else {
        return stated;
    };
    let (last_error, last_error_at) = standing.last_failure.unzip();
    UpstreamStatus {
        configured: true,
        condition: standing.condition.name().to_owned(),
        rests_until: standing.rest.map(|rest| timestamp(now + rest)),
        failures: int32(standing.failures),
        last_error: last_error.unwrap_or_default().to_owned(),
        last_error_at: last_error_at.map(timestamp),
        models_gone: standing.gone,
        ..stated
    }
}

fn node_message(node: Node) -> NodeStatus {
    NodeStatus {
        id: node.id.to_string(),
        alive: node.is_alive,
        answers: node.is_this,
        leased_until: Some(timestamp(node.leased_until)),
        tasks: int64(node.tasks),
    }
}

fn counts_message(counts: Counts) -> EndCounts {
    let failures = counts
        .failed
        .into_iter()
        .map(|(reason, tasks)| FailureCount {
            reason,
            tasks: int64(tasks),
        });
    let failures: Vec<_> = failures.collect();
    EndCounts {
        succeeded: int64(counts.succeeded),
        failed: failures.iter().map(|failure| failure.tasks).sum(),
        canceled: int64(counts.canceled),
        failures,
    }
}

fn int64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
