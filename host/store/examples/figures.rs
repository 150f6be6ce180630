//! Measures the store on this machine: `cargo run --release -p donjon-store --example figures [directory]`. Prints
//! numbers, judges nothing: what is fast enough is said in the design.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use donjon_core::alert::{Severity, Status};
use donjon_core::alert_state::StoredEvent;
use donjon_core::branch_set::BranchSet;
use donjon_core::digest::{ContentDigest, fingerprint_of_name};
use donjon_core::incident::{
    Explanation, Incident, IncidentStatus, Link, Members, NameOrigin, PlaceholderValues, Visibility,
};
use donjon_core::rule::ResolveOn;
use donjon_core::state::{StateView, WriteSet};
use donjon_core::{AlertState, EventId, Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};
use donjon_store::{EntryBody, Journal, JournalOptions, NewEntry, State, StateOptions};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BATCH: u64 = 1000;
const ALERTS: u64 = 300_000;
const START: u64 = 1_750_000_000_000;

fn main() -> Outcome<()> {
    let place = std::env::args().nth(1);
    let temp = match &place {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let (journal_dir, state_dir) = (temp.path().join("journal"), temp.path().join("state"));
    std::fs::create_dir(&journal_dir)?;
    journal(&journal_dir)?;
    state(&state_dir)?;
    Ok(())
}

/// An alert of about 900 bytes; hosts, values and identifiers differ, the shape does not.
fn alert(n: u64) -> NewEntry {
    let id = fingerprint_of_name(&n.to_string());
    let host = n.wrapping_mul(2_654_435_761) % 2000;
    let service = n.wrapping_mul(40_503) % 400;
    let document = format!(
        r#"{{"id":"{id}","name":"HighLatency{name}","status":"firing","severity":"warning","environment":"production","service":"service-{service}","source":["prometheus"],"lastReceived":"2025-06-15T12:{minute:02}:{second:02}.{ms:03}Z","message":"p99 latency of service-{service} on host-{host} is {value} ms, above 250 ms for 5 minutes","description":"The 99th percentile of the response time of the service is above its objective. Look at the dashboard and at the newest deployment of the service before calling anybody.","fingerprint":"{fingerprint}","url":"https://grafana.example.org/d/abcdef/latency?var-host=host-{host}&var-service=service-{service}","labels":{{"host":"host-{host}","instance":"10.{a}.{b}.17:9100","job":"node","team":"team-{team}","region":"eu-west-{region}","pod":"service-{service}-7d9f8b6c5-{pod:05x}"}},"annotations":{{"runbook":"https://runbooks.example.org/latency","value":"{value}"}}}}"#,
        name = n % 600,
        minute = n / 60 % 60,
        second = n % 60,
        ms = n % 1000,
        value = n.wrapping_mul(7919) % 5000,
        fingerprint = fingerprint_of_name(&format!("{host}/{service}")),
        a = host / 256,
        b = host % 256,
        team = n % 40,
        region = n % 3,
        pod = n.wrapping_mul(104_729) % 1_000_000,
    );
    NewEntry {
        accepted: Timestamp(START + n / 10),
        tenant: TenantId::from("default"),
        body: EntryBody::Alert {
            event_id: EventId::from(id),
            provider: "prometheus".to_owned(),
            api_key_name: "default".to_owned(),
            document: document.into_bytes(),
            id_generated: true,
        },
    }
}

fn rate(n: u64, time: Duration) -> String {
    format!("{:.0}/s", n as f64 / time.as_secs_f64())
}

fn journal(dir: &Path) -> Outcome<()> {
    let batches: Vec<Vec<NewEntry>> = (0..ALERTS / BATCH)
        .map(|batch| (batch * BATCH..(batch + 1) * BATCH).map(alert).collect())
        .collect();
    let content: usize = batches.iter().flatten().map(|entry| content_len(&entry.body)).sum();
    println!(
        "journal: {ALERTS} alerts of {} bytes, batches of {BATCH}",
        content as u64 / ALERTS
    );

    let (mut journal, _) = Journal::open(dir, JournalOptions::default())?;
    let (mut append, mut sync) = (Duration::ZERO, Duration::ZERO);
    for batch in &batches {
        let start = Instant::now();
        journal.append(batch)?;
        append += start.elapsed();
        let start = Instant::now();
        journal.sync()?;
        sync += start.elapsed();
    }
    let reader = journal.reader();
    println!("  append (encode, compress, checksum, write)  {}", rate(ALERTS, append));
    println!(
        "  append + fdatasync of each batch            {}",
        rate(ALERTS, append + sync)
    );
    println!(
        "  on disk: {:.1} % of the documents",
        reader.bytes() as f64 * 100.0 / content as f64
    );
    drop(journal);

    let start = Instant::now();
    let (journal, report) = Journal::open(dir, JournalOptions::default())?;
    println!(
        "  open, newest segment verified ({} MB)        {:?}",
        report.bytes / 1_000_000,
        start.elapsed()
    );
    let reader = journal.reader();
    let start = Instant::now();
    let (mut seq, mut read) = (Seq(1), 0u64);
    loop {
        let entries = reader.read_from(seq, 1000, 8 << 20)?;
        let Some(last) = entries.last() else { break };
        seq = last.seq.next();
        read += entries.len() as u64;
    }
    println!(
        "  read in order, 1000 at a time               {}",
        rate(read, start.elapsed())
    );
    let seqs: Vec<Seq> = (0..1000u64).map(|n| Seq(n.wrapping_mul(7919) % ALERTS + 1)).collect();
    let start = Instant::now();
    let found = reader.get_many(&seqs)?.into_iter().flatten().count();
    println!(
        "  1000 scattered positions, cold ({found} found)  {:?}",
        start.elapsed()
    );
    let start = Instant::now();
    reader.get_many(seqs.get(..100).unwrap_or_default())?;
    println!("  100 scattered positions, warm               {:?}", start.elapsed());
    Ok(())
}

fn content_len(body: &EntryBody) -> usize {
    match body {
        EntryBody::Alert { document, .. } => document.len(),
        EntryBody::Command { .. } | EntryBody::DeadLetter { .. } => 0,
    }
}

fn event(n: u64) -> StoredEvent {
    StoredEvent {
        seq: Seq(n * 113 + 1),
        accepted: Timestamp(START + n * 61_007),
        status: Status::Firing,
        firing_counter: u32::try_from(n % 100_000).unwrap_or(0),
        unresolved_counter: u32::try_from(n % 100_000).unwrap_or(0),
        firing_start: Some(Timestamp(START)),
        firing_start_since_resolved: Some(Timestamp(START)),
    }
}

fn alert_state(n: u64, events: u64) -> AlertState {
    AlertState {
        tenant: TenantId::from("default"),
        fingerprint: Fingerprint::from(fingerprint_of_name(&n.to_string())),
        last_event: event(events),
        last_event_id: EventId::from(fingerprint_of_name(&format!("e{n}"))),
        first_accepted: Timestamp(START),
        digest: ContentDigest([7; 16]),
        severity: Severity::Warning,
        last_received: Timestamp(START + n),
        received_range: (Timestamp(START), Timestamp(START + n)),
        status_override: None,
        duplicates: n,
        event_count: events,
        enrichments: vec![("owner".to_owned(), Some("\"team-7\"".to_owned()))],
        plugin_failure: None,
        open_links: vec![incident_id(n % 997)],
        recent: (events.saturating_sub(32)..events).map(event).collect(),
        history_chunks: 0,
    }
}

fn incident_id(n: u64) -> IncidentId {
    let group = GroupKey::new(vec![format!("service-{n}")]);
    IncidentId::derive(&TenantId::from("default"), &RuleId::from("rule"), &group, Seq(n))
}

fn incident(n: u64) -> Incident {
    let group_key = GroupKey::new(vec![format!("service-{n}")]);
    Incident {
        id: incident_id(n),
        tenant: TenantId::from("default"),
        running_number: n,
        created_seq: Seq(n),
        created: Timestamp(START),
        rule: RuleId::from("rule"),
        rule_version: 1,
        rule_name: "latency by service".to_owned(),
        name: format!("latency of service-{n}"),
        group_key,
        name_origin: NameOrigin::Rule,
        name_values: vec![PlaceholderValues(vec![(format!("host-{n}"), 3)])],
        label: None,
        status: IncidentStatus::Firing,
        visibility: Visibility::Visible,
        severity: Severity::Warning,
        severity_forced: false,
        resolve_on: ResolveOn::All,
        assignee: None,
        start: Some(Timestamp(START)),
        last_seen: Some(Timestamp(START + n)),
        end: None,
        sources: vec!["prometheus".to_owned()],
        services: vec![format!("service-{n}")],
        past_incident: None,
        merged_into: None,
        members: Members {
            count: 5,
            branches: BranchSet::from_words(vec![1]),
            ..Members::default()
        },
    }
}

fn link(n: u64) -> (TenantId, Link) {
    let explanation = Explanation {
        rule: RuleId::from("rule"),
        rule_version: 1,
        event_id: EventId::from(fingerprint_of_name(&format!("e{n}"))),
        branches: vec![(
            0,
            "severity == \"warning\" && service.startsWith(\"service-\")".to_owned(),
        )],
        group_key: GroupKey::new(vec![format!("service-{}", n % 997)]),
        values: Vec::new(),
        plugin: ("rules".to_owned(), "0.1.0".to_owned()),
    };
    let link = Link {
        incident: incident_id(n % 997),
        fingerprint: Fingerprint::from(fingerprint_of_name(&n.to_string())),
        joined_seq: Seq(n),
        joined: Timestamp(START),
        explanation,
        name_values: Vec::new(),
        unlinked: None,
        let_go: None,
    };
    (TenantId::from("default"), link)
}

const LIVE: u64 = 100_000;

fn state(dir: &Path) -> Outcome<()> {
    println!("state: commits of 500 alerts and 50 incidents");
    let (state, _) = State::open(dir, StateOptions::default())?;
    let mut applied = Seq(0);
    let scattered = |batch: u64, n: u64| (batch * 500 + n).wrapping_mul(7919) % LIVE;
    let incidents = |batch: u64| (0..50).map(|n| incident((batch * 50 + n) % 997)).collect();
    let first = |batch: u64| WriteSet {
        alerts: (0..500).map(|n| alert_state(batch * 500 + n, 1)).collect(),
        incidents: incidents(batch),
        links: (0..500).map(|n| link(batch * 500 + n)).collect(),
        ..WriteSet::default()
    };
    let updates = |batch: u64| WriteSet {
        alerts: (0..500).map(|n| alert_state(scattered(batch, n), 33 + batch)).collect(),
        incidents: incidents(batch),
        ..WriteSet::default()
    };
    commits(
        "first events, with 500 links ",
        &state,
        &mut applied,
        LIVE / 500,
        &first,
    )?;
    commits("updates, 32 recent events    ", &state, &mut applied, 400, &updates)?;
    let start = Instant::now();
    state.flush()?;
    println!("  flush after all that               {:?}", start.elapsed());
    println!("  size on disk: {} MB", state.reader().size_on_disk()? / 1_000_000);
    reads(&state)?;
    drop(state);
    let start = Instant::now();
    let (_state, _) = State::open(dir, StateOptions::default())?;
    println!("  open                               {:?}", start.elapsed());
    Ok(())
}

/// Commits `count` write sets and prints how long each took.
fn commits(label: &str, state: &State, applied: &mut Seq, count: u64, write: &dyn Fn(u64) -> WriteSet) -> Outcome<()> {
    let mut times: Vec<Duration> = Vec::new();
    for batch in 0..count {
        *applied = applied.next();
        let write = WriteSet {
            applied: *applied,
            ..write(batch)
        };
        let start = Instant::now();
        state.commit(&write)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get((times.len() - 1) * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "  {label}: p50 {:?}  p90 {:?}  p99 {:?}  max {:?}",
        at(50),
        at(90),
        at(99),
        at(100)
    );
    Ok(())
}

fn reads(state: &State) -> Outcome<()> {
    let (tenant, reader) = (TenantId::from("default"), state.reader());
    let start = Instant::now();
    for n in 0..20_000u64 {
        let fingerprint = Fingerprint::from(fingerprint_of_name(&(n.wrapping_mul(7919) % LIVE).to_string()));
        reader.alert(&tenant, &fingerprint)?;
    }
    println!("  scattered reads of alert states    {}", rate(20_000, start.elapsed()));
    let (start, mut scanned) = (Instant::now(), 0);
    reader.alerts(&tenant, |_| {
        scanned += 1;
        ControlFlow::Continue(())
    })?;
    println!(
        "  scan of all alert states           {} ({scanned})",
        rate(scanned, start.elapsed())
    );
    Ok(())
}
