//! Whether the clock is kept right, and how it differs from a server's.

use super::super::facts::Clock;
use super::version_of;
use crate::cli::client::{Client, Form, ServerArgs};
use std::path::Path;

/// systemd-timesyncd makes it once it has synchronised.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";

pub(super) async fn clock(server: Option<&str>) -> Clock {
    let ahead_s = match server {
        Some(server) => ahead_of(server).await,
        None => None,
    };
    Clock { synchronised: synchronised().await, ahead_s }
}

/// systemd's word, else chrony's.
async fn synchronised() -> Option<bool> {
    if Path::new(TIMESYNC).exists() {
        return Some(true);
    }
    match version_of("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await.as_deref() {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        Some(_) | None => {
            // `chronyc -c tracking`: commas between fields, the last of which is the leap status.
            let tracking = version_of("chronyc", &["-c", "tracking"]).await?;
            tracking.rsplit(',').next().map(|leap| leap != "Not synchronised")
        }
    }
}

/// By the Date of an answer, which has whole seconds.
async fn ahead_of(server: &str) -> Option<i64> {
    let client = Client::new(&ServerArgs { server: server.to_owned() });
    let response = client.open("/version", Form::Json).await.ok()?;
    let date = response.headers().get("date")?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    let ours = i64::try_from(crate::clock::wall().0 / 1000).ok()?;
    Some(ours - theirs)
}
